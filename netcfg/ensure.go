package netcfg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// rounds limits how often Ensure observes, plans and applies: once for the work, and again if
// another program, such as another run of this one, changed the kernel meanwhile.
const rounds = 8

// retryPause is the wait after a change that failed.
const retryPause = 100 * time.Millisecond

// Result says what was done.
type Result struct {
	Changes   []Change // in the order in which they were made
	Unchanged int      // objects that were right from the beginning
	Link      string   // name of the primary interface
	Backend   string
	Notes     []string // see Observed
	Before    []NATChain
	Conntrack Conntrack
}

// Ensure brings the kernel into the wanted state and verifies it: it observes, plans, applies, and
// observes again until the difference is empty. If there is no difference, it changes nothing. It
// passes each change that was made to onChange, which may be nil. seen is what the caller has just
// observed, with c.Former: the first look is spared then.
//
// Existing connections stay as they are, except those of c.Former, which end.
func Ensure(ctx context.Context, k Kernel, c Config, onChange func(Change), seen ...Observed) (Result, error) {
	return converge(ctx, k, c.MAC, c.Former, onChange, func(o Observed) ([]Change, int, error) { return Plan(c, o) }, seen...)
}

// Remove takes all our rules out of the kernel, in every backend, ends the connections that are
// translated to or from these addresses, and takes the addresses off the link. A second call
// changes nothing. If a backend could not be read, Remove does what it can and returns an error.
func Remove(ctx context.Context, k Kernel, mac net.HardwareAddr, static []netip.Addr, onChange func(Change)) (Result, error) {
	var unread error
	result, err := converge(ctx, k, mac, static, onChange, func(o Observed) ([]Change, int, error) {
		unread = o.Unread
		return PlanRemoval(static, o)
	})
	return result, errors.Join(err, unread)
}

func converge(ctx context.Context, k Kernel, mac net.HardwareAddr, gone []netip.Addr, onChange func(Change), plan func(Observed) ([]Change, int, error), seen ...Observed) (Result, error) {
	result := Result{Backend: k.Backend()}
	var failed error // of the last round: ignored if the state is right
	for round := 0; ; round++ {
		var o Observed
		var err error
		if round == 0 && len(seen) > 0 {
			o = seen[0]
		} else if o, err = k.Observe(ctx, mac, gone...); err != nil {
			return result, errors.Join(err, failed)
		}
		changes, unchanged, err := plan(o)
		if err != nil {
			return result, errors.Join(err, failed)
		}
		if round == 0 {
			result.Link, result.Unchanged, result.Notes = o.Link.Name, unchanged, o.Notes
		}
		result.Backend, result.Before, result.Conntrack = k.Backend(), o.Before, o.Conntrack
		if len(changes) == 0 {
			return result, nil
		}
		if round == rounds {
			errs := []error{ErrNotConverged, failed}
			for _, ch := range changes {
				errs = append(errs, fmt.Errorf("still to do: %s", ch.Summary()))
			}
			return result, errors.Join(errs...)
		}
		failed = nil
		for _, ch := range changes {
			if err := ctx.Err(); err != nil {
				return result, fmt.Errorf("before %s: %w", ch.Summary(), err)
			}
			if failed = k.Apply(ctx, ch); failed != nil {
				break
			}
			result.Changes = append(result.Changes, ch)
			if onChange != nil {
				onChange(ch)
			}
		}
		switch {
		case failed == nil:
		case errors.Is(failed, ErrBusy) || ctx.Err() != nil:
			return result, errors.Join(failed, ctx.Err())
		default:
			if pause.Sleep(ctx, retryPause) != nil {
				return result, errors.Join(failed, ctx.Err())
			}
		}
	}
}
