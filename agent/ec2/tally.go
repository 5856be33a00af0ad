package ec2

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// newRetryer returns a Retryer that repeats a call until the context ends, if the fault may pass:
// throttling, 5xx, 408, 425 and 429, lost connections, slow answers, answers that break off, and
// concurrent updates of one parameter. It does not repeat a call after a lasting error. The SDK's
// own limits (three attempts, a retry quota, an adaptive mode) give up or stall too early for a
// launch in which all nodes share one quota.
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
	route    route
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
	} else if broken := (*brokenAnswerError)(nil); ctx.Err() == nil || errors.As(err, &broken) {
		t.last[name] = &smithy.OperationError{ServiceID: awsmiddleware.GetServiceID(ctx), OperationName: awsmiddleware.GetOperationName(ctx), Err: err}
		if ctx.Err() == nil {
			t.persisting(ctx, name, began, err)
		}
	}
	err = t.route.judge(service, t.answered[service], began, err)
	of := innermostService(err, service) // getting credentials may be what failed
	if hasResponse(err) && of == service {
		t.answered[service] = true
	}
	if IsThrottle(err) {
		t.throttle++
	}
	if err != nil && !hasResponse(err) && of == service && !t.answered[service] {
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

// retryable reports whether the SDK repeats a call. It does not if the error lasts, if the endpoint
// has never answered, or if the rules cut the endpoint off. It does if an answer broke off, or if a
// middlebox refused the call for now.
func (t *Tally) retryable(err error) aws.Ternary {
	broken := (*brokenAnswerError)(nil)
	switch u := (*UnreachableError)(nil); {
	case errors.As(err, &u), IsCutOff(err), lasting(err):
		return aws.FalseTernary
	case errors.As(err, &broken), mayPass(statusOf(err)):
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

// Overdue gives err its exit code and remedy, if the time of the work ran out. The SDK then reports
// only that it was cancelled. Overdue adds what was tried in vain: the last errors of the services
// that err is about, or of all services if err names none.
func (t *Tally) Overdue(err error, at iam.Place) error {
	t.mu.Lock()
	about := servicesOf(err)
	concerns := func(service string) bool { return len(about) == 0 || slices.Contains(about, service) }
	pending := map[string][]error{} // by service
	for _, call := range slices.Sorted(maps.Keys(t.last)) {
		if service, _, _ := strings.Cut(call, ":"); concerns(service) {
			pending[service] = append(pending[service], t.last[call])
		}
	}
	var silent, rest []error
	for _, service := range slices.Sorted(maps.Keys(t.first)) {
		last := errors.Join(pending[service]...)
		asked := time.Since(t.first[service])
		if concerns(service) && !t.answered[service] && (last != nil || asked > DialTimeout) {
			if last == nil {
				last = fmt.Errorf("no answer in %s", asked.Round(time.Second))
			}
			silent = append(silent, ExplainAt(&UnreachableError{Service: service, Err: last}, at))
			continue
		}
		if last != nil {
			rest = append(rest, last)
		}
	}
	t.mu.Unlock()
	if len(silent) > 0 {
		return errors.Join(append(silent, cutShort(err))...)
	}
	pendingErr := errors.Join(rest...)
	for _, last := range rest {
		if explained := ExplainAt(last, at); lasting(last) && exit.HasCode(explained) {
			return errors.Join(explained, cutShort(err))
		}
	}
	return exit.With(exit.Deadline, errors.Join(err, pendingErr), "run again: it continues where this run stopped. Where AWS throttles, use a longer --timeout")
}

// cutShort is an error that the deadline caused, without an exit code of its own.
func cutShort(err error) error { return fmt.Errorf("then the time ran out: %w", err) }

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
	return fmt.Sprintf("%s fails: still trying, %s%s: %s", call, text.Count(s.calls, "call so far", "calls so far"), host.AtMost(ctx, 0), text.Clean(cause(err, attemptTimeout.String()), 4*text.MaxQuoted))
}
