package netcfg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
)

// Route is how the kernel sends what nobody has bound to an address.
type Route struct {
	Link   string     // by which it leaves
	Source netip.Addr // the source address, before any translation
}

// Route asks the kernel for the way to an address. The routing policy counts (ip rule). The zero
// Route means that there is no way, or that it ends on this node, in its containers.
func (h *host) Route(_ context.Context, to netip.Addr) (Route, error) {
	list, err := netlink.RouteGet(net.IP(to.AsSlice()))
	for _, none := range []error{syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EACCES, syscall.EINVAL} {
		if errors.Is(err, none) { // no route, or one of type unreachable, prohibit or blackhole
			return Route{}, nil
		}
	}
	if err != nil || len(list) == 0 {
		return Route{}, errors.Join(fmt.Errorf("asking for the route to %s", to), err)
	}
	source, _ := netip.AddrFromSlice(list[0].Src.To4())
	link, err := netlink.LinkByIndex(list[0].LinkIndex)
	if err != nil {
		return Route{}, fmt.Errorf("finding the link of the route to %s: %w", to, err)
	}
	if link.Type() == "bridge" { // of containers or virtual machines of this node
		return Route{}, nil
	}
	return Route{Link: link.Attrs().Name, Source: source}, nil
}

// outside are networks that many nodes of this program connect to: a data centre's, and the
// Internet (in 203.0.113.0/24, of RFC 5737, nobody answers, and nothing is sent there).
var outside = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("203.0.113.0/24"),
}

// maxSamples limits the addresses whose routes are looked up.
const maxSamples = 16

// Samples returns a few addresses, at most one in each network, that see the static IP.
func (c Config) Samples() (list []netip.Addr) {
	networks := outside
	if len(c.Only) > 0 {
		networks = c.Only
	}
	for _, n := range networks {
		a := n.Masked().Addr()
		if n.Bits() < 31 {
			a = a.Next()
		}
		for c.within(a) && n.Contains(a) { // the next address outside this network of the VPC
			a = c.beyond(a)
		}
		if n.Contains(a) && c.Translates(a) && !slices.Contains(list, a) && len(list) < maxSamples {
			list = append(list, a)
		}
	}
	return list
}

// within reports whether the VPC has the address.
func (c Config) within(a netip.Addr) bool {
	return slices.ContainsFunc(c.VPC, func(v netip.Prefix) bool { return v.Contains(a) })
}

// beyond returns the first host address after the networks of the VPC that have a.
func (c Config) beyond(a netip.Addr) netip.Addr {
	for _, v := range c.VPC {
		for v.Contains(a) {
			b := v.Masked().Addr().As4()
			n := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
			n = min(n+uint64(1)<<(32-v.Bits())+1, 1<<32-1)
			a = netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
			if n == 1<<32-1 {
				return a
			}
		}
	}
	return a
}

// WayOut is what the node's routes make of the static IP.
type WayOut struct {
	// None is set if no sample leaves by the primary interface, and some leave by others: nothing
	// has the static IP as its source.
	None bool
	// Notes are for people. They have no remedy.
	Notes []string
}

// FindWayOut asks the kernel for routes to a few addresses that are to see the static IP on the
// link, and to the VPC. It changes and sends nothing.
func FindWayOut(ctx context.Context, k Kernel, c Config, link string) (WayOut, error) {
	var out WayOut
	by := map[string][]netip.Addr{}
	var links []string
	for _, a := range c.Samples() {
		r, err := k.Route(ctx, a)
		switch {
		case err != nil:
			return WayOut{}, err
		case r.Link == "":
			continue
		case by[r.Link] == nil:
			links = append(links, r.Link)
		}
		by[r.Link] = append(by[r.Link], a)
	}
	out.None = len(links) > 0 && by[link] == nil
	for _, l := range links {
		if l == link {
			continue
		}
		out.Notes = append(out.Notes, fmt.Sprintf("traffic to %s leaves by %s and not by the primary interface %s, so it does not get the static IP: see ip route get %s and ip rule",
			join(by[l]), l, link, by[l][0]))
	}
	if c.scope() == ScopeAll {
		return out, nil
	}
	for _, v := range c.VPC { // the first address is the network's own; the kernel has a route for it too
		r, err := k.Route(ctx, v.Masked().Addr().Next().Next())
		if err != nil {
			return WayOut{}, err
		}
		if r.Link == link && r.Source == c.Static {
			out.Notes = append(out.Notes, fmt.Sprintf("the kernel uses the static IP %s as its source towards the VPC, where it should use the primary IP %s: "+
				"the static IP is the first address of its subnet on %s (ip -4 addr show %[3]s), or a route names it (ip route get %[4]s)",
				c.Static, c.Primary, link, v.Masked().Addr().Next().Next()))
			break
		}
	}
	return out, nil
}

func join(list []netip.Addr) (text string) {
	for i, a := range list {
		if i > 0 {
			text += ", "
		}
		text += a.String()
	}
	return text
}
