package agent

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// releaseRetries limits how long a release waits for systemd to stop the retry timer. EMR gives a
// release 60 s at a node's end.
const releaseRetries = 10 * time.Second

// Release gives the node's static IP back: it takes rules and address out of the kernel, deletes
// the record, and then ends EC2's assignment, so that no other node has the address while this node
// changes its record. It can be interrupted and run again. A second run changes nothing.
//
// It releases the addresses that the state file names, and those of this program's rules in the
// kernel. Without a state file it also releases those whose records name this node, and those of
// the given pools that the network interface carries.
//
// First it stops the retry timer: a release that fails must not be followed by a retry that gives
// the node an address again.
func Release(ctx context.Context, cfg Config, env Environment) (Report, error) {
	return conduct(ctx, cfg, env, func(r *run, ctx context.Context) error {
		if cfg.AtPoweroff {
			if off, err := systemd.PoweringOff(ctx); err != nil || !off {
				r.report.leftAlone("the machine is not being powered off: it keeps its address")
				return err
			}
		}
		r.gives = true
		r.memory.GoOn()
		return r.locked(ctx, func(ctx context.Context) error {
			defer r.tellUnsaved()
			soon, cancel := context.WithTimeout(ctx, releaseRetries)
			r.failures.stopRetrying(soon)
			cancel()
			if err := r.identify(ctx, false); err != nil {
				return err
			}
			if note := r.keepPrefix(); note != "" {
				r.report.note(note)
			}
			if err := r.release(ctx); err != nil {
				return err
			}
			return r.failures.forget(ctx)
		})
	})
}

func (r *run) release(ctx context.Context) error {
	last := r.memory.State()
	r.facts.Role = lastRole(last)
	r.report.role(r.facts)
	if err := r.connect(ctx); err != nil {
		return err
	}
	if err := r.kernel.open(ctx); err != nil {
		return err
	}
	c := r.coordinator(last)
	programmed, err := r.kernel.statics(ctx)
	strays := strayStatics(programmed, last)
	addrs := union(last.Touched(), strays)
	// Where the state file has addresses, an error comes again when they are taken out.
	if err != nil && len(addrs) == 0 && last.Phase != state.Released {
		return err
	}
	c.Past.Used = union(c.Past.Used, strays)
	switch {
	case !r.memory.Known() || last.Lost:
		if err := r.withdrawUnasked(ctx, addrs); err != nil {
			return err
		}
		found, err := ownAddresses(ctx, c, r.session.EC2)
		if err != nil {
			return err
		}
		addrs = union(addrs, found)
	case len(addrs) > 0:
	case last.Phase == state.Released:
		return errors.Join(r.kernel.unprogram(ctx, nil), r.installed.remove(ctx)) // what that one could not do
	default:
		if addrs, err = ownAddresses(ctx, c, r.session.EC2); err != nil {
			return err
		}
	}
	r.report.static(last.Static)
	inUse := netip.Addr{} // which no earlier run was giving back
	if last.Phase == state.Attached || last.Phase == state.Programmed {
		inUse = last.Static
	}
	// The write of a record may be on its way still, by a run that was killed.
	writing := !last.RecordDue.IsZero() && last.RecordWait(time.Now()) < ssmcoord.RecordSoon
	if r.memory.Known() || len(addrs) > 0 {
		err := r.memory.save(state.Releasing, func(s *state.State) {
			s.Static, s.Former, s.Intents, s.RecordDue = last.Static, last.Former, addrs, time.Time{}
			s.Lost, s.TakingBack = false, false
		})
		if err != nil {
			return err
		}
	}
	if err := r.kernel.withdraw(ctx, addrs); err != nil {
		return err
	}
	if err := giveBack(ctx, c, r.session.EC2, addrs, inUse, r.report); err != nil {
		return err
	}
	if writing && inUse.IsValid() {
		if err := c.DeleteLate(ctx, inUse); err != nil {
			return err
		}
	}
	if err := errors.Join(r.installed.remove(ctx), state.ForgetAbsence(r.env.Root, r.dir)); err != nil {
		return err
	}
	r.report.static(netip.Addr{}) // the node no longer has it
	if !r.memory.Known() {
		return nil
	}
	return r.memory.save(state.Released, func(s *state.State) { s.Static, s.Former, s.Intents = netip.Addr{}, nil, nil })
}

// withdrawUnasked takes the addresses in use out of the kernel before AWS is asked which of them
// are this node's: the rules may be what keeps the node from AWS. The state file then names them.
func (r *run) withdrawUnasked(ctx context.Context, addrs []netip.Addr) error {
	if len(addrs) == 0 {
		return nil
	}
	if err := r.memory.save(state.Releasing, func(s *state.State) { s.Intents, s.Lost, s.TakingBack = addrs, true, false }); err != nil {
		return err
	}
	return r.kernel.withdraw(ctx, addrs)
}

// giveBack deletes the records of the addresses and unassigns them. The state file forgets nothing
// before all is done, so an interrupted release begins again with the whole list.
func giveBack(ctx context.Context, c *ssmcoord.Coordinator, api *ec2.Node, addrs []netip.Addr, inUse netip.Addr, report *reporter) error {
	if len(addrs) == 0 {
		return nil
	}
	c.Intend = func(context.Context, []netip.Addr, netip.Addr) error { return nil }
	own, err := api.Own(ctx)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		note, err := c.GiveBack(ctx, a, slices.Contains(own, a) && a == inUse)
		if note != "" {
			report.warn(note, addressField(a))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ownAddresses returns this node's addresses if no state file names them: those whose records name
// the node, and those of the given pools that its network interface carries.
func ownAddresses(ctx context.Context, c *ssmcoord.Coordinator, api *ec2.Node) ([]netip.Addr, error) {
	claims, err := c.Ledger.Claims(ctx, api.ID.InstanceID)
	if err != nil {
		return nil, err
	}
	own, err := api.Own(ctx)
	if err != nil {
		return nil, err
	}
	for pool := range maps.Values(c.Pools) {
		for _, a := range pool {
			if !slices.Contains(own, a) || slices.Contains(claims, a) {
				continue
			}
			// It is on the interface and has no record. The operator named it.
			claims = append(claims, a)
		}
	}
	if slices.Contains(claims, api.ID.PrimaryIP) {
		return nil, exit.With(ExitUsage, errors.New("the list names "+api.ID.PrimaryIP.String()+", this node's primary IP"), "take it out of the list")
	}
	return claims, nil
}
