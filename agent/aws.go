package agent

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

// Bounds of one attempt of one call. A black-holed endpoint costs an attempt, not the run.
const (
	dialTimeout    = 5 * time.Second
	attemptTimeout = 20 * time.Second
)

// retryBase and retryMax bound the waits between attempts: full jitter below a ceiling that doubles from one to the other. After
// throttling the ceiling grows further: then there are others, and the more often each of them asks, the more is thrown away.
const (
	retryBase        = 500 * time.Millisecond
	retryMax         = 5 * time.Second
	retryThrottleMax = 10 * time.Second
)

// unreachableAfter is how long an endpoint that never answered in this run is tried. One that has answered is tried until the deadline.
const unreachableAfter = 90 * time.Second

// profileTimeout is how long an instance without an instance profile is given: the profile may be attached late. While IMDS does not answer
// properly, the bound for a late IMDS counts.
const profileTimeout = 30 * time.Second

// errNoRegion: neither the node nor the operator's settings tell the region.
var errNoRegion = errors.New("no AWS region is known")

// awsSession is the SDK's configuration for one run, and the tally of its calls.
type awsSession struct {
	config aws.Config
	tally  *tally
}

// openAWS loads the SDK's standard configuration (environment, shared files, instance profile) and waits a moment for
// credentials. region is the node's own, used where the operator's settings name none. more are further settings.
func openAWS(ctx context.Context, env Environment, region string, atMost time.Duration, more ...func(*awsconfig.LoadOptions) error) (*awsSession, error) {
	s, err := loadAWS(ctx, env, region, more...)
	if err != nil {
		return nil, err
	}
	if err := waitForCredentials(ctx, s.config, env, atMost); err != nil {
		return nil, err
	}
	return s, nil
}

// loadAWS is openAWS without the credentials.
func loadAWS(ctx context.Context, env Environment, region string, more ...func(*awsconfig.LoadOptions) error) (*awsSession, error) {
	t := newTally(env.Logger())
	cfg, err := awsconfig.LoadDefaultConfig(ctx, append([]func(*awsconfig.LoadOptions) error{
		awsconfig.WithHTTPClient(httpClient(env, attemptTimeout)),
		awsconfig.WithDefaultRegion(region),
		awsconfig.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) { o.Client = openIMDS(env).client }),
	}, more...)...)
	if err != nil {
		return nil, exit.With(ExitUsage, fmt.Errorf("loading the AWS configuration: %w", err), "check the AWS_* environment variables and ~/.aws/config")
	}
	if cfg.Region == "" {
		return nil, exit.With(ExitUsage, errNoRegion, "set AWS_REGION")
	}
	// Where the operator set AWS_MAX_ATTEMPTS or AWS_RETRY_MODE (or the same in a shared file), those count.
	if cfg.RetryMaxAttempts == 0 && cfg.RetryMode == "" {
		cfg.Retryer = func() aws.Retryer { return newRetryer(env.Random(), t) }
	}
	cfg.Credentials = redactCredentials(env.Redactor, cfg.Credentials)
	cfg.APIOptions = append(cfg.APIOptions, t.register, refuseOddAnswers)
	return &awsSession{config: cfg, tally: t}, nil
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

// waitForCredentials waits until there are AWS credentials, for at most the given time.
func waitForCredentials(ctx context.Context, cfg aws.Config, env Environment, atMost time.Duration) error {
	began := time.Now()
	wait := host.NewProgress(env.Logger(), began)
	interval := func() time.Duration { return host.Jitter(env.Random(), time.Second) }
	done, err := host.Poll(ctx, interval, func() (done bool, err error) {
		_, err = cfg.Credentials.Retrieve(ctx)
		if err == nil {
			return true, nil
		}
		waited := time.Since(began)
		noProfile := hasStatus(err, http.StatusNotFound)
		if waited > atMost || noProfile && waited > profileTimeout {
			if !noProfile {
				return true, exit.With(silent(err), fmt.Errorf("getting AWS credentials, for %s: %w", waited.Round(time.Second), err), imdsRemedy(err))
			}
			return true, exit.With(ExitPermission, fmt.Errorf("getting AWS credentials: %w", err),
				"give the instance an instance profile (EMR: JobFlowRole) with the policy from the README, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
		}
		limit := atMost
		if noProfile {
			limit = min(limit, profileTimeout)
		}
		wait.Waiting(ctx, limit, "for AWS credentials of the instance profile: %s", withoutRequest(err.Error()))
		return false, err
	})
	if !done {
		return fmt.Errorf("getting AWS credentials: %w", err)
	}
	return err
}

// httpClient is env's transport, or the SDK's with a proxy rule that never sends a request for IMDS to a proxy.
func httpClient(env Environment, timeout time.Duration) aws.HTTPClient {
	if env.HTTP != nil {
		return &http.Client{Transport: env.HTTP, Timeout: timeout}
	}
	return awshttp.NewBuildableClient().WithTimeout(timeout).
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) {
			t.TLSHandshakeTimeout = dialTimeout
			t.Proxy = func(r *http.Request) (*url.URL, error) {
				if isIMDS(env, r.URL.Hostname()) {
					return nil, nil
				}
				return http.ProxyFromEnvironment(r)
			}
		})
}

