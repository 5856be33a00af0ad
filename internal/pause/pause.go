// Package pause waits for a time, or until the context ends if that is earlier.
package pause

import (
	"context"
	"errors"
	"time"
)

// Sleep waits for d. If ctx ends first, Sleep returns the cause.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Jitter returns a duration between half of d and d. random returns numbers in [0,1).
func Jitter(random func() float64, d time.Duration) time.Duration {
	return d/2 + time.Duration(random()*float64(d/2))
}

// Poll calls try until try says that it is done, and returns try's error. Between two calls it
// sleeps for the duration that interval returns. If ctx ends during a sleep, Poll returns false and
// try's last error, joined with the context's cause.
func Poll(ctx context.Context, interval func() time.Duration, try func() (done bool, err error)) (done bool, err error) {
	for {
		done, err := try()
		if done {
			return true, err
		}
		if cause := Sleep(ctx, interval()); cause != nil {
			return false, errors.Join(err, cause)
		}
	}
}
