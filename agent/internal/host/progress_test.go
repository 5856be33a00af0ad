package host

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		p := NewProgress(zap.New(core), time.Now())
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		for range 150 {
			p.Waiting(ctx, 2*time.Minute, "for %s", "x\x1b\ny")
			time.Sleep(time.Second)
		}
		var got []string
		for _, entry := range logs.All() {
			got = append(got, entry.Message)
		}
		want := []string{
			`waiting: for x\u001b\ny (at most 1m55s more)`,
			`waiting: for x\u001b\ny (at most 55s more)`,
			`waiting: for x\u001b\ny (at most 7m55s more)`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	})
}

func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		every := func() time.Duration { return time.Second }
		calls := 0
		done, err := Poll(t.Context(), every, func() (bool, error) { calls++; return calls == 3, nil })
		if !done || err != nil || calls != 3 || time.Since(began) != 2*time.Second {
			t.Errorf("%t, %v, %d calls in %s", done, err, calls, time.Since(began))
		}
		cause := errors.New("cause")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 1500*time.Millisecond, cause)
		defer cancel()
		last := errors.New("last")
		done, err = Poll(ctx, every, func() (bool, error) { return false, last })
		if done || !errors.Is(err, last) || !errors.Is(err, cause) {
			t.Errorf("cut short: %t, %v", done, err)
		}
	})
}
