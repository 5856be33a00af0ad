package settings

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Source is a place with settings: the environment, or a profile of the shared files. The SDK's
// clients ask it for those that they read themselves.
type Source struct {
	// Profile is the profile's name. It is empty for the environment.
	Profile string
	// get returns a setting by its name in a profile. It is empty if the setting is missing.
	get func(name string) string
	// endpoint returns the endpoint of one service, by its name in small letters.
	endpoint func(service string) string
	// called returns how a person finds a setting.
	called func(name string) string
}

// variables are the environment variables of settings, by the setting's name in a profile. The
// first one that is set counts.
// https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
var variables = map[string][]string{
	"region":                          {"AWS_REGION", "AWS_DEFAULT_REGION"},
	"ca_bundle":                       {"AWS_CA_BUNDLE"},
	"endpoint_url":                    {"AWS_ENDPOINT_URL"},
	"ignore_configured_endpoint_urls": {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"},
	"use_dualstack_endpoint":          {"AWS_USE_DUALSTACK_ENDPOINT"},
	"use_fips_endpoint":               {"AWS_USE_FIPS_ENDPOINT"},
	"max_attempts":                    {"AWS_MAX_ATTEMPTS"},
	"retry_mode":                      {"AWS_RETRY_MODE"},
	"sdk_ua_app_id":                   {"AWS_SDK_UA_APP_ID"},
	"disable_clock_skew_correction":   {"AWS_DISABLE_CLOCK_SKEW_CORRECTION"},
	"aws_access_key_id":               {"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"},
	"aws_secret_access_key":           {"AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"},
	"aws_session_token":               {"AWS_SESSION_TOKEN"},
	"role_arn":                        {"AWS_ROLE_ARN"},
	"role_session_name":               {"AWS_ROLE_SESSION_NAME"},
	"web_identity_token_file":         {"AWS_WEB_IDENTITY_TOKEN_FILE"},
}

// environment is the Source of the environment variables.
func environment(getenv func(string) string) Source {
	first := func(name string) (variable, value string) {
		for _, variable := range variables[name] {
			if value := getenv(variable); value != "" {
				return variable, value
			}
		}
		return strings.Join(variables[name], " or "), ""
	}
	return Source{
		get: func(name string) string {
			_, value := first(name)
			return value
		},
		endpoint: func(service string) string { return getenv("AWS_ENDPOINT_URL_" + strings.ToUpper(service)) },
		called: func(name string) string {
			variable, _ := first(name)
			return variable
		},
	}
}

// profile is the Source of a profile with these values. services are the settings of single
// services, in the section that it names.
func profile(name string, values map[string]string, services map[string]map[string]string) Source {
	return Source{
		Profile:  name,
		get:      func(setting string) string { return values[setting] },
		endpoint: func(service string) string { return services[service]["endpoint_url"] },
		called:   func(setting string) string { return setting + " of the profile " + strconv.Quote(name) },
	}
}

// Region returns the region, and the name of the setting. Both are empty if there is none.
func (s Source) Region() (region, setting string) {
	if region = s.get("region"); region == "" {
		return "", ""
	}
	return region, s.called("region")
}

// flag returns a setting that is true or false.
func (s Source) flag(name string) (value, found bool, err error) {
	switch text := s.get(name); {
	case text == "":
		return false, false, nil
	case strings.EqualFold(text, "true"):
		return true, true, nil
	case strings.EqualFold(text, "false"):
		return false, true, nil
	default:
		return false, false, fmt.Errorf("%s is %q: write true or false", s.called(name), text)
	}
}

// GetUseDualStackEndpoint is what the SDK's clients ask.
func (s Source) GetUseDualStackEndpoint(context.Context) (aws.DualStackEndpointState, bool, error) {
	on, found, err := s.flag("use_dualstack_endpoint")
	if on {
		return aws.DualStackEndpointStateEnabled, found, err
	}
	return aws.DualStackEndpointStateDisabled, found, err
}

// GetUseFIPSEndpoint is what the SDK's clients ask.
func (s Source) GetUseFIPSEndpoint(context.Context) (aws.FIPSEndpointState, bool, error) {
	on, found, err := s.flag("use_fips_endpoint")
	if on {
		return aws.FIPSEndpointStateEnabled, found, err
	}
	return aws.FIPSEndpointStateDisabled, found, err
}

// GetIgnoreConfiguredEndpoints is what the SDK's clients ask.
func (s Source) GetIgnoreConfiguredEndpoints(context.Context) (value, found bool, err error) {
	return s.flag("ignore_configured_endpoint_urls")
}

// GetServiceBaseEndpoint is what the SDK's clients ask. sdkID is a service's name, such as EC2.
func (s Source) GetServiceBaseEndpoint(_ context.Context, sdkID string) (string, bool, error) {
	endpoint := s.endpoint(strings.ReplaceAll(strings.ToLower(sdkID), " ", "_"))
	return endpoint, endpoint != "", nil
}
