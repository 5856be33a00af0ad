package ssmcoord

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// Settle carries out the steps of a plan after the kernel, except the record, which Record writes.
// The returned notes are for the operator.
func (c *Coordinator) Settle(ctx context.Context, p Plan) (notes []string, err error) {
	notes = p.Notes
	for _, step := range p.Settle {
		if step.Op != OpGiveBack {
			continue
		}
		note, err := c.GiveBack(ctx, step.Addr, step.Sure)
		if err != nil {
			return notes, err
		}
		if note != "" {
			notes = append(notes, note)
		}
	}
	return notes, nil
}

// Due returns when to write the record of the plan, so that a launch keeps within the account's
// quota. It returns the zero time if there is nothing to write.
func (c *Coordinator) Due(p Plan) time.Time {
	if !p.records() {
		return time.Time{}
	}
	due := c.began.Add(c.recordTurn(p))
	if p.notBefore.After(due) {
		return p.notBefore
	}
	return due
}

func (p Plan) records() bool {
	return slices.ContainsFunc(p.Settle, func(s Step) bool { return s.Op == OpRecord })
}

// Record writes the record of the plan's address, which EC2 has given to this node, at its turn.
// written is false if the ledger had it already.
func (c *Coordinator) Record(ctx context.Context, p Plan) (written bool, err error) {
	if !p.records() {
		return false, nil
	}
	why := fmt.Sprintf("the nodes of the launch write their records in turn, %d before this one", c.turn)
	if due := c.Due(p); due.Equal(p.notBefore) {
		why = "Parameter Store does not create a name again at once after its deletion; the address is in use already"
	}
	if err := c.waitFor(ctx, c.Due(p), why); err != nil {
		return false, err
	}
	if p.Kept && c.written(p.Addr) {
		// The read that showed something else may have been late.
		if err := pause.Sleep(ctx, time.Until(c.began.Add(ReadLag))); err != nil {
			return false, err
		}
		if e, err := c.Ledger.ReadOne(ctx, p.Addr); err != nil || c.Self.owns(e) {
			return false, err
		}
	}
	if err := c.Ledger.Record(ctx, p.Addr, c.Self); err != nil {
		return false, err
	}
	c.notify(p.record, p.Addr, true, "%s names this node", c.Ledger.Name(p.Addr))
	return true, nil
}

// GiveBack gives up an address that this node does not use: first the record, then the assignment,
// so that no other node has the address while this node changes its record. The caller has taken
// the address out of the kernel. GiveBack may be called again, and for addresses that this node
// never had.
//
// sure says that EC2 showed the address on the node's ENI, and no earlier run was giving it back.
// Otherwise GiveBack asks EC2 for the address before it deletes a record that names this node:
// EC2's answer to an assignment is never late.
func (c *Coordinator) GiveBack(ctx context.Context, a netip.Addr, sure bool) (note string, err error) {
	e, err := c.readForGiveBack(ctx, a, sure)
	if err != nil {
		return "", err
	}
	sure = sure && !c.isOthers(e)
	if e.State == Unreadable {
		note = fmt.Sprintf("the record %s cannot be read (%v) and is left as it is. To repair it: %s", c.Ledger.Name(a), e.Problem, c.Ledger.Repair(a))
	}
	held := sure
	if !sure && c.Self.owns(e) {
		if held, err = c.holds(ctx, a); err != nil {
			return note, err
		}
	}
	if err := c.deleteRecord(ctx, a, e, held); err != nil {
		return note, err
	}
	had, err := c.EC2.Unassign(ctx, a)
	if err != nil {
		return note, err
	}
	if had {
		asked := !sure && held // then it may be that EC2 gave it only now
		c.notify(EventUnassigned, a, !asked, "from %s", c.Self.ENI)
	}
	if c.of(a).lost {
		return note, nil // the next run makes sure that it did not come late
	}
	return note, c.forget(ctx, a)
}

// readForGiveBack reads the record of an address that is to be given back. A late read could leave
// the record behind, or delete another node's, so it is repeated.
func (c *Coordinator) readForGiveBack(ctx context.Context, a netip.Addr, sure bool) (Entry, error) {
	e, err := c.Ledger.ReadOne(ctx, a)
	if err != nil || sure && !c.isOthers(e) || !sure && !c.Self.owns(e) && !slices.Contains(c.Past.Used, a) {
		return e, err
	}
	if err := pause.Sleep(ctx, ReadLag); err != nil {
		return e, err
	}
	return c.Ledger.ReadOne(ctx, a)
}

// deleteRecord deletes the record of an address. If EC2 has the address on this node, it deletes
// any record that can be read. Otherwise it deletes only a record that names this node.
func (c *Coordinator) deleteRecord(ctx context.Context, a netip.Addr, e Entry, held bool) error {
	if e.State == Unreadable || !held && !c.Self.owns(e) {
		return nil
	}
	still := c.Self.owns
	if held {
		still = nil // nobody else writes it meanwhile
	}
	deleted, err := c.Ledger.Delete(ctx, a, still)
	if err == nil && deleted && e.State == Claimed {
		c.notify(EventReleased, a, true, "%s", c.Ledger.Name(a))
	}
	return err
}

// DeleteLate deletes a record that was still being written when the node gave its address back.
func (c *Coordinator) DeleteLate(ctx context.Context, a netip.Addr) error {
	if err := pause.Sleep(ctx, ReadLag); err != nil {
		return err
	}
	e, err := c.Ledger.ReadOne(ctx, a)
	if err != nil {
		return err
	}
	return c.deleteRecord(ctx, a, e, false)
}

// holds reports whether EC2 has a on the node's ENI, by asking for it.
func (c *Coordinator) holds(ctx context.Context, a netip.Addr) (bool, error) {
	err := c.EC2.Assign(ctx, a, true)
	refused, impossible := (*RefusedError)(nil), (*ImpossibleError)(nil)
	if errors.As(err, &refused) || errors.As(err, &impossible) {
		if refused != nil {
			return false, refused.Every
		}
		return false, nil
	}
	return err == nil, err
}

// Record writes the record of an address that EC2 has given to self.
func (l *Ledger) Record(ctx context.Context, a netip.Addr, self Self) error {
	return l.Write(ctx, a, self.record(time.Now()))
}
