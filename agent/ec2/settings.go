package ec2

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2/settings"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// imdsEndpoint is the variable that names another IMDS.
const imdsEndpoint = "AWS_EC2_METADATA_SERVICE_ENDPOINT"

// checkVariables refuses credentials in the environment with blanks around them or control
// characters in them: AWS rejects every signature made with these.
func checkVariables(env host.Environment) error {
	var errs []error
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		value := env.Getenv(name)
		if value != strings.TrimSpace(value) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' }) {
			errs = append(errs, exit.With(exit.Usage, errors.New(name+" has a blank or a line break at its beginning or end, or a control character"), "set "+name+" without it, or unset it"))
		}
	}
	return errors.Join(errs...)
}

// checkSettings refuses a region and endpoints of the operator's settings with which no request can
// be made.
func checkSettings(ctx context.Context, cfg aws.Config, env host.Environment) error {
	if !text.Word("").Fits(cfg.Region) {
		return exit.With(exit.Usage, fmt.Errorf("%s is not the name of a region", text.Quote(cfg.Region)), "write AWS_REGION, AWS_DEFAULT_REGION or region in ~/.aws/config like us-east-1, without blanks")
	}
	find := map[string]func() (*url.URL, error){
		"ec2": func() (*url.URL, error) { return Endpoint(ctx, cfg) },
		"ssm": func() (*url.URL, error) { return ssmcoord.Endpoint(ctx, cfg) },
	}
	for _, service := range []string{"ec2", "ssm"} {
		u, err := find[service]()
		if err == nil {
			err = checkURL(u)
		}
		if err != nil {
			return exit.With(exit.Usage, fmt.Errorf("the settings of the %s endpoint are wrong: %w", service, err), endpointRemedy(env, service))
		}
	}
	return nil
}

// checkURL returns an error if no request can be sent to u.
func checkURL(u *url.URL) error {
	switch port, err := strconv.ParseUint(u.Port(), 10, 16); {
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return fmt.Errorf("%s is no http:// or https:// URL with a host", text.Quote(u.Redacted()))
	case u.Port() != "" && (err != nil || port == 0):
		return fmt.Errorf("%s has no valid port", text.Quote(u.Redacted()))
	}
	return nil
}

// endpointRemedy names the settings that determine a service's endpoint.
func endpointRemedy(env host.Environment, service string) string {
	var own, modes []string
	for _, name := range []string{"AWS_ENDPOINT_URL_" + strings.ToUpper(service), "AWS_ENDPOINT_URL"} {
		if value := env.Getenv(name); value != "" {
			own = append(own, name+" (now "+text.Quote(value)+")")
		}
	}
	for _, name := range []string{"AWS_USE_DUALSTACK_ENDPOINT", "AWS_USE_FIPS_ENDPOINT"} {
		if env.Getenv(name) != "" {
			modes = append(modes, name)
		}
	}
	switch {
	case len(own) > 0 && len(modes) > 0:
		return fmt.Sprintf("unset %s, which cannot be used together with an endpoint of one's own: %s", strings.Join(modes, " and "), strings.Join(own, " or "))
	case len(own) > 0:
		return fmt.Sprintf("write %s as http://HOST or https://HOST, without blanks, or unset it", strings.Join(own, " or "))
	case len(modes) > 0:
		return fmt.Sprintf("unset %s: the region has no such endpoint, or an endpoint_url in ~/.aws/config stands against it", strings.Join(modes, " and "))
	}
	return "look at endpoint_url, use_dualstack_endpoint and use_fips_endpoint in ~/.aws/config"
}

// checkIMDS returns an error if the endpoint of IMDS in the environment is no URL.
func checkIMDS(env host.Environment) error {
	value := env.Getenv(imdsEndpoint)
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	if err == nil {
		err = checkURL(u)
	}
	if err != nil {
		return exit.With(exit.Usage, fmt.Errorf("%s is wrong: %w", imdsEndpoint, err), "unset "+imdsEndpoint+" (now "+text.Quote(value)+"), or write it as http://HOST, without blanks")
	}
	return nil
}

// elsewhere returns the settings that name another region than the node's, in words. A node exists
// in one region only, so nothing is asked or written in another one.
func elsewhere(cfg aws.Config, region string) []string {
	var found []string
	for _, source := range cfg.ConfigSources {
		if s, ok := source.(settings.Source); ok {
			if value, setting := s.Region(); value != "" && value != region {
				found = append(found, fmt.Sprintf("%s names the region %s, and this node is in %s, says IMDS: %s is used", setting, text.Quote(value), region, region))
			}
		}
	}
	return found
}
