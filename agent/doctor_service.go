package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// endpoint finds out where the SDK calls a service.
func (d *doctor) endpoint(ctx context.Context, service string) (endpoint, error) {
	e := endpoint{service: service, vpce: ec2.EndpointService(d.id.Region, service), kind: "interface, private DNS on"}
	var err error
	switch service {
	case "ssm":
		e.url, err = ssmcoord.Endpoint(ctx, d.aws.Config)
	case "s3":
		e.kind = "gateway, in the subnet's route table"
		e.url, err = d.s3Endpoint(ctx)
	default:
		e.url, err = ec2.Endpoint(ctx, d.aws.Config, false)
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

// s3Endpoint is where the AWS CLI and EMR call S3: s3.REGION, with the domain that EC2's name has in the region's partition. The SDK's client
// of S3, which would tell, is not linked for this.
func (d *doctor) s3Endpoint(ctx context.Context) (*url.URL, error) {
	if own := cmp.Or(d.env.Getenv("AWS_ENDPOINT_URL_S3"), d.env.Getenv("AWS_ENDPOINT_URL")); own != "" {
		return url.Parse(own)
	}
	u, err := ec2.Endpoint(ctx, d.aws.Config, true)
	if err != nil {
		return nil, err
	}
	domain, ok := strings.CutPrefix(u.Host, "ec2.")
	if !ok {
		return nil, fmt.Errorf("finding the endpoint of S3: EC2's is %s", text.Quote(u.Host))
	}
	o := awsec2.NewFromConfig(d.aws.Config).Options().EndpointOptions
	name := "s3"
	if o.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled {
		name += "-fips"
	}
	if o.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled {
		name += ".dualstack"
	}
	return &url.URL{Scheme: "https", Host: name + "." + domain}, nil
}

// target is the host and port that is connected to: the proxy's where there is one.
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

// via is how messages call what is connected to.
func (e endpoint) via() string {
	if e.proxy != nil {
		return "the proxy " + host.ProxyName(e.proxy) + " of the environment"
	}
	return e.url.Hostname()
}

// connected is the URL of what is connected to.
func (e endpoint) connected() string {
	if e.proxy != nil {
		return e.via()
	}
	return e.url.Redacted()
}

// proxyFindings tell of settings that look like a proxy and are none.
func (d *doctor) proxyFindings() (findings []Finding) {
	for _, name := range d.env.BrokenProxies() {
		findings = append(findings, warning("proxy", name, host.ProxyRemedy, "%s", host.BrokenProxyText(name)))
	}
	return findings
}
