package ssmcoord

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"
)

// View is what one look at EC2 and the ledger showed. Each part of it may be late: see DescribeLag
// and ReadLag.
type View struct {
	Members []Member // of the cluster; nil where they were not asked for
	Own     []netip.Addr
	Entries map[netip.Addr]Entry  // of the addresses that were read
	Holders map[netip.Addr]Holder // nil where EC2 was not asked who has the addresses
	Lives   map[string]Life
	Now     time.Time // by Parameter Store's clock
}

// Judge decides about an address that was read.
func (v *View) Judge(self Self, a netip.Addr) Verdict {
	h := v.Holders[a]
	if slices.Contains(v.Own, a) {
		h = Holder{ENI: self.ENI, Instance: self.Instance}
	}
	e := v.Entries[a]
	return Judge(self, e, h, v.Lives[e.Record.Instance], v.Now)
}

// look asks EC2 and the ledger at the same time. It reads the records of the addresses that the
// node can only choose from; in a larger pool the choice needs the members first.
func (c *Coordinator) look(ctx context.Context, round int) (View, error) {
	v := c.view()
	pool := c.Pools[c.Self.Role]
	names := c.past()
	if small := union(names, pool); len(small) <= NamesPerRead {
		names = small
	}
	read := func() error { return c.read(ctx, &v, names) }
	var err error
	if round == 0 && c.Quick && slices.Contains(pool, c.Past.Last) {
		// A run that finds its address needs nobody else's.
		if err = both(read, func() (err error) { v.Own, err = c.EC2.Own(ctx); return err }); err != nil {
			return v, err
		}
		if slices.Contains(v.Own, c.Past.Last) && !c.isOthers(v.Entries[c.Past.Last]) {
			return v, nil
		}
		read = func() error { return nil }
	}
	err = both(read, func() (err error) { v.Members, err = c.EC2.Survey(ctx); return err })
	for _, m := range v.Members {
		v.Lives[m.Instance] = Living
		if m.Instance == c.Self.Instance {
			v.Own = m.Addresses
		}
	}
	if c.Past.Last.IsValid() && time.Since(c.confirmed) < DescribeLag {
		v.Own = union(v.Own, []netip.Addr{c.Past.Last})
	}
	v.Now = c.Ledger.Now()
	return v, err
}

// view returns a View before the first look.
func (c *Coordinator) view() View {
	return View{Entries: map[netip.Addr]Entry{}, Lives: map[string]Life{c.Self.Instance: Living}}
}

// past lists the addresses that an earlier run may have left something of.
func (c *Coordinator) past() []netip.Addr {
	if !c.Past.Last.IsValid() {
		return c.Intents()
	}
	return union([]netip.Addr{c.Past.Last}, c.intents)
}

// read adds the records of the addresses to the view, but for those that it has.
func (c *Coordinator) read(ctx context.Context, v *View, addrs []netip.Addr) error {
	addrs = slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
		_, has := v.Entries[a]
		return has
	})
	entries, err := c.Ledger.Read(ctx, addrs)
	if err != nil {
		return err
	}
	for a, e := range entries {
		v.Entries[a] = e
		if e.State == Claimed && !c.Self.owns(e) {
			c.of(a).record = time.Now()
		}
	}
	v.Now = c.Ledger.Now()
	return nil
}

// owners asks EC2 about the owners of the records that are not known to be alive.
func (c *Coordinator) owners(ctx context.Context, v *View, addrs []netip.Addr) error {
	var ask []string
	for _, a := range addrs {
		e := v.Entries[a]
		if _, known := v.Lives[e.Record.Instance]; e.State == Claimed && !known {
			ask = append(ask, e.Record.Instance)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	slices.Sort(ask)
	ask = slices.Compact(ask)
	lives, err := c.EC2.Lives(ctx, ask)
	if err != nil {
		return err
	}
	for _, id := range ask {
		v.Lives[id] = lives[id]
	}
	return nil
}

// both runs f and g at the same time.
func both(f, g func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	err := g()
	return errors.Join(err, <-done)
}

// union lists each address of a and b once, in their order.
func union(a, b []netip.Addr) []netip.Addr {
	var list []netip.Addr
	for _, x := range slices.Concat(a, b) {
		if !slices.Contains(list, x) {
			list = append(list, x)
		}
	}
	return list
}
