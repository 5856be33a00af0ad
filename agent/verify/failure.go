package verify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// Failure is why a connection did not come about. Each kind calls for a look at something else.
type Failure string

// The kinds of failures.
const (
	FailureName Failure = "name" // the host name was not found
	// FailureResolver is a look-up that no name server answers, so that nobody knows the name.
	FailureResolver Failure = "resolver"
	FailureRefused  Failure = "refused" // something answered with a reset
	FailureTimeout  Failure = "timeout" // nothing answered
	FailureRoute    Failure = "route"   // no route, here or further on; or a firewall that says so
	FailureLocal    Failure = "local"   // this node's kernel did not let it out
	FailureSource   Failure = "source"  // it succeeds, but not with the static IP
	FailureOwn      Failure = "own"     // the address is this node's own
	FailureOther    Failure = "other"
)

// FailureOf returns the kind of an error of a connection or a name look-up.
func FailureOf(err error) Failure {
	dns, source := (*net.DNSError)(nil), (*sourceError)(nil)
	switch {
	case errors.As(err, &source):
		return FailureSource
	case errors.Is(err, errOwn):
		return FailureOwn
	case errors.As(err, &dns) && (dns.IsTimeout || dns.IsTemporary):
		return FailureResolver
	case errors.As(err, &dns):
		return FailureName
	case errors.Is(err, syscall.ECONNREFUSED):
		return FailureRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return FailureRoute
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EADDRNOTAVAIL):
		return FailureLocal
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return FailureTimeout
	}
	if n := net.Error(nil); errors.As(err, &n) && n.Timeout() {
		return FailureTimeout
	}
	return FailureOther
}

// errOwn is in the error of a connection from this node to itself.
var errOwn = errors.New("the address is this node's own")

// sourceError is a connection that succeeds, but not with the static IP.
type sourceError struct {
	static netip.Addr
	seen   netcfg.Translation
}

func (e *sourceError) Error() string {
	if !e.seen.Tracked {
		return fmt.Sprintf("it comes from %s and not from %s: conntrack does not track it, as with a NOTRACK rule", e.seen.Source.Addr(), e.static)
	}
	if e.seen.Source.Addr() == e.static {
		return fmt.Sprintf("it does not come from %s: the answer went to another source, so a rule behind conntrack changes the packets", e.static)
	}
	return fmt.Sprintf("it comes from %s and not from %s, says conntrack", e.seen.Source.Addr(), e.static)
}

// Cause returns the text of the innermost error.
func Cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
