package ec2

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/smithy-go/middleware"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"go.uber.org/zap"
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

// profileTimeout is how long an instance without an instance profile waits for one. While IMDS does
// not answer properly, the limit for a late IMDS holds.
const profileTimeout = 30 * time.Second

// ErrNoRegion is the error if neither the node nor the operator's settings have a region.
var ErrNoRegion = errors.New("no AWS region is known")

// Session is the SDK's configuration for one run, and the tally of its calls.
type Session struct {
	Config aws.Config
	Tally  *Tally
}

// Open loads the SDK's standard configuration (environment, shared files, instance profile) and
// waits for credentials. region is the node's own. It is used if the operator's settings have none.
// more are further settings.
func Open(ctx context.Context, env host.Environment, region string, atMost time.Duration, more ...func(*awsconfig.LoadOptions) error) (*Session, error) {
	s, err := Load(ctx, env, region, more...)
	if err != nil {
		return nil, err
	}
	if err := WaitForCredentials(ctx, s.Config, env, atMost); err != nil {
		return nil, err
	}
	return s, nil
}

// Load is Open without the credentials.
func Load(ctx context.Context, env host.Environment, region string, more ...func(*awsconfig.LoadOptions) error) (*Session, error) {
	t := newTally(env.Logger())
	cfg, err := awsconfig.LoadDefaultConfig(ctx, append([]func(*awsconfig.LoadOptions) error{
		awsconfig.WithHTTPClient(HTTPClient(env, attemptTimeout)),
		awsconfig.WithDefaultRegion(region),
		awsconfig.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) { o.Client = OpenIMDS(env).client }),
	}, more...)...)
	if err != nil {
		return nil, exit.With(exit.Usage, fmt.Errorf("loading the AWS configuration: %w", err), "check the AWS_* environment variables and ~/.aws/config")
	}
	if cfg.Region == "" {
		return nil, exit.With(exit.Usage, ErrNoRegion, "set AWS_REGION")
	}
	// AWS_MAX_ATTEMPTS and AWS_RETRY_MODE, or the same in a shared file, take precedence.
	if cfg.RetryMaxAttempts == 0 && cfg.RetryMode == "" {
		cfg.Retryer = func() aws.Retryer { return newRetryer(env.Random(), t) }
	}
	cfg.Credentials = redactCredentials(env.Redactor, cfg.Credentials)
	cfg.APIOptions = append(cfg.APIOptions, t.register, refuseOddAnswers)
	return &Session{Config: cfg, Tally: t}, nil
}

// redactCredentials makes credentials secret as soon as the provider returns them.
func redactCredentials(r *host.Redactor, provider aws.CredentialsProvider) aws.CredentialsProvider {
	if r == nil || provider == nil {
		return provider
	}
	return aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		c, err := provider.Retrieve(ctx)
		r.Hide(c.SecretAccessKey, c.SessionToken)
		return c, err
	}))
}

// WaitForCredentials waits until there are AWS credentials, for at most the given time.
func WaitForCredentials(ctx context.Context, cfg aws.Config, env host.Environment, atMost time.Duration) error {
	began := time.Now()
	wait := host.NewProgress(env.Logger(), began)
	interval := func() time.Duration { return host.Jitter(env.Random(), time.Second) }
	done, err := host.Poll(ctx, interval, func() (done bool, err error) {
		_, err = cfg.Credentials.Retrieve(ctx)
		if err == nil {
			return true, nil
		}
		waited := time.Since(began)
		noProfile := HasStatus(err, http.StatusNotFound)
		if waited > atMost || noProfile && waited > profileTimeout {
			if !noProfile {
				return true, exit.With(silent(err), fmt.Errorf("getting AWS credentials, for %s: %w", waited.Round(time.Second), err), IMDSRemedy(err))
			}
			return true, exit.With(exit.Permission, fmt.Errorf("getting AWS credentials: %w", err),
				"give the instance an instance profile (EMR: JobFlowRole) with the policy from the README, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
		}
		limit := atMost
		if noProfile {
			limit = min(limit, profileTimeout)
		}
		wait.Waiting(ctx, limit, "for AWS credentials of the instance profile: %s", WithoutRequest(err.Error()))
		return false, err
	})
	if !done {
		return fmt.Errorf("getting AWS credentials: %w", err)
	}
	return err
}

// HTTPClient returns env's transport, or the SDK's with a proxy rule that never sends a request for
// IMDS to a proxy.
func HTTPClient(env host.Environment, timeout time.Duration) aws.HTTPClient {
	if env.HTTP != nil {
		return &http.Client{Transport: env.HTTP, Timeout: timeout}
	}
	return awshttp.NewBuildableClient().WithTimeout(timeout).
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = DialTimeout }).
		WithTransportOptions(func(t *http.Transport) {
			t.TLSHandshakeTimeout = DialTimeout
			t.Proxy = func(r *http.Request) (*url.URL, error) {
				if IsIMDS(env, r.URL.Hostname()) {
					return nil, nil
				}
				return http.ProxyFromEnvironment(r)
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

// newRetryer retries whatever may pass until the context ends: throttling, 5xx, lost connections,
// slow answers, and concurrent updates of one parameter. The SDK's own limits (three attempts, a
// retry quota, an adaptive mode) give up or stall too early for a launch in which all nodes share
// one quota.
func newRetryer(random func() float64, t *Tally) aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = math.MaxInt32
		o.RateLimiter = ratelimit.None
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, err error) (time.Duration, error) {
			limit := retryMax
			if IsThrottle(err) {
				limit = retryThrottleMax
			}
			ceiling := min(retryBase<<min(max(attempt-1, 0), 10), limit)
			return time.Duration(random() * float64(ceiling)), nil
		})
		o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(t.retryable)}, o.Retryables...)
		o.Retryables = append(o.Retryables, retry.RetryableErrorCode{Codes: map[string]struct{}{
			"TooManyUpdates": {}, "InternalServerError": {}, "InternalError": {}, "InternalFailure": {},
			"ServiceUnavailable": {}, "Unavailable": {}, "ThrottledException": {},
		}})
	})
}

