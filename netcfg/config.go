package netcfg

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Scope says which destinations see the static IP as the source.
type Scope string

// The scopes. Link-local, multicast and local destinations keep the primary IP in all of them.
const (
	ScopeExternal Scope = "external" // destinations outside every CIDR of the VPC
	ScopePrivate  Scope = "private"  // of these, the private networks only: see PrivateNetworks
	ScopeAll      Scope = "all"      // the VPC too, except for the DHCP renewal
)

// PrivateNetworks returns the networks of scope private: those of RFC 1918, and the shared address
// space of RFC 6598, which VPCs and data centres use too.
func PrivateNetworks() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
		netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	}
}

// MaxNetworks limits the networks of a configuration. All rules and sets must fit into one
// transaction, also with the kernel's default limit.
const MaxNetworks = 1000

// Config holds the facts that the wanted kernel state is made from.
type Config struct {
	MAC     net.HardwareAddr // of the primary interface, as IMDS gives it
	Primary netip.Addr       // the address EC2 gave that interface at launch
	Static  netip.Addr       // the address that the node is to use outside
	Former  []netip.Addr     // static IPs that this node had before and must not keep
	VPC     []netip.Prefix   // every IPv4 CIDR of the VPC; needed in every scope but all
	Scope   Scope            // empty: external
	Only    []netip.Prefix   // only these destinations see the static IP; empty: all in the scope
	Exclude []netip.Prefix   // these destinations never see it
}

// Validate returns every problem of c, joined.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.MAC) != 6 {
		bad("MAC address %q of the primary interface is not six bytes long", c.MAC)
	}
	unicast := func(what string, a netip.Addr) {
		switch {
		case !a.IsValid():
			bad("%s is missing", what)
		case !a.Is4() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a == broadcast.Addr():
			bad("%s %s is not an IPv4 unicast address", what, a)
		}
	}
	unicast("primary IP", c.Primary)
	unicast("static IP", c.Static)
	if c.Static.IsValid() && c.Static == c.Primary {
		bad("static IP %s is the primary IP", c.Static)
	}
	for _, f := range c.Former {
		unicast("former static IP", f)
		if f.IsValid() && (f == c.Static || f == c.Primary) {
			bad("former static IP %s is in use as the node's static or primary IP", f)
		}
	}
	networks := func(what string, list []netip.Prefix) {
		for _, p := range list {
			if !p.IsValid() || !p.Addr().Is4() {
				bad("%s %s is not an IPv4 network", what, p)
			}
		}
	}
	networks("VPC CIDR", c.VPC)
	networks("only-cidr", c.Only)
	networks("exclude-cidr", c.Exclude)
	if n := len(c.VPC) + len(c.Only) + len(c.Exclude); n > MaxNetworks {
		errs = append(errs, fmt.Errorf("%w: %d, with the VPC's own %d; at most %d are programmed", ErrTooMany, n, len(c.VPC), MaxNetworks))
	}
	switch c.scope() {
	case ScopeAll:
	case ScopeExternal, ScopePrivate:
		if len(c.VPC) == 0 {
			bad("no VPC CIDR is known, and scope %s needs all of them", c.scope())
		}
		for _, o := range c.Only {
			for _, v := range c.VPC {
				if o.IsValid() && v.IsValid() && v.Contains(o.Addr()) && v.Bits() <= o.Bits() {
					errs = append(errs, noEffect("only-cidr %s has no effect: it is inside VPC CIDR %s, which scope %s leaves alone", o, v, c.scope()))
				}
			}
			if o.IsValid() && o.Addr().Is4() && c.scope() == ScopePrivate && len(inPrivate(o)) == 0 {
				errs = append(errs, noEffect("only-cidr %s has no effect: it has no private address, and scope %s leaves others alone", o, ScopePrivate))
			}
		}
	default:
		bad("scope %q is not one of %s, %s, %s", c.Scope, ScopeExternal, ScopePrivate, ScopeAll)
	}
	return errors.Join(errs...)
}

// ineffective is an error that is ErrNoEffect and has a text of its own.
type ineffective string

func (e ineffective) Error() string      { return string(e) }
func (ineffective) Is(target error) bool { return target == ErrNoEffect }

func noEffect(format string, args ...any) error { return ineffective(fmt.Sprintf(format, args...)) }

func (c Config) scope() Scope {
	if c.Scope == "" {
		return ScopeExternal
	}
	return c.Scope
}

// targets returns the destinations that see the static IP, before exceptions. An empty list means
// all.
func (c Config) targets() []netip.Prefix {
	switch {
	case c.scope() != ScopePrivate:
		return sorted(c.Only)
	case len(c.Only) == 0:
		return PrivateNetworks()
	}
	var list []netip.Prefix
	for _, o := range c.Only {
		list = append(list, inPrivate(o)...)
	}
	return sorted(list)
}

// Mute reports whether the exceptions cover every destination, so that no connection of the node
// leaves with the static IP. The rules of a mute Config serve connections to the static IP alone.
func (c Config) Mute() bool {
	left := c.targets()
	if len(left) == 0 {
		left = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	}
	except := slices.Clone(c.Exclude)
	if c.scope() != ScopeAll {
		except = append(except, c.VPC...)
	}
	return !slices.ContainsFunc(left, func(p netip.Prefix) bool {
		return !slices.ContainsFunc(except, func(e netip.Prefix) bool { return e.Bits() <= p.Bits() && e.Contains(p.Addr()) })
	})
}

// inPrivate returns the parts of a network that are private.
func inPrivate(o netip.Prefix) []netip.Prefix {
	var parts []netip.Prefix
	for _, p := range PrivateNetworks() {
		switch {
		case !p.Overlaps(o):
		case p.Bits() > o.Bits():
			parts = append(parts, p)
		default:
			parts = append(parts, o)
		}
	}
	return parts
}

// sorted returns the networks masked, the large ones first, without those that are inside another
// one. IMDS does not promise an order, and another order would look like drift.
func sorted(list []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(list))
	for _, p := range list {
		out = append(out, p.Masked())
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		if n := a.Addr().Compare(b.Addr()); n != 0 {
			return n
		}
		return a.Bits() - b.Bits()
	})
	kept := out[:0]
	for _, p := range out { // a network comes right before what is inside it
		if len(kept) == 0 || !kept[len(kept)-1].Overlaps(p) {
			kept = append(kept, p)
		}
	}
	slices.SortStableFunc(kept, func(a, b netip.Prefix) int { return a.Bits() - b.Bits() })
	return kept
}
