package ec2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go/middleware"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2/settings"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

const (
	// DialTimeout and attemptTimeout limit one attempt of one call. A silent endpoint costs an
	// attempt, not the run.
	DialTimeout    = 5 * time.Second
	attemptTimeout = 20 * time.Second
)

// The waits between attempts have full jitter below a ceiling, which doubles from retryBase to
// retryMax. After throttling the ceiling grows further: there are other nodes then, and the more
// often each of them asks, the more calls AWS refuses.
const (
	retryBase        = 500 * time.Millisecond
	retryMax         = 5 * time.Second
	retryThrottleMax = 10 * time.Second
)

// A run gives up an endpoint that has never answered after unreachableAfter and unreachableCalls
// calls. It tries an endpoint that has answered until the deadline. Where there is no way to an
// endpoint, calls fail within DialTimeout, and the time decides. Where connections come about and
// break, calls take up to attemptTimeout, and a few of them are no proof.
const (
	unreachableAfter = 90 * time.Second
	unreachableCalls = 10
)

// profileTimeout is how long an instance without an instance profile waits for one. IMDS knows the
// profile when the instance boots, long before a bootstrap action. While IMDS does not answer
// properly, the limit for a late IMDS holds.
const profileTimeout = 5 * time.Second

// ErrNoRegion is the error if neither the node nor the operator's settings have a region.
var ErrNoRegion = errors.New("no AWS region is known")

// Session is the SDK's configuration for one run, and the tally of its calls.
type Session struct {
	Config aws.Config
	Tally  *Tally
	plain  aws.Config // without the tally
	env    host.Environment
	// Elsewhere are the operator's settings that name another region than the node's, in words.
	Elsewhere []string
}

// Open loads AWS's standard settings (environment, shared files, instance profile) and waits for
// credentials. region is the node's own, and the settings' region is used only if it is empty.
// imds, if given, is the caller's: the credentials of the instance profile share its token.
func Open(ctx context.Context, env host.Environment, region string, atMost time.Duration, imds ...IMDS) (*Session, error) {
	s, err := Load(ctx, env, region, imds...)
	if err != nil {
		return nil, err
	}
	if err := WaitForCredentials(ctx, s.Config, env, atMost); err != nil {
		return nil, err
	}
	return s, nil
}

// Load is Open without the credentials.
func Load(ctx context.Context, env host.Environment, region string, imds ...IMDS) (*Session, error) {
	if err := checkVariables(env); err != nil {
		return nil, err
	}
	if len(imds) == 0 {
		imds = []IMDS{OpenIMDS(env)}
	}
	cfg, err := loadConfig(ctx, env, settings.Options{
		Region:     region,
		HTTPClient: buildableOr(env, attemptTimeout),
		Container:  HTTPClient(env, attemptTimeout),
		APIOptions: []func(*middleware.Stack) error{readAnswers},
		IMDS:       imds[0].client,
		AssumeRole: func(cfg aws.Config, r settings.Role) aws.CredentialsProvider {
			r.Base = redactCredentials(env.Redactor, r.Base)
			return AssumeRole(cfg, r)
		},
	})
	if err != nil {
		return nil, exit.With(exit.Usage, fmt.Errorf("loading the AWS configuration: %w", err), configRemedy(env))
	}
	if cfg.Region == "" {
		return nil, exit.With(exit.Usage, ErrNoRegion, "set AWS_REGION")
	}
	if err := checkSettings(ctx, cfg, env); err != nil {
		return nil, err
	}
	if b, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		cfg.HTTPClient = direct(b.GetTransport(), b.GetTimeout())
	}
	cfg.Credentials = redactCredentials(env.Redactor, cfg.Credentials)
	s := newSession(cfg, env)
	if region != "" {
		s.Elsewhere = elsewhere(cfg, region)
	}
	return s, nil
}

// newSession returns a session with a tally of its own.
func newSession(cfg aws.Config, env host.Environment) *Session {
	s := &Session{Config: cfg.Copy(), Tally: newTally(env.Logger()), plain: cfg, env: env}
	// AWS_MAX_ATTEMPTS and AWS_RETRY_MODE, or the same in a shared file, take precedence.
	if cfg.RetryMaxAttempts == 0 && cfg.RetryMode == "" {
		s.Config.Retryer = func() aws.Retryer { return newRetryer(env.Random(), s.Tally) }
	}
	s.Config.APIOptions = append(slices.Clone(cfg.APIOptions), s.Tally.register)
	return s
}

// In returns a session with the same credentials in another region.
func (s *Session) In(region string) *Session {
	cfg := s.plain.Copy()
	cfg.Region = region
	return newSession(cfg, s.env)
}

// configFiles are the variables that name a file which the SDK reads as a whole.
var configFiles = []string{"AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"}

// loadConfig is settings.Load within ctx.
func loadConfig(ctx context.Context, env host.Environment, options settings.Options) (aws.Config, error) {
	return readWithin(ctx, env, func() (aws.Config, error) { return settings.Load(os.Getenv, options) })
}

// RegionOf returns the region in the settings, or "" if they have none. It asks nobody.
func RegionOf(ctx context.Context, env host.Environment) (string, error) {
	region, err := readWithin(ctx, env, func() (string, error) {
		s, err := settings.Read(os.Getenv)
		if err != nil {
			return "", err
		}
		return s.Region(), nil
	})
	if err != nil {
		return "", exit.With(exit.Usage, fmt.Errorf("loading the AWS configuration: %w", err), configRemedy(env))
	}
	return region, nil
}

// readWithin returns what read makes of the settings. It ends with ctx even if a file, such as a
// named pipe, does not end. A device is refused.
func readWithin[T any](ctx context.Context, env host.Environment, read func() (T, error)) (none T, err error) {
	for _, name := range configFiles {
		p := env.Getenv(name)
		if info, err := os.Stat(p); err == nil && info.Mode()&os.ModeDevice != 0 && p != os.DevNull {
			return none, fmt.Errorf("%s: %s is a device", name, text.Quote(p))
		}
	}
	type made struct {
		value T
		err   error
	}
	done := make(chan made, 1)
	go func() {
		value, err := read()
		done <- made{value, err}
	}()
	select {
	case m := <-done:
		return m.value, m.err
	case <-ctx.Done():
		return none, fmt.Errorf("reading a file did not end in time: %w", context.Cause(ctx))
	}
}

// buildableOr returns the SDK's client, or one with env's transport.
func buildableOr(env host.Environment, timeout time.Duration) aws.HTTPClient {
	if env.HTTP != nil {
		return HTTPClient(env, timeout)
	}
	return buildable(env, timeout)
}

// configRemedy returns what to do about a configuration that the SDK cannot load.
func configRemedy(env host.Environment) string {
	remedy := "check the AWS_* environment variables and ~/.aws/config"
	for _, name := range append([]string{"AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_FULL_URI"}, configFiles...) {
		if env.Getenv(name) != "" {
			remedy += "; " + name + " is set"
		}
	}
	return remedy
}