// Tally counts the attempts of every call. It also remembers the last errors, which the SDK forgets
// if the deadline ends a wait.
type Tally struct {
	mu       sync.Mutex
	calls    map[string]int         // "ssm:PutParameter" -> attempts
	throttle int                    // of these, throttled
	last     map[string]error       // last error of each call since it last succeeded
	answered map[string]bool        // services that have answered, with anything
	first    map[string]time.Time   // when a service was first tried
	silent   map[string]int         // calls that a service has not answered
	failing  map[string]*failureRun // calls that have failed since they last succeeded
	log      *zap.Logger
}

func newTally(log *zap.Logger) *Tally {
	return &Tally{calls: map[string]int{}, last: map[string]error{}, answered: map[string]bool{}, first: map[string]time.Time{}, silent: map[string]int{},
		failing: map[string]*failureRun{}, log: log}
}

func (t *Tally) register(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("Tally", t.attempt), "Retry", middleware.After)
}

func (t *Tally) attempt(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
	service := serviceName(awsmiddleware.GetServiceID(ctx))
	name := service + ":" + awsmiddleware.GetOperationName(ctx)
	t.mu.Lock()
	t.calls[name]++
	if _, ok := t.first[service]; !ok {
		t.first[service] = time.Now()
	}
	t.mu.Unlock()

	began := time.Now()
	out, meta, err := next.HandleFinalize(ctx, in)

	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		delete(t.last, name)
		delete(t.failing, name)
	} else if ctx.Err() == nil {
		t.last[name] = err
		t.persisting(ctx, name, began, err)
	}
	if hasResponse(err) {
		t.answered[service] = true
	}
	if IsThrottle(err) {
		t.throttle++
	}
	if err != nil && !hasResponse(err) && !t.answered[service] {
		t.silent[service]++
		if t.silent[service] >= unreachableCalls && time.Since(t.first[service]) > unreachableAfter {
			err = &UnreachableError{Service: service, Err: err}
		}
	}
	return out, meta, err
}

// persisting logs now and then that a call goes on failing.
func (t *Tally) persisting(ctx context.Context, name string, began time.Time, err error) {
	s := t.failing[name]
	if s == nil {
		s = &failureRun{progress: host.NewProgress(t.log, began)}
		t.failing[name] = s
	}
	s.calls++
	if IsThrottle(err) {
		s.throttled++
	}
	if s.progress.Due(time.Now()) {
		t.log.Warn(s.line(ctx, name, err))
	}
}

// retryable ends the attempts at an endpoint that has never answered.
func (t *Tally) retryable(err error) aws.Ternary {
	if u := (*UnreachableError)(nil); errors.As(err, &u) {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}

// Pending returns the last errors of the calls that have not succeeded since. It is for a run that
// the deadline ended.
func (t *Tally) Pending() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, err := range t.last {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Silent returns a service that was called and has never answered, and how long ago it was called
// first. The service is empty if there is none.
func (t *Tally) Silent() (service string, asked time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range slices.Sorted(maps.Keys(t.first)) {
		if !t.answered[s] {
			return s, time.Since(t.first[s])
		}
	}
	return "", 0
}

// Snapshot returns the number of attempts of each call, and how many were throttled.
func (t *Tally) Snapshot() (map[string]int, int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.calls), t.throttle
}

// failureRun counts the attempts of one call to AWS that have failed in a row.
type failureRun struct {
	progress  *host.Progress
	calls     int
	throttled int
}

// line returns the log line about the failures.
func (s *failureRun) line(ctx context.Context, call string, err error) string {
	if s.throttled == s.calls || IsThrottle(err) {
		return fmt.Sprintf("AWS throttles %s: still trying, %s%s", call, text.Count(s.throttled, "throttled call so far", "throttled calls so far"), host.AtMost(ctx, 0))
	}
	return fmt.Sprintf("%s fails: still trying, %s%s: %s", call, text.Count(s.calls, "call so far", "calls so far"), host.AtMost(ctx, 0), text.Clean(WithoutRequest(err.Error()), 4*text.MaxQuoted))
}
