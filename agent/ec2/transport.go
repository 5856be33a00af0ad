package ec2

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
)

// maxHeader limits the header of an answer, in bytes.
const maxHeader = 64 << 10

// HTTPClient returns env's transport, or the SDK's with a proxy rule that never sends a request for
// IMDS to a proxy. The client follows no redirects: AWS sends none, and those of a middlebox lead
// elsewhere. timeout limits the wait for an answer, without the time to look the name up.
func HTTPClient(env host.Environment, timeout time.Duration) aws.HTTPClient {
	if env.HTTP != nil {
		return direct(env.HTTP, timeout)
	}
	return direct(buildable(env, timeout).GetTransport(), timeout+host.LookupWait)
}

// direct returns a client that follows no redirects.
func direct(t http.RoundTripper, timeout time.Duration) *http.Client {
	return &http.Client{Transport: t, Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// buildable returns the SDK's client. The SDK adds the file of AWS_CA_BUNDLE to this type of client
// only.
func buildable(env host.Environment, timeout time.Duration) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTimeout(timeout + host.LookupWait).
		WithTransportOptions(func(t *http.Transport) {
			t.DialContext = host.Dialer(DialTimeout)
			t.TLSHandshakeTimeout = DialTimeout
			t.ResponseHeaderTimeout = timeout
			t.MaxResponseHeaderBytes = maxHeader
			t.OnProxyConnectResponse = refusedByProxy
			t.Proxy = func(r *http.Request) (*url.URL, error) {
				if IsIMDS(env, r.URL.Hostname()) {
					return nil, nil
				}
				return proxyOf(env, r, http.ProxyFromEnvironment)
			}
		})
}

// IsIMDS reports whether a host is the Instance Metadata Service, under its fixed addresses or the
// one of the environment.
func IsIMDS(env host.Environment, host string) bool {
	if host == "169.254.169.254" || host == "fd00:ec2::254" {
		return true
	}
	u, err := url.Parse(env.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"))
	return err == nil && u.Hostname() != "" && u.Hostname() == host
}

// proxyError is the answer of a proxy that did not connect to an endpoint.
type proxyError struct {
	status        int // of HTTP
	proxy, target string
}

func (e *proxyError) Error() string {
	return fmt.Sprintf("the proxy %s answers HTTP %d %s to CONNECT %s", e.proxy, e.status, http.StatusText(e.status), e.target)
}

// brokenProxyError is the error of a request for which the environment has a proxy variable that is
// no URL.
type brokenProxyError struct{ name string } // of the variable

func (e *brokenProxyError) Error() string { return e.name + " is not a valid proxy URL" }

// proxyOf returns the proxy for a request, which rule takes from the environment. If a proxy
// variable is broken, rule may return a proxy under a wrong name, and waiting for that one would be
// in vain.
func proxyOf(env host.Environment, r *http.Request, rule func(*http.Request) (*url.URL, error)) (*url.URL, error) {
	proxy, err := rule(r)
	if name := env.BrokenProxyFor(r.URL.Scheme); name != "" && (proxy != nil || err != nil) {
		return nil, &brokenProxyError{name} // without the value, which may be secret
	}
	return proxy, err
}

// refusedByProxy returns a proxyError for an answer to CONNECT that is no success.
func refusedByProxy(_ context.Context, proxy *url.URL, request *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyError{status: answer.StatusCode, proxy: host.ProxyName(proxy), target: request.Host}
}

// mayPass reports whether the HTTP status of a refusal says that a later request may succeed.
func mayPass(status int) bool {
	lasts := []int{http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusNetworkAuthenticationRequired}
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= http.StatusInternalServerError && !slices.Contains(lasts, status)
}

// readBounded reads a body of at most limit bytes, counted after decompression. whole is false if
// there is more.
func readBounded(body io.Reader, limit int64) (data []byte, whole bool, err error) {
	data, err = io.ReadAll(io.LimitReader(body, limit+1))
	if int64(len(data)) > limit {
		return nil, false, nil
	}
	return data, true, err
}
