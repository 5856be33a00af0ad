// Package settings reads the settings that the AWS CLI and the SDKs share: the environment
// variables AWS_*, and a profile of ~/.aws/config and ~/.aws/credentials.
//
// It stands in for the SDK's package config. That one links the clients of SSO, SSO OIDC, Signin
// and STS: 1.3 MB, and a seventh of the time to start, in a program that a timer starts every
// minute on every node. A node has its instance profile and needs none of them. Where settings ask
// for a role, agent/ec2 calls STS. Where they ask for IAM Identity Center, the console's sign-in or
// a code, which is on laptops, the AWS CLI gets the credentials. The tests compare this package
// with the SDK's.
package settings

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/smithy-go/middleware"
)

// maxBundle limits a file of CA certificates, in bytes. Those of systems have a quarter of a MB.
const maxBundle = 16 << 20

// Settings are the settings of one process.
type Settings struct {
	// Sources are the places with settings. The first one that has a setting counts.
	Sources []Source
	getenv  func(string) string
	// The sections of ~/.aws/config and of ~/.aws/credentials.
	config, secrets map[string]section
}

// Options are what the caller adds to the settings.
type Options struct {
	// Region takes precedence over the settings'.
	Region string
	// HTTPClient sends the requests. It trusts the settings' CA certificates too if it is the SDK's
	// BuildableClient.
	HTTPClient aws.HTTPClient
	// Container sends the requests for the credentials of a container. nil means the SDK's client.
	Container  aws.HTTPClient
	APIOptions []func(*middleware.Stack) error
	// IMDS gives the credentials of the instance profile. nil means the SDK's client.
	IMDS ec2rolecreds.GetMetadataAPIClient
	// AssumeRole returns what gets the credentials of a role from STS, with cfg.
	AssumeRole func(cfg aws.Config, r Role) aws.CredentialsProvider
}

// Read reads the environment variables, and the profile that they name in the shared files. It asks
// nobody. An error names the variable, or the file and its line.
func Read(getenv func(string) string) (*Settings, error) {
	name, chosen := "default", ""
	for _, variable := range []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} {
		if value := getenv(variable); value != "" {
			name, chosen = value, variable
			break
		}
	}
	s := &Settings{getenv: getenv}
	var err error
	if s.config, err = readShared(getenv, "AWS_CONFIG_FILE", "config"); err != nil {
		return nil, err
	}
	if s.secrets, err = readShared(getenv, "AWS_SHARED_CREDENTIALS_FILE", "credentials"); err != nil {
		return nil, err
	}
	if chosen != "" && !s.has(name) {
		return nil, noProfile(chosen, name)
	}
	s.Sources = []Source{environment(getenv), s.profile(name)}
	return s, nil
}

// heading returns the heading of a profile in ~/.aws/config. In ~/.aws/credentials it is the name.
// "profile default" takes precedence over "default", which may stand without the word.
func (s *Settings) heading(name string) string {
	if _, ok := s.config["profile "+name]; !ok && name == "default" {
		return name
	}
	return "profile " + name
}

func (s *Settings) has(name string) bool {
	_, config := s.config[s.heading(name)]
	_, secrets := s.secrets[name]
	return config || secrets
}

// noProfile is the error of a setting that names a profile which no file has.
func noProfile(setting, name string) error {
	return fmt.Errorf("%s is %q, and neither ~/.aws/config nor ~/.aws/credentials has this profile: aws configure list-profiles", setting, name)
}

// profile returns a profile of the shared files. A setting of ~/.aws/credentials takes precedence.
// The profile is empty if no file has it.
func (s *Settings) profile(name string) Source {
	config, secrets := s.config[s.heading(name)], s.secrets[name].values
	values := maps.Clone(config.values)
	if values == nil {
		values = map[string]string{}
	}
	if secrets["aws_access_key_id"] != "" { // the token of the other pair of keys is not this one's
		delete(values, "aws_session_token")
	}
	maps.Copy(values, secrets)
	return profile(name, values, s.config["services "+values["services"]].below)
}

