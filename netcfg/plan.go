package netcfg

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// Plan returns the changes that lead from o to what c wants, in the order in which they have to be
// made, and the number of objects (the address, our chains, our jumps) that are already right. It
// is pure, and empty when there is nothing to do.
//
// The address comes before the rules that need it. Rules in a backend not in use go last: until
// then they do the same, so there is no moment without. Connections of an address that is given up
// are ended after the rules that could translate them again are gone.
func Plan(c Config, o Observed) (changes []Change, unchanged int, err error) {
	if err := c.Validate(); err != nil {
		return nil, 0, err
	}
	if err := errors.Join(o.obstacles(c.Primary, c.Static)...); err != nil {
		return nil, 0, err
	}
	if len(o.Link.Find(c.Static)) > 0 {
		unchanged++
	} else {
		changes = append(changes, AddAddress{o.Link.Name, o.Link.Index, netip.PrefixFrom(c.Static, 32)})
	}
	want := c.Desired(o.Link.Name).For(o.Backend)
	lines, same := o.Rules.Differences(want)
	unchanged += same
	if len(lines) > 0 {
		changes = append(changes, SetRules{o.Backend, o.Rules, want})
	}
	changes = append(changes, removeStrays(o)...)
	changes = append(changes, giveUp(c.Former, o)...)
	return changes, unchanged, nil
}

// obstacle is an error that is ErrInTheWay and has a text of its own.
type obstacle string

func (o obstacle) Error() string      { return string(o) }
func (obstacle) Is(target error) bool { return target == ErrInTheWay }

func inTheWay(format string, args ...any) error { return obstacle(fmt.Sprintf(format, args...)) }

// obstacles lists what is in the way of an address and its rules, and not for this program to
// change.
func (o Observed) obstacles(primary, static netip.Addr) (errs []error) {
	if len(o.Link.Find(primary)) == 0 {
		errs = append(errs, o.primaryElsewhere(primary))
	}
	for _, l := range o.Others {
		for _, e := range l.Find(static) {
			errs = append(errs, inTheWay("static IP %s is on link %s already, and belongs on %s; if nothing needs it there: ip addr del %s dev %s",
				static, l.Name, o.Link.Name, e, l.Name))
		}
	}
	for _, e := range o.Link.Find(static) {
		if e.Peer.IsValid() {
			errs = append(errs, inTheWay("static IP %s is on link %s as a point-to-point address, which makes the kernel use it towards %s; remove it: ip addr del %s dev %[2]s",
				static, o.Link.Name, e.Peer, e))
		}
	}
	if o.Unusable != nil {
		errs = append(errs, o.Unusable)
	}
	return errs
}

// primaryElsewhere says where the primary IP is instead of on the primary interface.
func (o Observed) primaryElsewhere(primary netip.Addr) error {
	for _, l := range o.Others {
		if len(l.Find(primary)) == 0 {
			continue
		}
		if l.Name == o.Link.Master {
			return inTheWay("primary IP %s is on %s %s, of which the primary interface %s is a port: address and rules need it on %[4]s itself",
				primary, o.Link.MasterKind, l.Name, o.Link.Name)
		}
		return inTheWay("primary IP %s is on link %s, and not on the primary interface %s", primary, l.Name, o.Link.Name)
	}
	return inTheWay("primary IP %s is not on link %s, which has %s", primary, o.Link.Name, addrList(o.Link))
}

// PlanRemoval returns the changes that take all rules of ours out of every backend, and then these
// addresses from the link. The second result counts the addresses that are gone already. It is
// pure.
func PlanRemoval(static []netip.Addr, o Observed) (changes []Change, unchanged int, err error) {
	for _, s := range []RuleSet{o.Rules, o.Strays[IptablesLegacy], o.Strays[IptablesNFT], o.Strays[Nftables]} {
		if p, ok := s.Primary(); ok && slices.Contains(static, p) {
			return nil, 0, fmt.Errorf("%s is not removed: by our own DNAT rule it is the node's primary IP", p)
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
	return append(changes, giveUp(static, o)...), unchanged, nil
}

func removeStrays(o Observed) (changes []Change) {
	for _, b := range slices.Sorted(maps.Keys(o.Strays)) {
		if s := o.Strays[b]; !s.Empty() {
			changes = append(changes, SetRules{b, s, RuleSet{}})
		}
	}
	return changes
}

// giveUp ends the connections of each address, and removes the address under every prefix length
// that it has.
func giveUp(list []netip.Addr, o Observed) (changes []Change) {
	for _, a := range list {
		if n := o.Translated[a]; n > 0 {
			changes = append(changes, ForgetConnections{a, n})
		}
	}
	for _, a := range list {
		for _, e := range o.Link.Find(a) {
			changes = append(changes, DeleteAddress{o.Link.Name, o.Link.Index, e.Prefix, !o.Link.Promote && o.Link.leads(e), e.Peer})
		}
	}
	return changes
}

// leads reports whether deleting e would take others with it: e is the kernel's first address of
// its subnet and the link has more.
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
