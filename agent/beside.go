package agent

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// optionalWait is how long a run waits at most for a call that it can do without, while EC2
// throttles or fails.
const optionalWait = time.Minute

// optional returns optionalWait, or less if that would leave the run too little of its time.
func optional(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(optionalWait, time.Until(deadline)/3)
	}
	return optionalWait
}

// beside holds calls that a run makes while it goes on, and can do without.
type beside struct {
	all  sync.WaitGroup
	stop []context.CancelFunc
}

// answer is the result of a call that a run makes while it goes on.
type answer[T any] struct {
	call string        // for messages
	most time.Duration // how long wait waits
	done chan struct{}
	got  T
	err  error
}

// ask starts a call while the run goes on.
func ask[T any](ctx context.Context, b *beside, call string, do func(context.Context) (T, error)) *answer[T] {
	a := &answer[T]{call: call, most: optional(ctx), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(ctx)
	b.stop = append(b.stop, cancel)
	b.all.Go(func() {
		defer close(a.done)
		a.got, a.err = do(ctx)
	})
	return a
}

// wait returns the result. It waits for a part of the run's time at most.
func (a *answer[T]) wait() (T, error) {
	select {
	case <-a.done:
		return a.got, a.err
	case <-time.After(a.most):
		var none T
		return none, fmt.Errorf("EC2 has not answered %s with success in %s", a.call, a.most.Round(time.Second))
	}
}

// end waits for the calls that are still running, for optionalWait at most.
func (b *beside) end() {
	late := time.AfterFunc(optionalWait, func() {
		for _, cancel := range b.stop {
			cancel()
		}
	})
	b.all.Wait()
	late.Stop()
	for _, cancel := range b.stop {
		cancel()
	}
}
