package pause

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := Sleep(t.Context(), time.Second); err != nil || time.Since(began) != time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		began = time.Now()
		cause := errors.New("cause")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		if err := Sleep(ctx, time.Hour); err != cause || time.Since(began) != time.Second {
			t.Errorf("cut short: %v after %s", err, time.Since(began))
		}
	})
}

func TestJitter(t *testing.T) {
	for random, want := range map[float64]time.Duration{0: time.Second, 0.5: 1500 * time.Millisecond} {
		if got := Jitter(func() float64 { return random }, 2*time.Second); got != want {
			t.Errorf("%v: %s, want %s", random, got, want)
		}
	}
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
