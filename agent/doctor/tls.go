package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/verify"
)

// knockEndpoint sends an unsigned request for nothing, to which every endpoint has an answer.
func (d *examination) knockEndpoint(ctx context.Context, e endpoint, r *reach) Finding {
	ctx, cancel := context.WithTimeout(ctx, 2*endpointWait+host.LookupWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, e.url.JoinPath("/").String(), nil)
	if err != nil {
		return of(exit.With(exit.Usage, err, "check AWS_ENDPOINT_URL"), "tls", e.service)
	}
	sent := time.Now()
	resp, err := d.session.AWS.Config.HTTPClient.Do(req)
	took := time.Since(sent)
	if err != nil {
		return tlsFailure(e, err).took(took)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, ec2.MaxMetadata)) // whatever it says, it is there
	r.answered = true
	r.ahead, r.dated = ec2.AheadOf(resp.Header, sent, sent.Add(took))
	by := ""
	if e.proxy != nil {
		by = " through " + e.via()
	}
	if e.url.Scheme == "http" {
		return fine("tls", e.service, "not used: %s; answered%s in %d ms", e.url.Redacted(), by, took.Milliseconds()).took(took)
	}
	version := "TLS"
	if resp.TLS != nil {
		version = tls.VersionName(resp.TLS.Version)
	}
	return fine("tls", e.service, "%s, answered%s in %d ms", version, by, took.Milliseconds()).took(took)
}

// tlsFailure returns why an endpoint accepts connections and does not answer.
func tlsFailure(e endpoint, err error) Finding {
	var remedy string
	unknownCA, wrongName := x509.UnknownAuthorityError{}, x509.HostnameError{}
	switch {
	case ec2.ClockError(err, time.Now()) != nil:
		return of(ec2.ClockError(err, time.Now()), "tls", e.service)
	case errors.As(err, &unknownCA):
		remedy = "something on the way replaces AWS's certificate (a proxy that inspects TLS), or the node has no CA certificates: name the CA's file with AWS_CA_BUNDLE, or install ca-certificates"
	case errors.As(err, &wrongName):
		remedy = "another service answers under this name: look at AWS_ENDPOINT_URL, at the VPC's private DNS and at /etc/hosts"
	case errors.Is(err, http.ErrSchemeMismatch):
		remedy = "the server does not speak TLS: AWS_ENDPOINT_URL may have to begin with http://, or a proxy is in the way"
	case e.proxy != nil:
		remedy = "look at whether the proxy allows CONNECT to " + e.url.Host
	case verify.FailureOf(err) == verify.FailureTimeout:
		remedy = "it connects and then says nothing: look at the MTU on the way (ping -M do -s 1472), and at appliances that inspect TLS"
	default:
		remedy = "check what is between the node and " + e.url.Hostname()
	}
	return failed(exit.Unreachable, "tls", e.service, remedy, "%v", err)
}

// clockFinding judges this node's clock by the date of AWS's answers.
func clockFinding(ahead time.Duration, dated bool) Finding {
	switch off := ahead.Abs(); {
	case !dated:
		return unknown("clock", "", "", "no answer of AWS has a date")
	case off >= ec2.ClockLimit:
		return failed(exit.Permission, "clock", "", ec2.ClockRemedy,
			"this node's clock is %s AWS's, and beyond 5 minutes AWS refuses requests", ec2.SkewText(ahead))
	case off >= ec2.ClockNear:
		return warning("clock", "", ec2.ClockRemedy, "this node's clock is %s AWS's, and from 5 minutes on AWS refuses requests", ec2.SkewText(ahead))
	default:
		return fine("clock", "", "within %s of AWS's", max(off, time.Second))
	}
}
