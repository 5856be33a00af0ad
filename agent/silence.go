package agent

import (
	"context"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// After silenceFirst without a log line, a run logs that it is still running, and then again every
// silenceEvery. Some waits follow from AWS's lags and belong to no call.
const (
	silenceFirst = 10 * time.Second
	silenceEvery = time.Minute
)

// silence watches a run's log, and logs that the run goes on if the run itself logs nothing.
type silence struct {
	mu   sync.Mutex
	at   time.Time // of the last line
	text string    // of the last line that something else said
	told bool      // the last line was one of silence's own
}

// note keeps a line of the log.
func (s *silence) note(e zapcore.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = time.Now()
	if s.told = strings.HasPrefix(e.Message, "going on"); !s.told {
		s.text = e.Message
	}
	return nil
}

// spoke notes a line of silence's own.
func (s *silence) spoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.told = time.Now(), true
}

// due returns the time until the next line, and the last line's text.
func (s *silence) due() (wait time.Duration, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	every := silenceFirst
	switch {
	case s.told:
		every = silenceEvery
	case strings.HasPrefix(s.text, "waiting") || strings.Contains(s.text, "still trying"):
		every = silenceEvery + silenceFirst // most of these waits tell of themselves every minute
	}
	return time.Until(s.at.Add(every)), s.text
}

// watch logs a line when the run has logged nothing for a while. It returns the log that the run
// must use from here on, and a function that ends the watch.
func watch(ctx context.Context, log *zap.Logger) (*zap.Logger, func()) {
	s := &silence{at: time.Now(), text: "the run began"}
	log = log.WithOptions(zap.Hooks(s.note))
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			wait, text := s.due()
			if wait <= 0 {
				log.Info("still running: no news since \"" + text + "\"" + host.AtMost(ctx, 0))
				s.spoke() // a log that drops the line calls no hook
				continue
			}
			if pause.Sleep(ctx, wait) != nil {
				return
			}
		}
	}()
	return log, func() { cancel(); <-done }
}
