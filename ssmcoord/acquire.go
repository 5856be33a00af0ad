package ssmcoord

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"
)

// Acquire gets the node an address of its role's pool and returns when EC2 has confirmed it on the node's own ENI. It waits while living owners
// have all addresses, until shortly before the deadline of ctx; then it returns an *ExhaustedError. It may be killed at any point and called
// again. The ledger is brought in line afterwards by Settle.
func (c *Coordinator) Acquire(ctx context.Context) (Result, error) {
	search, stop := reserve(ctx)
	defer stop()
	c.began = time.Now()
	c.skipped, c.reported, c.refused = map[netip.Addr]string{}, map[netip.Addr]string{}, map[netip.Addr]time.Time{}
	losses, round := 0, 0
	for {
		members, err := c.EC2.Survey(search)
		if err != nil {
			return Result{}, c.ended(ctx, search, err)
		}
		if carried := c.carried(members); len(carried) > 0 {
			if res, kept, err := c.keep(ctx, carried); err != nil || kept {
				return res, err
			}
		}
		if c.Last.IsValid() && c.Gone != nil {
			if c.Last, err = c.Gone(search); err != nil {
				return Result{}, c.ended(ctx, search, err)
			}
		}
		if round == 0 && len(c.Intents) == 0 {
			if err := c.pace(search, members); err != nil {
				return Result{}, c.ended(ctx, search, err)
			}
		}
		found, err := c.scan(search, c.order(members, round), members)
		if err != nil {
			return Result{}, c.ended(ctx, search, err)
		}
		if len(found) == 0 {
			if err := c.wait(search, round); err != nil {
				return Result{}, c.ended(ctx, search, err)
			}
			round++
			continue
		}
		pick := preferred(found)
		if losses > 1 && pick.Action != Keep && pick.Action != Resume {
			// Twice beaten: the ranks are not what they seem, so leave the order that others may share.
			pick = found[int(c.Rand()*float64(len(found)))%len(found)]
		}
		exhausted := c.exhausted
		c.exhausted = false
		won, err := c.try(ctx, pick)
		if err != nil {
			return Result{}, err
		}
		if won {
			own, shown, err := c.confirm(ctx, pick.addr, pick.Action == Keep)
			if err != nil {
				return Result{}, err
			}
			if shown {
				return Result{Addr: pick.addr, Kept: pick.Action == Keep, Surplus: c.surplus(own, pick.addr)}, nil
			}
		}
		c.exhausted = exhausted // an address was free for a moment, and somebody was faster
		losses++
		round++
		if err := sleep(search, time.Duration(c.Rand()*float64(time.Second))); err != nil {
			return Result{}, c.ended(ctx, search, err)
		}
	}
}

// preferred is the first candidate; what the node has goes before what it could have.
func preferred(found []candidate) candidate {
	return found[max(0, slices.IndexFunc(found, func(p candidate) bool { return p.Action == Keep || p.Action == Resume }))]
}

// order is the pool as this round tries it: in the first round the intents of earlier runs come first.
func (c *Coordinator) order(members []Member, round int) []netip.Addr {
	order := Order(c.Self, members, c.Pools)
	if round > 0 || len(c.Intents) == 0 {
		return order
	}
	pool := c.Pools[c.Self.Role]
	var first []netip.Addr
	for _, a := range c.Intents {
		if slices.Contains(pool, a) && !slices.Contains(first, a) {
			first = append(first, a)
		}
	}
	rest := slices.DeleteFunc(order, func(a netip.Addr) bool { return slices.Contains(first, a) })
	return slices.Concat(first, rest)
}

// carried lists the pool's addresses that EC2 shows on the node itself, in the pool's order.
func (c *Coordinator) carried(members []Member) []netip.Addr {
	for _, m := range members {
		if m.Instance == c.Self.Instance {
			return c.inPool(m.Addresses)
		}
	}
	return nil
}

func (c *Coordinator) inPool(addrs []netip.Addr) []netip.Addr {
	var list []netip.Addr
	for _, a := range c.Pools[c.Self.Role] {
		if slices.Contains(addrs, a) {
			list = append(list, a)
		}
	}
	return list
}

func (c *Coordinator) surplus(own []netip.Addr, kept netip.Addr) []netip.Addr {
	return slices.DeleteFunc(c.inPool(own), func(a netip.Addr) bool { return a == kept })
}

