package cloud

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing/iotest"
)

// maxBody is the maximum size of a request body.
const maxBody = 4 << 20

// transport connects one instance to the model.
type transport struct {
	cloud    *Cloud
	instance string
}

// Transport returns the network as code on that instance sees it. 169.254.169.254 and fd00:ec2::254
// are its IMDS; every other host is the AWS API, and the request itself selects the service. For ""
// it is the operator's network, which has no IMDS. It waits on the caller's goroutine, only for
// timers and the request's context, and so works in a synctest bubble.
func (c *Cloud) Transport(instanceID string) http.RoundTripper { return &transport{c, instanceID} }

// RoundTrip answers one request.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := readBody(req)
	if err != nil {
		return nil, err
	}
	in := &inbound{method: req.Method, host: req.URL.Host, path: req.URL.Path, rawQuery: req.URL.RawQuery, header: req.Header, body: body, via: t.instance}
	if req.Host != "" {
		in.host = req.Host
	}
	var r *reply
	switch host := req.URL.Hostname(); {
	case host == "169.254.169.254" || host == "fd00:ec2::254" || strings.HasPrefix(req.URL.Path, "/latest/"):
		if t.instance == "" {
			return nil, errRefused
		}
		r, err = t.cloud.serveIMDS(req.Context(), t.instance, in)
	default:
		r, err = t.cloud.serve(req.Context(), in)
	}
	if err != nil {
		return nil, err
	}
	return r.response(req), nil
}

func readBody(req *http.Request) ([]byte, error) {
	if req.Body == nil {
		return nil, nil
	}
	defer req.Body.Close()
	body, err := io.ReadAll(io.LimitReader(req.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("reading the request's body: %w", err)
	}
	if len(body) > maxBody {
		return nil, errors.New("the request's body is larger than 4 MiB")
	}
	return body, nil
}

func (r *reply) headers(h http.Header) {
	h["Content-Type"] = []string{r.contentType}
	h["Content-Length"] = []string{strconv.Itoa(len(r.body))}
	if r.date != "" {
		h["Date"] = []string{r.date}
	}
	if r.requestID != "" {
		h["X-Amzn-Requestid"] = []string{r.requestID}
	}
	if r.tokenTTL != "" {
		h[ttlHeader] = []string{r.tokenTTL}
	}
	if r.errorType != "" {
		h["X-Amzn-Errortype"] = []string{r.errorType}
	}
}

func (r *reply) response(req *http.Request) *http.Response {
	h := make(http.Header, 4)
	r.headers(h)
	var body io.Reader = bytes.NewReader(r.body)
	if r.broken { // http.Transport returns the same error
		body = io.MultiReader(bytes.NewReader(r.body[:len(r.body)/2]), iotest.ErrReader(io.ErrUnexpectedEOF))
	}
	return &http.Response{
		Status: strconv.Itoa(r.status) + " " + http.StatusText(r.status), StatusCode: r.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: h, Body: io.NopCloser(body),
		ContentLength: int64(len(r.body)), Request: req,
	}
}
