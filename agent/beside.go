package agent

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// optionalWait is how long a run waits for a call that it can do without, while EC2 throttles.
const optionalWait = time.Minute

// beside holds calls that a run makes while it goes on, and can do without.
type beside struct {
	all  sync.WaitGroup
	stop []context.CancelFunc
}

// answer is the result of a call that a run makes while it goes on.
type answer[T any] struct {
	call string // for messages
	done chan struct{}
	got  T
	err  error
}

// ask starts a call while the run goes on.
func ask[T any](ctx context.Context, b *beside, call string, do func(context.Context) (T, error)) *answer[T] {
	a := &answer[T]{call: call, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(ctx)
	b.stop = append(b.stop, cancel)
	b.all.Go(func() {
		defer close(a.done)
		a.got, a.err = do(ctx)
	})
	return a
}

// wait returns the result. It waits for optionalWait at most.
func (a *answer[T]) wait() (T, error) {
	select {
	case <-a.done:
		return a.got, a.err
	case <-time.After(optionalWait):
		var none T
		return none, fmt.Errorf("EC2 has not answered %s yet", a.call)
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