func (c *Coordinator) keep(ctx context.Context, carried []netip.Addr) (Result, bool, error) {
	var entries map[netip.Addr]Entry
	if len(carried) > 1 {
		var err error
		if entries, err = c.Ledger.Read(ctx, carried); err != nil {
			return Result{}, false, err
		}
	}
	kept := pickKept(c.Self, carried, c.Last, entries)
	if kept != c.Last {
		if won, err := c.ask(ctx, kept); err != nil || !won {
			return Result{}, false, err
		}
	}
	own, shown, err := c.confirm(ctx, kept, true)
	if err != nil || !shown {
		return Result{}, false, err
	}
	c.notify(EventKept, kept, false, "the node's network interface carries it")
	return Result{Addr: kept, Kept: true, Surplus: c.surplus(own, kept)}, true, nil
}

// confirmFor is how long an address is waited for that a describe call showed on the own ENI, since another call may show that it has just gone; and
// one that EC2 accepted to assign, before EC2 is asked for it again, since somebody may have taken it away before it was shown.
const confirmFor = 40 * time.Second

// confirm waits until EC2 shows a on the own ENI. False: it was only kept, and is not there any more; or another ENI has it now.
func (c *Coordinator) confirm(ctx context.Context, a netip.Addr, kept bool) ([]netip.Addr, bool, error) {
	for {
		bounded, stop := context.WithTimeout(ctx, confirmFor)
		own, err := c.EC2.Confirm(bounded, a)
		late := bounded.Err() != nil && ctx.Err() == nil
		stop()
		refused := (*RefusedError)(nil)
		switch {
		case err == nil:
			return own, true, nil
		case errors.As(err, &refused):
			c.lost(a, refused)
			return nil, false, c.giveUp(ctx, a)
		case !late:
			return nil, false, err
		case kept:
			return nil, false, nil
		}
		if won, err := c.attempt(ctx, a, false); err != nil {
			return nil, false, err
		} else if !won {
			return nil, false, c.giveUp(ctx, a)
		}
	}
}

// paceShare is the part of the PutParameter quota that a launch uses for its first attempts. Calls arrive with jitter; at the whole quota each one
// that comes too early is throttled, comes again, and delays others.
const paceShare = 0.95

// Describe calls of EC2 have a bucket of describeBurst, refilled 20 times a second, of which nodes that come again at random use
// describeRate: a large launch takes that long to learn its turns, and the first of them begins then.
const (
	describeBurst = 100
	describeRate  = 17
)

// pace leaves room for the writes of the members whose turn is earlier, so that a launch uses the account's PutParameter quota without running
// into it. The turns of nodes that start together begin together, however long each of them had to wait for its survey.
func (c *Coordinator) pace(ctx context.Context, members []Member) error {
	turn := Turn(c.Self, members, c.Pools)
	if turn == 0 || c.PutRate <= 0 {
		return nil
	}
	seconds := float64(turn)/(c.PutRate*paceShare) + max(0, float64(len(members)-describeBurst)/describeRate)
	d := time.Duration(seconds*float64(time.Second)) - time.Since(c.began)
	if deadline, ok := ctx.Deadline(); ok {
		// Never more than two thirds of the time: the turn is an optimisation, the deadline is a promise.
		d = min(d, time.Until(deadline)*2/3)
	}
	if d <= 0 {
		return nil
	}
	if d > 2*time.Second {
		c.notify(EventPacing, netip.Addr{}, false, "%d nodes of the cluster write their claims first, waiting %s", turn, d.Round(100*time.Millisecond))
	}
	return sleep(ctx, d)
}

// candidate is an address that can be tried.
type candidate struct {
	addr   netip.Addr
	holder Holder
	Verdict
}

// scan returns the candidates of the first ten addresses of the order, or, where there is none, of the first ten further on that no ENI
// carries. The reads stay in proportion to what is really in doubt: an address that EC2 shows on another ENI costs no read of the ledger.
func (c *Coordinator) scan(ctx context.Context, order []netip.Addr, members []Member) ([]candidate, error) {
	for _, part := range [][]netip.Addr{order[:min(namesPerRead, len(order))], order[min(namesPerRead, len(order)):]} {
		if len(part) == 0 {
			continue
		}
		holders, err := c.EC2.Holders(ctx, part)
		if err != nil {
			return nil, err
		}
		for _, chunk := range chunks(c.open(part, holders), namesPerRead) {
			found, err := c.judge(ctx, chunk, holders, members)
			if err != nil {
				return nil, err
			}
			if len(found) > 0 {
				c.passedOver(order, found[0].addr)
				return found, nil
			}
		}
	}
	c.exhausted = true
	return nil, nil
}

