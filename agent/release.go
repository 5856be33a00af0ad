package agent

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// releaseRetries bounds how long a release, which EMR gives 60 s at a node's end, waits for systemd to stop the timer of a failed run.
const releaseRetries = 10 * time.Second

// Release gives the node's static IP back: rules and address out of the kernel first; then the
// record; then EC2's assignment, so that nobody else has the address while this node changes its
// record. It may be interrupted and run again, and a second run changes nothing. The addresses are
// those that this node's state file names; without one, those of the ledger that name this node,
// and those of the given pools that the network interface carries.
//
// Before all that it ends what would give the node an address again: a release that fails is not followed by a retry.
func Release(ctx context.Context, cfg Config, env Environment) (Report, error) {
	return conduct(ctx, cfg, env, func(r *run, ctx context.Context) error {
		return r.locked(ctx, func(r *run, ctx context.Context) error {
			soon, cancel := context.WithTimeout(ctx, releaseRetries)
			r.stopRetrying(soon)
			cancel()
			if err := r.identify(ctx); err != nil {
				return err
			}
			if changed, prefix := r.prefixChanged(); changed {
				r.note("the ledger of this node's run is " + quoted(prefix) + ": --prefix is not used")
				r.cfg.Prefix = prefix
			}
			if err := r.release(ctx); err != nil {
				return err
			}
			return r.forgetFailure(ctx)
		})
	})
}

func (r *run) release(ctx context.Context) error {
	if err := r.connect(ctx); err != nil {
		return err
	}
	r.role = RoleDecision{Role: r.state.Role, Source: "the state file"}
	if !r.hasState {
		r.role = RoleDecision{}
	}
	r.ec2.Role = r.role.Role
	r.rep.Role, r.rep.RoleSource = r.role.Role, r.role.Source
	err := r.openKernel(ctx)
	if err != nil {
		return err
	}
	c := r.coordinator()
	addrs := r.touched()
	if len(addrs) == 0 {
		if r.hasState && r.state.Phase == PhaseReleased {
			return r.releasedAgain(ctx)
		}
		if addrs, err = r.found(ctx, c); err != nil {
			return err
		}
	}
	r.rep.Static = r.state.Static
	inUse := netip.Addr{} // which no earlier run was giving back
	if r.state.Phase == PhaseAttached || r.state.Phase == PhaseProgrammed {
		inUse = r.state.Static
	}
	// The write of a record may be on its way still, by a run that was killed.
	writing := !r.recordDue.IsZero() && time.Until(r.recordDue) < ssmcoord.RecordSoon
	if r.hasState || len(addrs) > 0 {
		r.recordDue = time.Time{}
		if err := r.save(PhaseReleasing, r.state.Static, r.state.Former, addrs); err != nil {
			return err
		}
	}
	if err := r.unprogram(ctx, addrs); err != nil {
		return err
	}
	if err := r.giveBack(ctx, c, addrs, inUse); err != nil {
		return err
	}
	if writing && inUse.IsValid() {
		if err := c.DeleteLate(ctx, inUse); err != nil {
			return err
		}
	}
	if err := errors.Join(r.installer().RemoveUnits(ctx), r.installer().RemoveShutdownAction(), forgetAbsence(r.env.Root, r.dir)); err != nil {
		return err
	}
	if !r.hasState {
		return nil
	}
	return r.save(PhaseReleased, netip.Addr{}, nil, nil)
}

// releasedAgain is a release after a release: it does what that one could not do.
func (r *run) releasedAgain(ctx context.Context) error {
	return errors.Join(r.unprogram(ctx, nil), r.installer().RemoveUnits(ctx), r.installer().RemoveShutdownAction())
}

// giveBack deletes the records of the addresses and unassigns them. Nothing is forgotten on disk
// before all is done: an interrupted release begins again with the whole list.
func (r *run) giveBack(ctx context.Context, c *ssmcoord.Coordinator, addrs []netip.Addr, inUse netip.Addr) error {
	if len(addrs) == 0 {
		return nil
	}
	c.Intend = func(context.Context, []netip.Addr) error { return nil }
	own, err := r.ec2.Own(ctx)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		note, err := c.GiveBack(ctx, a, slices.Contains(own, a) && (a == inUse || !r.hasState))
		if note != "" {
			r.warn(note)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// found looks for this node's addresses where no state file names them: those of the ledger that name it.
func (r *run) found(ctx context.Context, c *ssmcoord.Coordinator) ([]netip.Addr, error) {
	claims, err := c.Ledger.Claims(ctx, r.id.InstanceID)
	if err != nil {
		return nil, err
	}
	own, err := r.ec2.Own(ctx)
	if err != nil {
		return nil, err
	}
	for _, pool := range c.Pools {
		for _, a := range pool {
			if !slices.Contains(own, a) || slices.Contains(claims, a) {
				continue
			}
			// On the interface and in the operator's list, but claimed by nobody: the operator named it.
			claims = append(claims, a)
		}
	}
	if slices.Contains(claims, r.id.PrimaryIP) {
		return nil, coded(ExitUsage, errors.New("the list names "+r.id.PrimaryIP.String()+", this node's primary IP"), "take it out of the list")
	}
	return claims, nil
}