// isIMDS tells whether host is the Instance Metadata Service, under its fixed addresses or the one of the environment.
func isIMDS(env Environment, host string) bool {
	if host == "169.254.169.254" || host == "fd00:ec2::254" {
		return true
	}
	u, err := url.Parse(env.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"))
	return err == nil && u.Hostname() != "" && u.Hostname() == host
}

// newRetryer retries whatever may pass until the context ends, whatever the number of attempts: throttling, 5xx, lost connections, slow answers, and
// concurrent updates of one parameter. The SDK's own limits (three attempts, a retry quota, an adaptive mode) give up or stall too
// early for a launch in which all nodes share one quota.
func newRetryer(random func() float64, t *tally) aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = math.MaxInt32
		o.RateLimiter = ratelimit.None
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, err error) (time.Duration, error) {
			limit := retryMax
			if isThrottle(err) {
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

// tally counts the attempts of every call and remembers what went wrong last, which the SDK forgets when the deadline ends a wait.
type tally struct {
	mu       sync.Mutex
	calls    map[string]int         // "ssm:PutParameter" -> attempts
	throttle int                    // of these, throttled
	last     map[string]error       // last error of each call since it last succeeded
	answered map[string]bool        // services that have answered, with anything
	first    map[string]time.Time   // when a service that has not answered was first tried
	failing  map[string]*failureRun // calls that have failed since they last succeeded
	log      *zap.Logger
}

func newTally(log *zap.Logger) *tally {
	return &tally{calls: map[string]int{}, last: map[string]error{}, answered: map[string]bool{}, first: map[string]time.Time{},
		failing: map[string]*failureRun{}, log: log}
}

func (t *tally) register(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("Tally", t.attempt), "Retry", middleware.After)
}

func (t *tally) attempt(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
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
	if isThrottle(err) {
		t.throttle++
	}
	if err != nil && !hasResponse(err) && !t.answered[service] && time.Since(t.first[service]) > unreachableAfter {
		err = &unreachableError{service: service, err: err}
	}
	return out, meta, err
}

// persisting tells the operator, now and then, of a call that goes on failing.
func (t *tally) persisting(ctx context.Context, name string, began time.Time, err error) {
	s := t.failing[name]
	if s == nil {
		s = &failureRun{progress: host.NewProgress(t.log, began)}
		t.failing[name] = s
	}
	s.calls++
	if isThrottle(err) {
		s.throttled++
	}
	if s.progress.Due(time.Now()) {
		t.log.Warn(s.line(ctx, name, err))
	}
}

// retryable ends the attempts at an endpoint that has never answered.
func (t *tally) retryable(err error) aws.Ternary {
	if u := (*unreachableError)(nil); errors.As(err, &u) {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}

// pending is what the calls that have not succeeded since failed with, for a run that the deadline ended.
func (t *tally) pending() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, err := range t.last {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// silent is a service that was called and has never answered, and how long ago it was called first; empty where there is none.
func (t *tally) silent() (service string, asked time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range slices.Sorted(maps.Keys(t.first)) {
		if !t.answered[s] {
			return s, time.Since(t.first[s])
		}
	}
	return "", 0
}

// snapshot is the number of attempts of each call, and how many were throttled.
func (t *tally) snapshot() (map[string]int, int) {
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
	if s.throttled == s.calls || isThrottle(err) {
		return fmt.Sprintf("AWS throttles %s: still trying, %s%s", call, text.Count(s.throttled, "throttled call so far", "throttled calls so far"), host.AtMost(ctx, 0))
	}
	return fmt.Sprintf("%s fails: still trying, %s%s: %s", call, text.Count(s.calls, "call so far", "calls so far"), host.AtMost(ctx, 0), text.Clean(withoutRequest(err.Error()), 4*text.MaxQuoted))
}
