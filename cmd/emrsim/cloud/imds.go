package cloud

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	maxTokenTTL = 21600
)

// serveIMDS answers a request to the instance's metadata service. It serves only IMDSv2: requests
// without a token get 401.
func (c *Cloud) serveIMDS(ctx context.Context, instanceID string, in *inbound) (*reply, error) {
	who := c.callerOf(instanceID)
	path := printable(in.path)
	isToken := in.path == "/latest/api/token"
	name := "GetMetadata"
	if isToken {
		name = "PutToken"
	}
	call := c.begin(who, "imds", name)
	call.Params = strings.TrimPrefix(path, "/latest/")
	if err := c.imdsDown(ctx, instanceID, &call, isToken); err != nil {
		return nil, err
	}
	ttl := ""
	return c.perform(ctx, &call, func(now time.Time) ([]byte, bool, *Error) {
		i := c.byID[instanceID]
		switch {
		case now.Before(i.imdsFrom) && (c.opts.IMDSBootMode == BootError || c.opts.IMDSBootMode == BootNotFound && !isToken):
			if c.opts.IMDSBootMode == BootError {
				return nil, false, imdsError(http.StatusInternalServerError)
			}
			return nil, false, imdsError(http.StatusNotFound)
		case in.header.Get("X-Forwarded-For") != "":
			return nil, false, imdsError(http.StatusForbidden)
		case isToken:
			token, err := i.newToken(in, &call, now)
			ttl = in.header.Get(ttlHeader)
			return token, false, err
		case in.method != http.MethodGet:
			return nil, false, imdsError(http.StatusMethodNotAllowed)
		}
		if end, ok := i.imdsTokens[in.header.Get(tokenHeader)]; !ok || now.After(end) {
			return nil, false, imdsError(http.StatusUnauthorized)
		}
		text, ok := c.metadata(i, in.path, now)
		if !ok {
			return nil, false, imdsError(http.StatusNotFound)
		}
		return []byte(text), false, nil
	}, func(_ *Call, body []byte, err *Error) *reply {
		if err != nil {
			return &reply{status: err.Status, contentType: "text/html", body: []byte(err.Message)}
		}
		return &reply{status: http.StatusOK, contentType: "text/plain", body: body, tokenTTL: ttl}
	})
}

// imdsDown returns the connection's error while the instance does not exist or its IMDS is not up.
func (c *Cloud) imdsDown(ctx context.Context, instanceID string, call *Call, isToken bool) error {
	c.mu.Lock()
	now := c.now()
	i := c.byID[instanceID]
	state, early := "", false
	if i != nil {
		state, early = i.state(now), now.Before(i.imdsFrom)
	}
	c.mu.Unlock()
	switch {
	case state != StateRunning && state != StatePending && state != StateShuttingDown:
	case early && c.opts.IMDSBootMode == BootRefuse:
	case early && c.opts.IMDSBootMode == BootHang:
		<-ctx.Done()
		call.Code = "Hung"
		c.recordNow(*call)
		return ctx.Err()
	default:
		return nil
	}
	call.Code = "ConnectionRefused"
	c.recordNow(*call)
	return errRefused
}

// imdsError returns an HTTP status as an error. IMDS has no error codes.
func imdsError(status int) *Error {
	return &Error{Code: strconv.Itoa(status) + " " + http.StatusText(status), Message: strconv.Itoa(status) + " - " + http.StatusText(status), Status: status}
}

func (i *instance) newToken(in *inbound, call *Call, now time.Time) ([]byte, *Error) {
	if in.method != http.MethodPut {
		return nil, imdsError(http.StatusMethodNotAllowed)
	}
	ttl, err := strconv.Atoi(in.header.Get(ttlHeader))
	if err != nil || ttl < 1 || ttl > maxTokenTTL {
		return nil, imdsError(http.StatusBadRequest)
	}
	token := "AQAEA" + requestID(call) + "=="
	i.imdsTokens[token] = now.Add(time.Duration(ttl) * time.Second)
	return []byte(token), nil
}
