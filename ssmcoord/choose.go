package ssmcoord

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Plan returns what a run would do now. It only reads. If every address is taken, it returns an
// *ExhaustedError. It is no promise: other nodes go on meanwhile, and EC2 may refuse.
func (c *Coordinator) Plan(ctx context.Context) (Plan, error) {
	p, _, err := c.plan(ctx)
	return p, err
}

// plan returns what Plan returns, and the view that the plan was made of.
func (c *Coordinator) plan(ctx context.Context) (Plan, View, error) {
	p, v, err := c.choose(ctx, 0)
	if err == nil && !p.Kept {
		// A run would ask EC2 for the address and learn who has it. A plan can only look.
		p, v, err = c.choose(ctx, 1)
	}
	if err == nil && !p.Addr.IsValid() {
		err = c.taken(v.Entries, v.Holders, nil)
	}
	return p, v, err
}

// Preview is a plan, and what it was made of.
type Preview struct {
	View
	Plan     Plan
	Err      error                  // of Plan
	Verdicts map[netip.Addr]Verdict // empty where an error leaves the view incomplete

	LedgerErr, EC2Err error
}

// Preview returns what Plan does, with what a run may do about each of the addresses. It looks at
// those that the plan needed no look at, and goes on where a part cannot be read. A node without a
// pool has no plan.
func (c *Coordinator) Preview(ctx context.Context, addrs []netip.Addr) Preview {
	p := Preview{View: c.view(), Verdicts: map[netip.Addr]Verdict{}}
	if len(c.Pools[c.Self.Role]) > 0 {
		p.Plan, p.View, p.Err = c.plan(ctx)
	}
	p.LedgerErr = c.read(ctx, &p.View, addrs)
	seen := p.Holders
	if p.Holders, p.EC2Err = c.EC2.Holders(ctx, addrs); p.EC2Err == nil {
		maps.Copy(p.Holders, seen)
		p.EC2Err = c.owners(ctx, &p.View, addrs)
	}
	if p.LedgerErr == nil && p.EC2Err == nil {
		for _, a := range addrs {
			p.Verdicts[a] = c.verdict(&p.View, a)
		}
	}
	return p
}

// choose looks at EC2 and the ledger and decides.
func (c *Coordinator) choose(ctx context.Context, round int) (Plan, View, error) {
	v, err := c.look(ctx, round)
	if err != nil {
		return Plan{}, v, err
	}
	p, err := c.decide(ctx, &v, round)
	if last := c.Past.Last; last.IsValid() && !slices.Contains(v.Own, last) {
		p.Doubt, p.looked = true, time.Now()
		if e := v.Entries[last]; err == nil && c.isOthers(e) {
			err = c.owners(ctx, &v, []netip.Addr{last})
			p.claimed = v.Lives[e.Record.Instance] == Living
		}
	}
	return p, v, err
}

func (c *Coordinator) decide(ctx context.Context, v *View, round int) (Plan, error) {
	c.turn = Turn(c.Self, v.Members, c.Pools)
	order := c.order(v)
	if c.keepsLast(v) {
		if err := c.read(ctx, v, c.inPool(v.Own)); err != nil {
			return Plan{}, err
		}
		return c.planFor(v, candidate{c.Past.Last, v.Judge(c.Self, c.Past.Last)}, order), nil
	}
	found, err := c.scan(ctx, v, order, round)
	if err != nil || len(found) == 0 {
		return Plan{}, err
	}
	pick := found[0]
	if c.losses > 1 && pick.Action != Keep {
		// After two refusals, leave the order, which other nodes may share.
		pick = found[int(c.Rand()*float64(len(found)))%len(found)]
	}
	return c.planFor(v, pick, order), nil
}

// scan judges the node's order, ten addresses with one read, until one can be had. It does not read
// the record of an address that EC2 shows on another ENI.
func (c *Coordinator) scan(ctx context.Context, v *View, order []netip.Addr, round int) (found []candidate, err error) {
	for rest, first := order, true; len(rest) > 0 && len(found) == 0; first = false {
		if v.Holders == nil && !(first && round == 0) {
			if v.Holders, err = c.EC2.Holders(ctx, rest); err != nil {
				return nil, err
			}
		}
		rest = slices.DeleteFunc(slices.Clone(rest), func(a netip.Addr) bool { return c.held(v, a) })
		chunk := rest[:min(NamesPerRead, len(rest))]
		rest = rest[len(chunk):]
		if err := c.read(ctx, v, chunk); err != nil {
			return nil, err
		}
		if err := c.owners(ctx, v, chunk); err != nil {
			return nil, err
		}
		found = c.judge(v, chunk)
	}
	c.exhausted = c.exhausted || len(found) == 0
	return found, nil
}
