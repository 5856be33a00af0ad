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

// ErrNoLink says that no link of this node has the wanted MAC address.
var ErrNoLink = errors.New("no link has this MAC address")

// Address is an IPv4 address of a link.
type Address struct {
	Prefix netip.Prefix // the address itself, not masked, with its prefix length
	// Secondary is the kernel's flag for an address of a subnet in which the link had another one earlier. It says nothing
	// about EC2's primary and secondary addresses: after a reboot either can come first.
	Secondary bool
}

// Link is a network interface of this node.
type Link struct {
	Name    string
	Index   int
	MAC     net.HardwareAddr
	Kind    string // as in `ip -d link`: veth, bridge, vlan, ...; "device" for a real one
	Bonded  bool   // enslaved to a bond or team, which then has the address
	Promote bool   // promote_secondaries is on: deleting an address never takes others with it
	Addrs   []Address
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

// Observed is what the kernel holds now.
type Observed struct {
	Link    Link   // the primary interface, found by its MAC address
	Others  []Link // all other links
	Backend Backend
	Rules   RuleSet             // in the back end in use
	Strays  map[Backend]RuleSet // rules of ours in the other back ends: left by an earlier choice; never empty sets
	Notes   []string            // what could not be looked at, and does no harm
}

// kindsOnTop are links that sit on top of another one and may inherit its MAC address.
var kindsOnTop = []string{"bridge", "vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "openvswitch", "vxlan"}

// FindLink chooses the real device among links that carry the MAC address: a bridge, VLAN or the like on top of it inherits the
// address, and so does a bond from its first slave. Several real devices with one address are an error.
func FindLink(links []Link, mac net.HardwareAddr) (found Link, others []Link, err error) {
	var names []string
	for _, l := range links {
		if len(mac) > 0 && bytes.Equal(l.MAC, mac) && !l.Bonded && !slices.Contains(kindsOnTop, l.Kind) {
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
		return Link{}, nil, fmt.Errorf("finding the primary interface: MAC address %s is carried by several links: %s", mac, strings.Join(names, ", "))
	}
}
