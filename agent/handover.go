package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// This file has a run's steps for addresses that the node had before.

// lostStatic takes the last run's address out of the kernel, since EC2 no longer gives it to this
// node. The node has no static IP until another one is programmed.
func (r *run) lostStatic(ctx context.Context) error {
	lost := r.past().Resumed().Static
	r.lost = lost
	r.report.warn(lostText(lost))
	// The state file comes first: a restore must not put the address back from now on.
	if err := r.save(state.Withdrawn, func(s *state.State) {
		*s = s.Resumed()
		s.RecordDue = time.Time{}
	}); err != nil {
		return err
	}
	return r.unprogram(ctx, []netip.Addr{lost})
}

func lostText(a netip.Addr) string {
	return fmt.Sprintf("EC2 no longer assigns %s to this node", a)
}

// foundAgain corrects the report if EC2 has given the lost address to this node again.
func (r *run) foundAgain(a netip.Addr) {
	if a == r.lost {
		r.report.retract(lostText(a))
		r.report.note(fmt.Sprintf("EC2 had taken %s from this node, and has assigned it again: connections that used it have ended", a))
	}
}

// finishGivenBack takes addresses out of the kernel that this node has given back or lost. An
// interrupted release or withdrawal may have left them there, and no later run would check them.
func (r *run) finishGivenBack(ctx context.Context) error {
	if r.memory.State().GivenBack() {
		return r.unprogram(ctx, r.past().Touched())
	}
	return nil
}

// takeBack undoes what this run did for an address whose record it must not write: an address
// without a record looks free to the next cluster.
//
// If the node had another address before, that one is put into use again instead. perhaps says that
// the record may have been written, since its answer was lost.
func (r *run) takeBack(ctx context.Context, c *ssmcoord.Coordinator, a netip.Addr, perhaps bool) error {
	if before := c.Past.Last; before.IsValid() && before != a {
		return r.takeBackFor(ctx, c, a, before, perhaps)
	}
	releasing := func(s *state.State) {
		s.Static, s.Intents, s.RecordDue, s.TakingBack = a, c.Intents(), time.Time{}, true
	}
	if err := r.save(state.Releasing, releasing); err != nil {
		return err
	}
	if err := r.unprogram(ctx, []netip.Addr{a}); err != nil {
		return err
	}
	r.session.AWS.Restored()
	if err := r.giveUp(ctx, c, a, perhaps); err != nil {
		return err
	}
	r.report.static(netip.Addr{})
	r.report.takenBack()
	return r.save(state.Claiming, func(s *state.State) {
		s.Static, s.Former, s.Intents, s.RecordDue = netip.Addr{}, nil, without(c.Intents(), a), time.Time{}
	})
}

// takingBackText says that takeBack was interrupted.
func takingBackText(a netip.Addr) string {
	return fmt.Sprintf("a run was interrupted while it took %s back", a)
}

// takeBackFor is takeBack for a node that had another address before.
func (r *run) takeBackFor(ctx context.Context, c *ssmcoord.Coordinator, a, before netip.Addr, perhaps bool) error {
	due := r.memory.State().BeforeDue // not zero: its record was left to the timer
	again := func(s *state.State) {
		s.Static, s.Former, s.Intents, s.RecordDue = before, []netip.Addr{a}, c.Intents(), due
	}
	if err := r.save(state.Programmed, again); err != nil {
		return err
	}
	if err := r.program(ctx, before, []netip.Addr{a}, r.report.changed); err != nil {
		return err
	}
	r.session.AWS.Restored()
	if err := r.giveUp(ctx, c, a, perhaps); err != nil {
		return err
	}
	r.report.static(before)
	r.report.note(fmt.Sprintf("%s is in use again, as before; %s was given back", before, a))
	return r.save(state.Programmed, func(s *state.State) {
		s.Static, s.Former, s.Intents, s.RecordDue = before, nil, slices.DeleteFunc(c.Intents(), func(b netip.Addr) bool { return b == a || b == before }), due
	})
}

// giveUp gives up an address whose record this run could not write. If the record may have been
// written, giveUp reads it and deletes it first.
func (r *run) giveUp(ctx context.Context, c *ssmcoord.Coordinator, a netip.Addr, perhaps bool) error {
	if perhaps {
		note, err := c.GiveBack(ctx, a, true)
		if note != "" {
			r.report.warn(note)
		}
		return err
	}
	had, err := r.session.EC2.Unassign(ctx, a)
	if had {
		r.report.log.Info(fmt.Sprintf("unassigned %s: its record cannot be written", a), addressField(a))
	}
	return err
}
