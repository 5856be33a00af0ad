package ssmcoord

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// yieldTo bounds how long the record of another living node, which EC2 will refuse, is left to that node to give up.
const (
	yieldTo    = 20 * time.Second
	yieldPause = 2 * time.Second
	// settleWrites bounds how often a record is written that does not come to say what was written.
	settleWrites = 5
)

// Settle makes the record of an address that the node's ENI carries name this node, and then removes what earlier runs may have left: claims on other
// addresses, and those addresses on the ENI. It is the last step of a run, so that what others wrote at the same time has become visible.
//
// The returned notes are for the operator: things that were seen and left alone.
func (c *Coordinator) Settle(ctx context.Context, res Result) (notes []string, err error) {
	note, err := c.own(ctx, res.Addr)
	if err != nil {
		return nil, err
	}
	if note != "" {
		notes = append(notes, note)
	}
	for _, a := range res.Surplus {
		if !slices.Contains(c.Intents, a) {
			e, err := c.Ledger.readOne(ctx, a)
			if err != nil {
				return notes, err
			}
			if e.State != Claimed || e.Record.Instance != c.Self.Instance {
				notes = append(notes, fmt.Sprintf("the network interface also carries %s of the pool, which this tool did not attach; it is left there", a))
				continue
			}
		}
		if err := c.Discard(ctx, a); err != nil {
			return notes, err
		}
	}
	for _, a := range slices.Clone(c.Intents) {
		if a == res.Addr || slices.Contains(res.Surplus, a) {
			continue
		}
		if err := c.Discard(ctx, a); err != nil {
			return notes, err
		}
	}
	return notes, nil
}

// own makes the record of a name this node. EC2 has confirmed the address on the node's ENI, so whatever else the record says is out of date.
func (c *Coordinator) own(ctx context.Context, a netip.Addr) (note string, err error) {
	began := time.Now()
	wrote := c.wrote[a] || slices.Contains(c.Intents, a) // by this run or an earlier one: a read that does not show it may be stale
	// A read that does show it may be older than its deletion by an earlier run, unless this run wrote it, or the last run left it.
	certain := c.wrote[a] || c.Recorded && a == c.Last
	for writes := 0; ; {
		accept := func(e Entry) bool { return c.mine(e) || !wrote }
		e, err := c.Ledger.readSettled(ctx, a, accept)
		if err != nil {
			return "", err
		}
		switch {
		case c.mine(e) && certain:
			return "", nil
		case c.mine(e):
			created, err := c.create(ctx, a)
			if err != nil {
				return "", err
			}
			certain = true
			if !created { // whose the record is that is there, a later read tells
				if err := sleep(ctx, certainAfter); err != nil {
					return "", err
				}
				continue
			}
		case e.State == Unreadable:
			return fmt.Sprintf("the record %s cannot be read (%v) and is left as it is; the address is this node's by EC2. "+
				"To mend it: %s", c.Ledger.Name(a), e.Problem, c.Ledger.repair(a)), nil
		case writes == settleWrites:
			return fmt.Sprintf("the record %s does not come to name this node; the address is this node's by EC2. "+
				"Run again to bring the ledger in line", c.Ledger.Name(a)), nil
		case e.State == Absent:
			created, err := c.create(ctx, a)
			if err != nil {
				return "", err
			}
			if !created { // a read that was late, or another node: look again
				writes++
				wrote = true
				continue
			}
		default:
			lives, err := c.EC2.Lives(ctx, []string{e.Record.Instance})
			if err != nil {
				return "", err
			}
			if lives[e.Record.Instance] == Living && time.Since(began) < yieldTo {
				// A living node that claimed the address a moment ago is about to be refused and to delete its claim. Writing now
				// could be undone by that.
				if err := sleep(ctx, yieldPause); err != nil {
					return "", err
				}
				continue
			}
			if err := c.overwrite(ctx, a); err != nil {
				return "", err
			}
		}
		writes++
		wrote, certain = true, true
		c.notify(EventRepaired, a, true, "%s names this node now", c.Ledger.Name(a))
	}
}

// Discard gives up an address this node does not use: off the ENI first, then the claim, so that nobody is offered an address
// that is still attached. It may be called again, and for addresses that this node never had; a record that names another node is
// left alone. The caller has taken the address out of the kernel.
func (c *Coordinator) Discard(ctx context.Context, a netip.Addr) error {
	detached, err := c.EC2.Detach(ctx, a)
	if err != nil {
		return err
	}
	if detached {
		c.notify(EventDetached, a, true, "from %s", c.Self.ENI)
	}
	if !c.deleted[a] {
		deleted, err := c.deleteOwn(ctx, a, detached)
		if err != nil {
			return err
		}
		if deleted {
			c.notify(EventReleased, a, true, "%s", c.Ledger.Name(a))
		}
	}
	if !detached || c.unsure[a] {
		if err := c.mend(ctx, a); err != nil {
			return err
		}
	}
	return c.forget(ctx, a)
}