// readShared returns the sections of the file that a variable names, or of the one with this name
// in ~/.aws. A file that does not exist is empty.
func readShared(getenv func(string) string, variable, name string) (map[string]section, error) {
	file := getenv(variable)
	given := file != ""
	if !given {
		home, _ := os.UserHomeDir()
		if home == "" { // as in a service of systemd
			if u, err := user.Current(); err == nil {
				home = u.HomeDir
			}
		}
		file = filepath.Join(home, ".aws", name)
	}
	data, err := ReadFile(file, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), // HOME may be /dev/null
		!given && errors.Is(err, fs.ErrPermission) && !seen(file): // or somebody else's
		return nil, nil
	case err != nil && given:
		return nil, fmt.Errorf("%s: %w", variable, err)
	case err != nil:
		return nil, err
	}
	sections, err := parse(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strconv.Quote(file), err)
	}
	return sections, nil
}

// seen reports whether this user may look into the file's directory.
func seen(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// ReadFile reads a file of at most limit bytes.
func ReadFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", strconv.Quote(name), limit)
	}
	return data, err
}

// Region returns the region, and empty if no setting has one.
func (s *Settings) Region() string {
	region, _ := s.get("region")
	return region
}

// get returns a setting, and how a person finds it. Both are empty if it is missing.
func (s *Settings) get(name string) (value, called string) {
	for _, source := range s.Sources {
		if value := source.get(name); value != "" {
			return value, source.called(name)
		}
	}
	return "", ""
}

// Load reads the settings, and returns the SDK's configuration with them. It asks nobody: the
// credentials are fetched by their first use.
func Load(getenv func(string) string, o Options) (aws.Config, error) {
	s, err := Read(getenv)
	if err != nil {
		return aws.Config{}, err
	}
	return s.Config(o)
}

// Config returns the SDK's configuration. Its errors are those of all wrong settings.
func (s *Settings) Config(o Options) (aws.Config, error) {
	cfg := aws.Config{Region: o.Region, HTTPClient: o.HTTPClient, APIOptions: o.APIOptions, DefaultsMode: aws.DefaultsModeLegacy}
	if cfg.Region == "" {
		cfg.Region = s.Region()
	}
	var errs []error
	for _, source := range s.Sources {
		cfg.ConfigSources = append(cfg.ConfigSources, source)
		for _, name := range []string{"use_dualstack_endpoint", "use_fips_endpoint", "ignore_configured_endpoint_urls", "disable_clock_skew_correction"} {
			_, _, err := source.flag(name)
			errs = append(errs, err)
		}
	}
	on := func(name string) bool {
		for _, source := range s.Sources {
			if value, found, _ := source.flag(name); found {
				return value
			}
		}
		return false
	}
	cfg.DisableClockSkewCorrection = on("disable_clock_skew_correction")
	if endpoint, _ := s.get("endpoint_url"); endpoint != "" && !on("ignore_configured_endpoint_urls") {
		cfg.BaseEndpoint = aws.String(endpoint)
	}
	cfg.AppID, _ = s.get("sdk_ua_app_id")
	if text, called := s.get("max_attempts"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			errs = append(errs, fmt.Errorf("%s is %q: write a number", called, text))
		}
		cfg.RetryMaxAttempts = n
	}
	if text, called := s.get("retry_mode"); text != "" {
		mode, err := aws.ParseRetryMode(text)
		switch {
		case text == "legacy": // of the AWS CLI; the SDK for Go has none, and its default instead
		case err != nil:
			errs = append(errs, fmt.Errorf("%s is %q: write standard or adaptive", called, text))
		default:
			cfg.RetryMode = mode
		}
	}
	var err error
	if cfg.HTTPClient, err = s.trusting(o.HTTPClient); err != nil {
		errs = append(errs, err)
	}
	if cfg.Credentials, err = s.credentials(cfg, o); err != nil {
		errs = append(errs, err)
	}
	return cfg, errors.Join(errs...)
}

// trusting returns client, which also trusts the settings' CA certificates, and only these if there
// are any.
func (s *Settings) trusting(client aws.HTTPClient) (aws.HTTPClient, error) {
	file, called := s.get("ca_bundle")
	if file == "" {
		return client, nil
	}
	data, err := ReadFile(file, maxBundle)
	if err != nil {
		return client, fmt.Errorf("%s: %w", called, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return client, fmt.Errorf("%s: %s has no certificates in PEM", called, strconv.Quote(file))
	}
	if client == nil {
		client = awshttp.NewBuildableClient()
	}
	b, ok := client.(*awshttp.BuildableClient)
	if !ok { // of a test
		return client, nil
	}
	return b.WithTransportOptions(func(t *http.Transport) {
		if t.TLSClientConfig == nil {
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		t.TLSClientConfig.RootCAs = pool
	}), nil
}
