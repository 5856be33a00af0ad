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
		if p.addr != c.Last {
			if won, err := c.ask(ctx, p.addr); err != nil || !won {
				return false, err
			}
		}
		c.notify(EventKept, p.addr, false, "%s", p.Reason)
		return true, nil
	case Create:
		before := slices.Contains(c.Intents, p.addr)
		if err := c.intend(ctx, p.addr); err != nil {
			return false, err
		}
		created, unsure, err := c.Ledger.Create(ctx, p.addr, c.Self.record(time.Now()))
		if err != nil {
			return false, err
		}
		if !created {
			return c.collided(ctx, p.addr, before || unsure)
		}
		c.written(p.addr)
		c.notify(EventClaimed, p.addr, true, "%s", c.Ledger.Name(p.addr))
	case TakeOver:
		c.notify(EventTakingOver, p.addr, false, "%s", p.Reason)
		if err := c.intend(ctx, p.addr); err != nil {
			return false, err
		}
		if won, err := c.attach(ctx, p.addr, false); err != nil || !won {
			return false, err
		}
		if err := c.overwrite(ctx, p.addr); err != nil {
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

// collided finds out whose the record is that Create met: this node's own, where the answer to an earlier attempt was lost. perhaps tells that this may
// be so: then a record of another node may be the one before, which a late read still shows.
func (c *Coordinator) collided(ctx context.Context, a netip.Addr, perhaps bool) (bool, error) {
	e, err := c.Ledger.readSettled(ctx, a, func(e Entry) bool { return e.State != Absent && (!perhaps || c.mine(e)) })
	switch {
	case err != nil:
		return false, err
	case c.mine(e):
		c.written(a)
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

// askAfter is how long the claim of another node on an address that EC2 shows on the own ENI is respected: longer than describe calls are late.
const askAfter = 15 * time.Second

// ask makes sure that the own ENI has an address of which only a describe call says so, which may be older than the moment at which this node gave it
// back. EC2's answer to an assignment is never old. While the ledger has it for somebody else, who may be about to attach it, nothing is asked for a while.
func (c *Coordinator) ask(ctx context.Context, a netip.Addr) (bool, error) {
	if time.Since(c.began) < askAfter {
		e, err := c.Ledger.readOne(ctx, a)
		if err != nil {
			return false, err
		}
		lives, err := c.lives(ctx, map[netip.Addr]Entry{a: e}, nil)
		if err != nil {
			return false, err
		}
		if v := Judge(c.Self, e, Holder{}, lives[e.Record.Instance], c.Ledger.Now(), false); v.Action == Skip {
			c.skip(a, v.Reason)
			return false, nil
		}
	}
	return c.attempt(ctx, a, false)
}

// attach makes EC2 give the address to this node. False: another ENI has it.
func (c *Coordinator) attach(ctx context.Context, a netip.Addr, move bool) (bool, error) {
	won, err := c.attempt(ctx, a, move)
	if won {
		c.notify(EventAttached, a, true, "to %s", c.Self.ENI)
	}
	return won, err
}

func (c *Coordinator) attempt(ctx context.Context, a netip.Addr, move bool) (bool, error) {
	err := c.EC2.Attach(ctx, a, move)
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		c.lost(a, refused)
		return false, nil
	}
	if impossible := (*ImpossibleError)(nil); errors.As(err, &impossible) {
		// Nothing is left behind of an address that this node will never have.
		return false, errors.Join(err, c.giveUp(ctx, a))
	}
	return err == nil, err
}

func (c *Coordinator) lost(a netip.Addr, refused *RefusedError) {
	c.notify(EventLost, a, false, "%v", refused)
	c.skip(a, refused.Error())
	c.refused[a] = time.Now()
}

// giveUp deletes the own claim on an address that EC2 gave to somebody else. It reads first: that node may have made the record its own meanwhile.
// The intent stays: Settle looks whether the record of who has the address was deleted with it.
func (c *Coordinator) giveUp(ctx context.Context, a netip.Addr) error {
	deleted, err := c.deleteOwn(ctx, a, false)
	if deleted {
		c.notify(EventGivenUp, a, true, "%s", c.Ledger.Name(a))
	}
	if err == nil && c.unsure[a] {
		err = c.mend(ctx, a) // a run that gets no address does not come to Settle
	}
	return err
}

// create writes this node's claim where there is no record.
func (c *Coordinator) create(ctx context.Context, a netip.Addr) (bool, error) {
	created, _, err := c.Ledger.Create(ctx, a, c.Self.record(time.Now()))
	if created {
		c.written(a)
	}
	return created, err
}

// overwrite makes the record of a this node's claim.
func (c *Coordinator) overwrite(ctx context.Context, a netip.Addr) error {
	err := c.Ledger.Overwrite(ctx, a, c.Self.record(time.Now()))
	if err == nil {
		c.written(a)
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