// passedOver reports the addresses that come before a in the order, and why they were not taken.
func (c *Coordinator) passedOver(order []netip.Addr, a netip.Addr) {
	for _, b := range order[:slices.Index(order, a)] {
		if reason := c.skipped[b]; reason != "" && c.reported[b] != reason {
			c.reported[b] = reason
			c.notify(EventSkipped, b, false, "%s", reason)
		}
	}
}

// open leaves out the addresses that another ENI carries and that this node never claimed.
func (c *Coordinator) open(addrs []netip.Addr, holders map[netip.Addr]Holder) []netip.Addr {
	var open []netip.Addr
	for _, a := range addrs {
		if h, held := holders[a]; held && h.ENI != c.Self.ENI && !c.Reassign && !slices.Contains(c.Intents, a) {
			c.skip(a, "in use by "+h.String())
		} else {
			open = append(open, a)
		}
	}
	return open
}

// judge decides about up to ten addresses and gives up own claims on addresses that somebody else has.
func (c *Coordinator) judge(ctx context.Context, addrs []netip.Addr, holders map[netip.Addr]Holder, members []Member) ([]candidate, error) {
	entries, err := c.Ledger.Read(ctx, addrs)
	if err != nil {
		return nil, err
	}
	lives, err := c.lives(ctx, entries, members)
	if err != nil {
		return nil, err
	}
	var found []candidate
	for _, a := range addrs {
		e := entries[a]
		v, err := c.verdict(ctx, a, e, holders[a], lives, members)
		if err != nil {
			return nil, err
		}
		if at, refused := c.refused[a]; refused && time.Since(at) < refusedFor && (v.Action == Create || v.Action == TakeOver) {
			continue // for the reason that EC2 gave
		}
		if v.GiveUp {
			if err := c.giveUp(ctx, a); err != nil {
				return nil, err
			}
		}
		if v.Action != Skip {
			found = append(found, candidate{a, holders[a], v})
			continue
		}
		if e.State == Unreadable {
			v.Reason += "; to mend it: " + c.Ledger.repair(a)
			if c.reported[a] != v.Reason {
				c.reported[a] = v.Reason
				c.notify(EventSkipped, a, false, "%s", v.Reason)
			}
		}
		c.skip(a, v.Reason)
	}
	return found, nil
}

// verdict is Judge's, unless it is to take the address from an ENI that may be a node's.
func (c *Coordinator) verdict(ctx context.Context, a netip.Addr, e Entry, h Holder, lives map[string]Life, members []Member) (Verdict, error) {
	v := Judge(c.Self, e, h, lives[e.Record.Instance], c.Ledger.Now(), c.Reassign && !isMember(members, h.Instance))
	if !v.Move {
		return v, nil
	}
	outside, why, err := c.outsider(ctx, h)
	if err != nil || outside {
		return v, err
	}
	v = Judge(c.Self, e, h, lives[e.Record.Instance], c.Ledger.Now(), false)
	v.Reason += ", " + why
	return v, nil
}

// refusedFor is how long an address that EC2 refused, though it shows nobody who has it, is left alone.
const refusedFor = time.Minute

func isMember(members []Member, instance string) bool {
	return slices.ContainsFunc(members, func(m Member) bool { return m.Instance == instance })
}

// lives looks up the owners of the entries that are not known to be alive from the survey.
func (c *Coordinator) lives(ctx context.Context, entries map[netip.Addr]Entry, members []Member) (map[string]Life, error) {
	lives := map[string]Life{c.Self.Instance: Living}
	for _, m := range members {
		lives[m.Instance] = Living
	}
	var ask []string
	for _, e := range entries {
		if id := e.Record.Instance; e.State == Claimed && !slices.Contains(ask, id) {
			if _, known := lives[id]; !known {
				ask = append(ask, id)
			}
		}
	}
	if len(ask) == 0 {
		return lives, nil
	}
	slices.Sort(ask)
	answers, err := c.EC2.Lives(ctx, ask)
	if err != nil {
		return nil, err
	}
	for _, id := range ask {
		lives[id] = answers[id]
	}
	return lives, nil
}

// skip remembers why an address is passed over.
func (c *Coordinator) skip(a netip.Addr, reason string) { c.skipped[a] = reason }
