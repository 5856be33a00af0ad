package netcfg

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// Plan returns the changes that lead from o to what c wants, in the order in which they have to be made, and the number of
// objects (the address, our chains, our jumps) that are already right. It is pure, and empty when there is nothing to do.
//
// The address comes before the rules that need it. Rules in a back end not in use come last: until then they do the
// same, so there is no moment without.
func Plan(c Config, o Observed) (changes []Change, unchanged int, err error) {
	if err := c.Validate(); err != nil {
		return nil, 0, err
	}
	var errs []error
	if len(o.Link.Find(c.Primary)) == 0 {
		errs = append(errs, fmt.Errorf("primary IP %s is not on link %s, which has %s", c.Primary, o.Link.Name, addrList(o.Link)))
	}
	for _, l := range o.Others {
		for _, e := range l.Find(c.Static) {
			errs = append(errs, fmt.Errorf("static IP %s is on link %s already, and belongs on %s; if nothing needs it there: ip addr del %s dev %s",
				c.Static, l.Name, o.Link.Name, e.Prefix, l.Name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, 0, err
	}
	if len(o.Link.Find(c.Static)) > 0 {
		unchanged++
	} else {
		changes = append(changes, AddAddress{o.Link.Name, o.Link.Index, netip.PrefixFrom(c.Static, 32)})
	}
	want := c.Desired(o.Link.Name)
	lines, same := o.Rules.Differences(want)
	unchanged += same
	if len(lines) > 0 {
		if o.Backend == IptablesNFT {
			want = want.withMade(o.Rules)
		}
		changes = append(changes, SetRules{o.Backend, o.Rules, want})
	}
	changes = append(changes, removeStrays(o)...)
	changes = append(changes, deleteAddresses(c.Former, o.Link)...)
	return changes, unchanged, nil
}

// PlanRemoval returns the changes that take all rules of ours out of every back end, and then these addresses from the link.
// The second result counts the addresses that are gone already. It is pure.
func PlanRemoval(static []netip.Addr, o Observed) (changes []Change, unchanged int, err error) {
	for _, s := range []RuleSet{o.Rules, o.Strays[IptablesLegacy], o.Strays[IptablesNFT], o.Strays[Nftables]} {
		if p, ok := s.Primary(); ok && slices.Contains(static, p) {
			return nil, 0, fmt.Errorf("%s is the node's primary IP, says our own DNAT rule: it is not removed", p)
		}
	}
	if !o.Rules.Empty() {
		changes = append(changes, SetRules{o.Backend, o.Rules, RuleSet{}})
	} else {
		unchanged++
	}
	changes = append(changes, removeStrays(o)...)
	for _, a := range static {
		if len(o.Link.Find(a)) == 0 {
			unchanged++
		}
	}
	return append(changes, deleteAddresses(static, o.Link)...), unchanged, nil
}

func removeStrays(o Observed) (changes []Change) {
	for _, b := range slices.Sorted(maps.Keys(o.Strays)) {
		if s := o.Strays[b]; !s.Empty() {
			changes = append(changes, SetRules{b, s, RuleSet{}})
		}
	}
	return changes
}

// deleteAddresses removes each address, under every prefix length that it has.
func deleteAddresses(list []netip.Addr, l Link) (changes []Change) {
	for _, a := range list {
		for _, e := range l.Find(a) {
			changes = append(changes, DeleteAddress{l.Name, l.Index, e.Prefix, !l.Promote && l.leads(e)})
		}
	}
	return changes
}

// leads says whether deleting e would take others with it: e is the kernel's first address of its subnet and the link has more.
func (l Link) leads(e Address) bool {
	return !e.Secondary && slices.ContainsFunc(l.Addrs, func(x Address) bool {
		return x.Secondary && x.Prefix.Masked() == e.Prefix.Masked()
	})
}

func addrList(l Link) string {
	if len(l.Addrs) == 0 {
		return "no IPv4 address"
	}
	var s string
	for i, a := range l.Addrs {
		if i > 0 {
			s += ", "
		}
		s += a.Prefix.String()
	}
	return s
}
