package ssmcoord

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Proposal is what Acquire and then Settle would do now. Other nodes go on meanwhile, so that it is no promise.
type Proposal struct {
	Addr   netip.Addr
	Kept   bool     // the node's ENI carries it
	Reason string   // why this address
	Steps  []string // the changes to ledger and EC2 before the kernel is programmed, in order, in words
	Settle []string // and those after it
	Notes  []string // what would be seen and left alone
}

// Propose finds out what Acquire and Settle would do, by reading only. Where every address is taken it returns an *ExhaustedError at once: Acquire
// would wait. It does not try whether EC2 would refuse an address.
func (c *Coordinator) Propose(ctx context.Context) (Proposal, error) {
	c.began = time.Now()
	c.skipped, c.reported = map[netip.Addr]string{}, map[netip.Addr]string{}
	members, err := c.EC2.Survey(ctx)
	if err != nil {
		return Proposal{}, err
	}
	carried := c.carried(members)
	if len(carried) > 0 {
		entries, err := c.Ledger.Read(ctx, carried)
		if err != nil {
			return Proposal{}, err
		}
		p := Proposal{Addr: pickKept(c.Self, carried, c.Last, entries), Kept: true, Reason: "the node's network interface carries it"}
		err = c.proposeSettle(ctx, &p, members)
		return p, err
	}
	p, err := c.proposeScan(ctx, c.order(members, 0), members)
	if err != nil {
		return p, err
	}
	err = c.proposeSettle(ctx, &p, members)
	return p, err
}

// proposeScan finds the address that scan and try would go for first.
func (c *Coordinator) proposeScan(ctx context.Context, order []netip.Addr, members []Member) (Proposal, error) {
	p := Proposal{}
	holders, err := c.EC2.Holders(ctx, order)
	if err != nil {
		return p, err
	}
	e := &ExhaustedError{Role: c.Self.Role, now: c.Ledger.Now()}
	for _, chunk := range chunks(c.open(order, holders), namesPerRead) {
		entries, err := c.Ledger.Read(ctx, chunk)
		if err != nil {
			return p, err
		}
		lives, err := c.lives(ctx, entries, members)
		if err != nil {
			return p, err
		}
		var found []candidate
		for _, a := range chunk {
			v, err := c.verdict(ctx, a, entries[a], holders[a], lives, members)
			if err != nil {
				return p, err
			}
			if v.GiveUp {
				p.Steps = append(p.Steps, fmt.Sprintf("give up the claim %s: %s", c.Ledger.Name(a), v.Reason))
			}
			if v.Action == Skip {
				c.skip(a, v.Reason)
				continue
			}
			found = append(found, candidate{a, holders[a], v})
		}
		if len(found) > 0 {
			pick := preferred(found)
			p.Addr, p.Reason = pick.addr, pick.Reason
			p.Steps = append(p.Steps, c.steps(pick.addr, pick.Action)...)
			return p, nil
		}
	}
	for _, a := range c.Pools[c.Self.Role] {
		e.Addresses = append(e.Addresses, HeldAddress{Addr: a, Reason: c.skipped[a]})
	}
	return p, e
}

// steps are what try does for a candidate.
func (c *Coordinator) steps(a netip.Addr, action Action) []string {
	attach := fmt.Sprintf("attach %s to %s", a, c.Self.ENI)
	switch action {
	case Create:
		return []string{"claim " + c.Ledger.Name(a), attach}
	case TakeOver:
		return []string{attach, "take over the claim " + c.Ledger.Name(a)}
	case Resume:
		return []string{attach}
	}
	return nil
}

// proposeSettle adds what Settle would do.
func (c *Coordinator) proposeSettle(ctx context.Context, p *Proposal, members []Member) error {
	var own []netip.Addr
	for _, m := range members {
		if m.Instance == c.Self.Instance {
			own = m.Addresses
		}
	}
	surplus := c.surplus(own, p.Addr)
	look := []netip.Addr{p.Addr}
	for _, a := range slices.Concat(surplus, c.Intents) {
		if !slices.Contains(look, a) {
			look = append(look, a)
		}
	}
	entries, err := c.Ledger.Read(ctx, look)
	if err != nil {
		return err
	}
	mine := func(a netip.Addr) bool {
		return entries[a].State == Claimed && entries[a].Record.Instance == c.Self.Instance
	}
	if p.Kept && !mine(p.Addr) {
		if e := entries[p.Addr]; e.State == Unreadable {
			p.Notes = append(p.Notes, fmt.Sprintf("the record %s cannot be read (%v) and is left as it is", c.Ledger.Name(p.Addr), e.Problem))
		} else {
			p.Settle = append(p.Settle, fmt.Sprintf("make the record %s name this node", c.Ledger.Name(p.Addr)))
		}
	}
	for _, a := range look[1:] {
		if slices.Contains(surplus, a) && !slices.Contains(c.Intents, a) && !mine(a) {
			p.Notes = append(p.Notes, fmt.Sprintf("the network interface also carries %s of the pool, which this tool did not attach; it is left there", a))
			continue
		}
		if slices.Contains(own, a) {
			p.Settle = append(p.Settle, fmt.Sprintf("detach %s from %s", a, c.Self.ENI))
		}
		if mine(a) {
			p.Settle = append(p.Settle, "delete the claim "+c.Ledger.Name(a))
		}
	}
	return nil
}

// Outsider tells whether --allow-reassignment takes an address from an ENI; otherwise why not.
func (c *Coordinator) Outsider(ctx context.Context, h Holder) (bool, string, error) {
	return c.outsider(ctx, h)
}
