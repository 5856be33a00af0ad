package host

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// A wait gets its first log line after progressFirst, then one every progressEvery. People read the
// log of a bootstrap action.
const (
	progressFirst = 5 * time.Second
	progressEvery = time.Minute
)

// Progress logs now and then what a run waits for.
type Progress struct {
	log   *zap.Logger
	began time.Time
	last  time.Time // of the last line; zero if there is none
}

// NewProgress returns the Progress of a wait that began at the given time.
func NewProgress(log *zap.Logger, began time.Time) *Progress {
	return &Progress{log: log, began: began}
}

// Due reports whether it is time for a log line. If so, it counts the line as logged.
func (p *Progress) Due(now time.Time) bool {
	switch {
	case p.last.IsZero() && now.Sub(p.began) < progressFirst, !p.last.IsZero() && now.Sub(p.last) < progressEvery:
		return false
	}
	p.last = now
	return true
}

// Waiting logs what the run waits for, if it is time to. limit is the longest that the wait takes,
// unless ctx ends before.
func (p *Progress) Waiting(ctx context.Context, limit time.Duration, format string, args ...any) {
	if now := time.Now(); p.Due(now) {
		what := text.Clean(fmt.Sprintf(format, args...), text.MaxLine)
		p.log.Info("waiting: " + what + AtMost(ctx, p.began.Add(limit).Sub(now)))
	}
}

// AtMost returns " (at most 8m10s more)": the time until ctx's deadline, or limit if limit is
// positive and shorter. It returns "" if there is neither.
func AtMost(ctx context.Context, limit time.Duration) string {
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
