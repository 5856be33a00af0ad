package netcfg

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// ErrNoLink means that no link of this node has the wanted MAC address.
var ErrNoLink = errors.New("no link has this MAC address")

// ErrManyLinks means that several real devices of this node have the wanted MAC address.
var ErrManyLinks = errors.New("several links have this MAC address")

// Address is an IPv4 address of a link.
type Address struct {
	Prefix netip.Prefix // the address itself, not masked, with its prefix length
	// Secondary is the kernel's flag for an address of a subnet in which the link had another one
	// earlier. It says nothing about EC2's primary and secondary addresses: after a reboot either
	// can come first.
	Secondary bool
	Peer      netip.Prefix // of a point-to-point address; mostly invalid
}

// String returns the address as `ip addr` takes it.
func (a Address) String() string {
	if a.Peer.IsValid() {
		return a.Prefix.Addr().String() + " peer " + a.Peer.String()
	}
	return a.Prefix.String()
}

// Link is a network interface of this node.
type Link struct {
	Name       string
	Index      int
	MAC        net.HardwareAddr
	Kind       string // as in `ip -d link`: veth, bridge, vlan, ...; "device" for a real one
	Master     string // the bridge, bond or team that it is a port of; mostly empty
	MasterKind string
	Down       bool // it is switched off
	Promote    bool // promote_secondaries is on: deleting an address never takes others with it
	Addrs      []Address
}

// Find returns the link's entries for an address, with whatever prefix length.
func (l Link) Find(a netip.Addr) (entries []Address) {
	for _, e := range l.Addrs {
		if e.Prefix.Addr() == a {
			entries = append(entries, e)
		}
	}
	return entries
}

// bonded reports whether a bond or team has the link's addresses instead of the link itself.
func (l Link) bonded() bool { return l.MasterKind == "bond" || l.MasterKind == "team" }

// Observed is what the kernel holds now.
type Observed struct {
	Link    Link   // the primary interface, found by its MAC address
	Others  []Link // all other links
	Backend Backend
	Rules   RuleSet             // in the backend in use
	Strays  map[Backend]RuleSet // ours in the other backends, from an earlier choice; not empty

	// Before are chains of others that change the source of packets and come before our rules, or
	// may come before them: among chains of one priority the kernel does not show the order.
	Before []NATChain
	// Dormant is set if the table with our rules is switched off: none of its chains has an effect.
	Dormant bool
	// Unusable is why the backend in use cannot hold rules now. Rules then has what could be read.
	Unusable error
	// Unread is why it is not known whether a backend holds rules of ours.
	Unread error

	Conntrack  Conntrack
	Translated map[netip.Addr]int // connections, by the given-up address that they are translated to
	Notes      []string           // what could not be read, and does no harm
}

// Without returns what is left of o when the changes of PlanRemoval have been made. It serves a
// plan of what comes after a removal.
func (o Observed) Without(static []netip.Addr) Observed {
	o.Rules, o.Strays, o.Translated = RuleSet{}, nil, nil
	o.Link.Addrs = slices.DeleteFunc(slices.Clone(o.Link.Addrs), func(a Address) bool { return slices.Contains(static, a.Prefix.Addr()) })
	return o
}

// kindsOnTop are links that sit on top of another one and may inherit its MAC address.
var kindsOnTop = []string{"bridge", "vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "openvswitch", "vxlan"}

// FindLink chooses the real device among links that carry the MAC address. A bridge, VLAN or the
// like on top of it inherits the address, and so does a bond from its first port. Several real
// devices with one address are an error.
func FindLink(links []Link, mac net.HardwareAddr) (found Link, others []Link, err error) {
	var names []string
	for _, l := range links {
		if len(mac) > 0 && bytes.Equal(l.MAC, mac) && !l.bonded() && !slices.Contains(kindsOnTop, l.Kind) {
			found = l
			names = append(names, l.Name)
			continue
		}
		others = append(others, l)
	}
	switch len(names) {
	case 0:
		var all []string
		for _, l := range links {
			all = append(all, fmt.Sprintf("%s (%s, %s)", l.Name, l.Kind, l.MAC))
		}
		return Link{}, nil, fmt.Errorf("finding the primary interface %s among %s: %w", mac, strings.Join(all, ", "), ErrNoLink)
	case 1:
		return found, others, nil
	default:
		return Link{}, nil, fmt.Errorf("finding the primary interface %s: %w: %s", mac, ErrManyLinks, strings.Join(names, ", "))
	}
}
