package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// endpoint returns where the SDK calls a service.
func (d *examination) endpoint(ctx context.Context, service string) (endpoint, error) {
	e := endpoint{service: service, vpce: ec2.EndpointService(d.facts.ID.Region, service), kind: "interface, private DNS on"}
	var err error
	switch service {
	case "ssm":
		e.url, err = ssmcoord.Endpoint(ctx, d.session.AWS.Config)
	case "s3":
		e.kind = "gateway, in the subnet's route table"
		e.url, err = d.s3Endpoint(ctx)
	default:
		e.url, err = ec2.Endpoint(ctx, d.session.AWS.Config)
	}
	switch {
	case err != nil:
		return e, err
	case e.url.Hostname() == "" || e.url.Scheme != "http" && e.url.Scheme != "https":
		return e, fmt.Errorf("the endpoint %s of %s is no http or https URL with a host", text.Quote(e.url.Redacted()), service)
	}
	if d.env.HTTP == nil {
		e.proxy, err = http.ProxyFromEnvironment(&http.Request{URL: e.url})
	}
	return e, err
}

// s3Endpoint returns where the AWS CLI and EMR call S3.
func (d *examination) s3Endpoint(ctx context.Context) (*url.URL, error) {
	if own := cmp.Or(d.env.Getenv("AWS_ENDPOINT_URL_S3"), d.env.Getenv("AWS_ENDPOINT_URL")); own != "" {
		return url.Parse(own)
	}
	return ec2.S3Endpoint(ctx, d.session.AWS.Config)
}

// target returns the host and port to connect to: the proxy's, if there is one.
func (e endpoint) target() (host, port string) {
	u := e.url
	if e.proxy != nil {
		u = e.proxy
	}
	port = u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Hostname(), cmp.Or(port, "1080") // socks5
}

// via returns what messages call the target.
func (e endpoint) via() string {
	if e.proxy != nil {
		return "the proxy " + host.ProxyName(e.proxy) + " of the environment"
	}
	return e.url.Hostname()
}

// connected returns the target's URL.
func (e endpoint) connected() string {
	if e.proxy != nil {
		return e.via()
	}
	return e.url.Redacted()
}

// proxyFindings reports settings that look like a proxy and are none.
func (d *examination) proxyFindings() (findings []Finding) {
	for _, name := range d.env.BrokenProxies() {
		findings = append(findings, warning("proxy", name, host.ProxyRemedy, "%s", host.BrokenProxyText(name)))
	}
	return findings
}
