package ssmcoord

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"
)

// try goes for one candidate. False: somebody else has it, and nothing of this node's is left on it.
func (c *Coordinator) try(ctx context.Context, p candidate) (bool, error) {
	delete(c.skipped, p.addr)
	switch p.Action {
	case Keep:
		if c.Doubt {
			return c.attach(ctx, p.addr, false)
		}
		c.notify(EventKept, p.addr, false, "%s", p.Reason)
		return true, nil
	case Create:
		if err := c.intend(ctx, p.addr); err != nil {
			return false, err
		}
		delete(c.deleted, p.addr)
		created, err := c.Ledger.Create(ctx, p.addr, c.Self.record(time.Now()))
		if err != nil {
			return false, err
		}
		if !created {
			return c.collided(ctx, p.addr)
		}
		c.notify(EventClaimed, p.addr, true, "%s", c.Ledger.Name(p.addr))
	case TakeOver:
		c.notify(EventTakingOver, p.addr, false, "%s", p.Reason)
		if err := c.intend(ctx, p.addr); err != nil {
			return false, err
		}
		if won, err := c.attach(ctx, p.addr, false); err != nil || !won {
			return false, err
		}
		if err := c.Ledger.Overwrite(ctx, p.addr, c.Self.record(time.Now())); err != nil {
			return false, err
		}
		c.notify(EventTakenOver, p.addr, true, "%s", c.Ledger.Name(p.addr))
		return true, nil
	}
	if p.Move {
		ok, held, err := c.certain(ctx, p)
		if err != nil {
			return false, err
		}
		if !ok {
			return false, c.giveUp(ctx, p.addr)
		}
		p.Move = held
	}
	won, err := c.attach(ctx, p.addr, p.Move)
	if err != nil || won {
		return won, err
	}
	return false, c.giveUp(ctx, p.addr)
}

// collided finds out whose the record is that Create met: this node's own, where the answer to an earlier attempt was lost.
func (c *Coordinator) collided(ctx context.Context, a netip.Addr) (bool, error) {
	e, err := c.Ledger.readSettled(ctx, a, func(e Entry) bool { return e.State != Absent })
	switch {
	case err != nil:
		return false, err
	case e.State == Claimed && e.Record.Instance == c.Self.Instance:
		c.notify(EventClaimed, a, true, "%s (an earlier attempt had done it)", c.Ledger.Name(a))
		won, err := c.attach(ctx, a, false)
		if err != nil || won {
			return won, err
		}
		return false, c.giveUp(ctx, a)
	case e.State == Claimed:
		c.notify(EventLost, a, false, "%s was faster", owner(e.Record))
		return false, c.forget(ctx, a)
	}
	return false, nil // the intent stays: Settle looks again
}

func (c *Coordinator) attach(ctx context.Context, a netip.Addr, move bool) (bool, error) {
	err := c.EC2.Attach(ctx, a, move)
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		c.notify(EventLost, a, false, "%v", refused)
		c.skip(a, refused.Error())
		c.refused[a] = time.Now()
		return false, nil
	}
	if impossible := (*ImpossibleError)(nil); errors.As(err, &impossible) {
		// Nothing is left behind of an address that this node will never have.
		return false, errors.Join(err, c.giveUp(ctx, a))
	}
	if err != nil {
		return false, err
	}
	c.notify(EventAttached, a, true, "to %s", c.Self.ENI)
	return true, nil
}

// giveUp deletes the own claim on an address that EC2 gave to somebody else. It reads first: that node may have made the record its own meanwhile.
// The intent stays: Settle looks whether the record of who has the address was deleted with it.
func (c *Coordinator) giveUp(ctx context.Context, a netip.Addr) error {
	deleted, err := c.deleteOwn(ctx, a)
	if deleted {
		c.notify(EventGivenUp, a, true, "%s", c.Ledger.Name(a))
	}
	return err
}

func (c *Coordinator) intend(ctx context.Context, a netip.Addr) error {
	if slices.Contains(c.Intents, a) {
		return nil
	}
	c.Intents = append(slices.Clone(c.Intents), a)
	return c.Intend(ctx, c.Intents)
}

func (c *Coordinator) forget(ctx context.Context, a netip.Addr) error {
	if !slices.Contains(c.Intents, a) {
		return nil
	}
	c.Intents = slices.DeleteFunc(slices.Clone(c.Intents), func(b netip.Addr) bool { return a == b })
	return c.Intend(ctx, c.Intents)
}
