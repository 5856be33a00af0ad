package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// handover has a run's steps for addresses that the node had before, or that the run takes back.
type handover struct {
	memory  *memory
	kernel  *kernel
	session *node.Session
	report  *reporter
	explain explainer

	lost netip.Addr // which EC2 did not give to this node any more
}

// lostStatic takes the last run's address out of the kernel, since EC2 no longer gives it to this
// node. The node has no static IP until another one is programmed.
func (h *handover) lostStatic(ctx context.Context) error {
	lost := h.memory.past().Resumed().Static
	h.lost = lost
	h.report.warn(lostText(lost))
	// The state file comes first: a restore must not put the address back from now on.
	if err := h.memory.save(state.Withdrawn, func(s *state.State) {
		*s = s.Resumed()
		s.RecordDue = time.Time{}
	}); err != nil {
		return err
	}
	return h.kernel.unprogram(ctx, []netip.Addr{lost})
}

func lostText(a netip.Addr) string {
	return fmt.Sprintf("EC2 no longer assigns %s to this node", a)
}

// foundAgain corrects the report if EC2 has given the lost address to this node again.
func (h *handover) foundAgain(a netip.Addr) {
	if a == h.lost {
		h.report.retract(lostText(a))
		h.report.note(fmt.Sprintf("EC2 had taken %s from this node, and has assigned it again: connections that used it have ended", a))
	}
}

// finishGivenBack takes addresses out of the kernel that this node has given back or lost. An
// interrupted release or withdrawal may have left them there, and no later run would check them.
func (h *handover) finishGivenBack(ctx context.Context) error {
	if h.memory.State().GivenBack() {
		return h.kernel.unprogram(ctx, h.memory.past().Touched())
	}
	return nil
}

// withdrawStrays takes out of the kernel what EC2 does not give to this node. An address that the
// node uses beside it stays in use: the run that goes on replaces the other's rules.
//
// The state file names the addresses first: EC2's describe calls may be late, and an address of
// this node that nothing names any more would stay on its network interface.
func (h *handover) withdrawStrays(ctx context.Context) error {
	gone := h.memory.unnamed.Gone
	if len(gone) == 0 {
		return nil
	}
	if err := h.memory.intend(ctx, h.memory.past().Touched(), netip.Addr{}); err != nil {
		return err
	}
	for _, a := range gone {
		h.report.warn(lostText(a)+", and the kernel has its rules", addressField(a))
	}
	named, err := h.kernel.statics(ctx)
	if err != nil || slices.Contains(named, h.memory.past().Static) {
		return err
	}
	return h.kernel.unprogram(ctx, gone)
}

// takeBack undoes what this run did for an address whose record it must not write: an address
// without a record looks free to the next cluster.
//
// If the node had another address before, that one is put into use again instead. perhaps says that
// the record may have been written, since its answer was lost.
func (h *handover) takeBack(ctx context.Context, c *ssmcoord.Coordinator, a netip.Addr, perhaps bool) error {
	if before := c.Past.Last; before.IsValid() && before != a {
		return h.takeBackFor(ctx, c, a, before, perhaps)
	}
	releasing := func(s *state.State) {
		s.Static, s.Intents, s.RecordDue, s.TakingBack = a, c.Intents(), time.Time{}, true
	}
	if err := h.memory.save(state.Releasing, releasing); err != nil {
		return err
	}
	if err := h.kernel.unprogram(ctx, []netip.Addr{a}); err != nil {
		return err
	}
	h.session.AWS.Restored()
	if err := h.giveUp(ctx, c, a, perhaps); err != nil {
		return err
	}
	h.report.static(netip.Addr{})
	h.report.takenBack()
	return h.memory.save(state.Claiming, func(s *state.State) {
		s.Static, s.Former, s.Intents, s.RecordDue = netip.Addr{}, nil, without(c.Intents(), a), time.Time{}
	})
}

// takingBackText says that takeBack was interrupted.
func takingBackText(a netip.Addr) string {
	return fmt.Sprintf("a run was interrupted while it took %s back", a)
}

// takeBackFor is takeBack for a node that had another address before.
func (h *handover) takeBackFor(ctx context.Context, c *ssmcoord.Coordinator, a, before netip.Addr, perhaps bool) error {
	due := h.memory.State().BeforeDue // not zero: its record was left to the timer
	again := func(s *state.State) {
		s.Static, s.Former, s.Intents, s.RecordDue = before, []netip.Addr{a}, c.Intents(), due
	}
	if err := h.memory.save(state.Programmed, again); err != nil {
		return err
	}
	if err := h.kernel.program(ctx, before, []netip.Addr{a}, h.report.changed); err != nil {
		return err
	}
	h.session.AWS.Restored()
	if err := h.giveUp(ctx, c, a, perhaps); err != nil {
		return err
	}
	h.report.static(before)
	h.report.note(fmt.Sprintf("%s is in use again, as before; %s was given back", before, a))
	return h.memory.save(state.Programmed, func(s *state.State) {
		s.Static, s.Former, s.Intents, s.RecordDue = before, nil, slices.DeleteFunc(c.Intents(), func(b netip.Addr) bool { return b == a || b == before }), due
	})
}

// giveUp gives up an address whose record this run could not write. If the record may have been
// written, giveUp reads it and deletes it first.
func (h *handover) giveUp(ctx context.Context, c *ssmcoord.Coordinator, a netip.Addr, perhaps bool) error {
	if perhaps {
		note, err := c.GiveBack(ctx, a, true)
		if note != "" {
			h.report.warn(note)
		}
		return err
	}
	had, err := h.session.EC2.Unassign(ctx, a)
	if had {
		h.report.log.Info(fmt.Sprintf("unassigned %s: its record cannot be written", a), addressField(a))
	}
	return err
}
