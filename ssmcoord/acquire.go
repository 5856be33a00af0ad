package ssmcoord

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// Acquire gets the node an address of its role's pool. It returns when EC2 has given the address to
// the node's own ENI. The plan has the steps that are left: see Settle. If living owners have all
// addresses, it waits until shortly before the deadline of ctx, and then returns an
// *ExhaustedError. A killed call can be repeated.
func (c *Coordinator) Acquire(ctx context.Context) (Plan, error) {
	search, stop := reserve(ctx)
	defer stop()
	for round := 0; ; round++ {
		plan, won, err := c.round(ctx, search, round)
		if won || err != nil {
			return plan, c.ended(ctx, search, err)
		}
	}
}

// round looks, chooses an address, and asks EC2 for it. It returns false if every address is taken,
// or if EC2 refuses the chosen one. It has waited by then, and the next round can begin.
func (c *Coordinator) round(ctx, search context.Context, n int) (Plan, bool, error) {
	plan, _, err := c.choose(search, n)
	if err == nil && plan.Doubt {
		err = c.checkLast(ctx, &plan)
	}
	if err != nil || plan.again {
		return plan, false, err
	}
	if !plan.Addr.IsValid() {
		return plan, false, c.wait(search, n)
	}
	exhausted := c.exhausted
	c.exhausted = false
	won, err := c.claim(search, &plan)
	if won || err != nil {
		return plan, won, err
	}
	c.exhausted = exhausted // an address was free for a moment
	return plan, false, pause.Sleep(search, time.Duration(c.Rand()*float64(refusedSpread)))
}

// claim carries out the steps of a plan before the kernel. It returns false if another ENI has the
// address.
func (c *Coordinator) claim(ctx context.Context, p *Plan) (bool, error) {
	c.tellSkipped(p.Skipped)
	perhaps := slices.Contains(c.past(), p.Addr)
	for _, step := range p.Claim {
		if won, err := c.ask(ctx, step, perhaps); err != nil || !won {
			return false, err
		}
	}
	c.tellClaimed(p)
	return true, nil
}

// ask carries out one step of claim. perhaps says that an earlier run may have assigned the
// address.
func (c *Coordinator) ask(ctx context.Context, step Step, perhaps bool) (bool, error) {
	if err := c.intend(ctx, step.Addr, step.Sure); err != nil {
		return false, err
	}
	if !perhaps && !step.Sure {
		if err := c.pace(ctx); err != nil {
			return false, err
		}
	}
	won, err := c.assign(ctx, step.Addr, perhaps || step.Sure)
	if err == nil && !won && step.Addr == c.Past.Last {
		err = c.loseLast(ctx)
	}
	return won, err
}

// tellClaimed reports the address of a plan, which EC2 has given to the node.
func (c *Coordinator) tellClaimed(p *Plan) {
	why := p.Reason
	switch {
	case p.Kept:
		c.notify(EventKept, p.Addr, false, "%s", why)
		return
	case why == free:
		why = "it was free"
	}
	c.notify(EventAssigned, p.Addr, true, "to %s: %s", c.Self.ENI, why)
}

// tellSkipped reports why the addresses before the chosen one were passed over, once for each
// reason.
func (c *Coordinator) tellSkipped(list []Skipped) {
	for _, s := range list {
		if known := c.of(s.Addr); known.told != s.Reason {
			known.told = s.Reason
			c.notify(EventSkipped, s.Addr, false, "%s", s.Reason)
		}
	}
}

// assign asks EC2 for an address. It returns false if another ENI has it.
func (c *Coordinator) assign(ctx context.Context, a netip.Addr, perhaps bool) (bool, error) {
	err := c.EC2.Assign(ctx, a, perhaps)
	refused := (*RefusedError)(nil)
	if !errors.As(err, &refused) {
		return err == nil, err
	}
	c.losses++
	known := c.of(a)
	known.skipped, known.refused = refused.Error(), time.Now()
	c.notify(EventRefused, a, false, "%v", refused)
	// An address that may be the node's is looked after when the node has another one.
	if known.lost = known.lost || refused.Repeated; !known.lost && !perhaps {
		if err := c.forget(ctx, a); err != nil {
			return false, err
		}
	}
	if refused.Every != nil && c.vague == refused.Code {
		return false, refused.Every
	}
	c.vague = refused.Code
	return false, nil
}

// checkLast asks EC2 whether it still gives the node the address in use, if the look did not show
// it: a describe call may be late, the answer to an assignment never is. If the address is no
// longer the node's, it is withdrawn at once, since the search for another one may take
// long. If EC2 does not answer, the address stays in use, unless the look cannot have been late.
func (c *Coordinator) checkLast(ctx context.Context, p *Plan) error {
	last := c.Past.Last
	if !p.claimed { // by another living node
		within := 2 * DescribeLag // a repeated attempt is looked after for one
		if deadline, ok := ctx.Deadline(); ok {
			within = min(within, time.Until(deadline)/3)
		}
		soon, stop := context.WithTimeout(ctx, within)
		defer stop()
		err := c.EC2.Assign(soon, last, false)
		if err == nil {
			c.confirmed = time.Now()
			c.notify(EventAssigned, last, true, "to %s again: EC2 did not show it there", c.Self.ENI)
			*p = Plan{again: true}
			return nil
		}
		refused, impossible := (*RefusedError)(nil), (*ImpossibleError)(nil)
		definite := errors.As(err, &refused) && refused.Every == nil || errors.As(err, &impossible)
		if ctx.Err() != nil || !definite && p.looked.Sub(c.Past.Written) < DescribeLag {
			return err
		}
	}
	if p.Addr == last {
		*p = Plan{again: true}
	}
	return c.loseLast(ctx)
}

// loseLast withdraws Past.Last.
func (c *Coordinator) loseLast(ctx context.Context) error {
	c.Past.Last = netip.Addr{}
	return c.Lost(ctx)
}
