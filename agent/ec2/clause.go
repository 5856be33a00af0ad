package ec2

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/internal/lazyregexp"
)

// Plain returns err with a text in which each chain of the SDK's errors is one clause:
//
//	operation error SSM: GetParameters, https response error StatusCode: 0, RequestID: , request
//	send failed, Post "http://10.0.0.10/": dial tcp 10.0.0.10:80: i/o timeout
//
// becomes "ssm:GetParameters: no answer from 10.0.0.10:80 in 5s". What err wraps stays the same.
func Plain(err error) error {
	if err == nil || Clause(err) == err.Error() {
		return err
	}
	return &plainError{err}
}

type plainError struct{ err error }

func (e *plainError) Error() string { return Clause(e.err) }
func (e *plainError) Unwrap() error { return e.err }

// Clause returns the text of Plain.
func Clause(err error) string {
	text := err.Error()
	for _, op := range operationsOf(err) {
		text = strings.ReplaceAll(text, op.Error(), callClause(op))
	}
	return strings.ReplaceAll(text, "failed to refresh cached credentials, ", "")
}

// callClause returns a failed call and its cause.
func callClause(op *smithy.OperationError) string {
	service := serviceName(op.Service())
	inner := (*smithy.OperationError)(nil)
	if errors.As(op.Err, &inner) && service != imdsService { // getting credentials failed
		return service + ":" + op.Operation() + ": getting AWS credentials: " + callClause(inner)
	}
	if service == imdsService {
		return cause(op.Err, IMDSAttempt.String())
	}
	if odd := (*oddAnswerError)(nil); errors.As(op.Err, &odd) {
		return odd.Error() // it names the call
	}
	return service + ":" + op.Operation() + ": " + cause(op.Err, attemptTimeout.String())
}

// cause returns the innermost cause of a failed call in one clause. within is how long an attempt
// may take.
func cause(err error, within string) string {
	u, proxy, op, dns := (*UnreachableError)(nil), (*proxyError)(nil), (*net.OpError)(nil), (*net.DNSError)(nil)
	odd, broken, api := (*oddAnswerError)(nil), (*brokenAnswerError)(nil), smithy.APIError(nil)
	cut := (*CutOffError)(nil)
	switch {
	case errors.As(err, &cut):
		return cut.text() + cause(cut.Err, within)
	case errors.As(err, &u):
		return fmt.Sprintf("the %s endpoint does not answer: %s", u.Service, cause(u.Err, within))
	case errors.As(err, &api) && statusOf(err) >= http.StatusInternalServerError:
		return fmt.Sprintf("HTTP %d, %s: %s", statusOf(err), api.ErrorCode(), api.ErrorMessage())
	case errors.As(err, &api):
		return api.ErrorCode() + ": " + ErrorMessage(api)
	case errors.As(err, &odd):
		return odd.Error()
	case errors.As(err, &broken) && timedOut(broken.err):
		return "the answer began and did not end in time"
	case errors.As(err, &broken):
		return fmt.Sprintf("the answer breaks off (%v)", exit.Innermost(broken.err))
	case errors.As(err, &proxy):
		return proxy.Error()
	case errors.As(err, &dns) && (dns.IsTimeout || dns.IsTemporary):
		return fmt.Sprintf("no name server answers for %s (%s)", dns.Name, dns.Err)
	case errors.As(err, &dns):
		return fmt.Sprintf("the name %s is not found (%s)", dns.Name, dns.Err)
	}
	via := ""
	if errors.As(err, &op) {
		if op.Op == "proxyconnect" {
			via = "the proxy "
			errors.As(op.Err, &op)
		}
		if op.Op == "proxyconnect" { // it has no address
			via = "the proxy"
		} else if op.Addr != nil {
			via += op.Addr.String()
		}
		if op.Op == "dial" {
			within = DialTimeout.String()
		}
	}
	switch {
	case strings.Contains(err.Error(), headerExceeds):
		return fmt.Sprintf("something answers with a header of more than %d bytes", maxHeader)
	case isCutShort(err):
		return "it was stopped when the time ran out"
	case timedOut(err), errors.Is(err, syscall.ETIMEDOUT),
		// The SDK's errors about IMDS's token wrap nothing.
		strings.HasSuffix(err.Error(), context.DeadlineExceeded.Error()), strings.HasSuffix(err.Error(), "timeout awaiting response headers"):
		if strings.Contains(err.Error(), "TLS handshake timeout") {
			within = DialTimeout.String()
		}
		return strings.TrimSuffix("no answer from "+via, " from ") + " in " + within
	case errors.Is(err, context.Canceled):
		return "it was stopped before there was an answer"
	}
	text := sdkWords.ReplaceAllString(exit.Innermost(err).Error(), "")
	if status := statusOf(err); status != 0 {
		text = fmt.Sprintf("HTTP %d, %s", status, text)
	}
	return strings.TrimPrefix(via+": "+text, ": ")
}

// timedOut reports whether a deadline ended the wait for an answer, or for the rest of it.
func timedOut(err error) bool {
	n := net.Error(nil)
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

// isCutShort reports whether the deadline of the whole work ended a call, and not that of one
// attempt. AWS may have answered earlier attempts.
func isCutShort(err error) bool {
	waiting, calling := (*aws.RequestCanceledError)(nil), (*smithy.CanceledError)(nil)
	return (errors.As(err, &waiting) || errors.As(err, &calling)) && errors.Is(err, context.DeadlineExceeded)
}

// WithoutRequest returns the text of an error without the SDK's words that differ from call to
// call. Records of earlier versions have such texts.
func WithoutRequest(text string) string {
	return requestID.ReplaceAllString(text, "")
}

// sdkWords match what some errors of the SDK begin with that wrap others by their text alone.
var sdkWords = lazyregexp.New(`^operation error [^,]*, (https? response error )?`)

var requestID = lazyregexp.New(`https? response error StatusCode: [0-9]*, RequestID: [^,]*, `)
