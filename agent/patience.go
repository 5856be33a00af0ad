package agent

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// A wait is worth a line when it has lasted for patienceFirst, and then one every patienceEvery: a bootstrap action's log is read by people.
const (
	patienceFirst = 5 * time.Second
	patienceEvery = time.Minute
)

// patience tells an operator what a run waits for.
type patience struct {
	log   *zap.Logger
	began time.Time // of the wait
	told  time.Time // of the last line; zero: none yet
}

func newPatience(log *zap.Logger) *patience { return &patience{log: log, began: time.Now()} }

// due tells whether it is time for a line, and counts it as told.
func (p *patience) due(now time.Time) bool {
	switch {
	case p.told.IsZero() && now.Sub(p.began) < patienceFirst, !p.told.IsZero() && now.Sub(p.told) < patienceEvery:
		return false
	}
	p.told = now
	return true
}

// waiting tells what is waited for, when it is time to. most is how long it is waited for at most, where ctx does not end before.
func (p *patience) waiting(ctx context.Context, most time.Duration, format string, args ...any) {
	if now := time.Now(); p.due(now) {
		p.log.Info("waiting: " + text.Clean(fmt.Sprintf(format, args...), text.MaxLine) + atMost(ctx, p.began.Add(most).Sub(now)))
	}
}

// atMost is " (at most 8m10s more)": until ctx's deadline, or for limit where that is positive and shorter.
func atMost(ctx context.Context, limit time.Duration) string {
	if deadline, ok := ctx.Deadline(); ok {
		if left := time.Until(deadline); limit <= 0 || left < limit {
			limit = left
		}
	}
	if limit <= 0 {
		return ""
	}
	return fmt.Sprintf(" (at most %s more)", limit.Round(time.Second))
}

// logger is where the run's lines go.
func (e Environment) logger() *zap.Logger {
	if e.Log == nil {
		return zap.NewNop()
	}
	return e.Log
}

// streak are the attempts of one call to AWS that have failed in a row.
type streak struct {
	patience
	calls     int
	throttled int
}

// line is what the operator is told of it.
func (s *streak) line(ctx context.Context, call string, err error) string {
	if s.throttled == s.calls || isThrottle(err) {
		return fmt.Sprintf("AWS throttles %s: still trying, %s%s", call, text.Count(s.throttled, "throttled call so far", "throttled calls so far"), atMost(ctx, 0))
	}
	return fmt.Sprintf("%s fails: still trying, %s%s: %s", call, text.Count(s.calls, "call so far", "calls so far"), atMost(ctx, 0), text.Clean(withoutRequest(err.Error()), 4*text.MaxQuoted))
}
