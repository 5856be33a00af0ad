package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A router is the VPC: the network between EC2's interfaces. One cable leads to each ENI. The
// router forwards packets as EC2 does:
//
//   - It delivers packets to the ENI that has their address in EC2, by the ENI's MAC, whether or
//     not the node answers ARP for the address. It drops packets to an address that no ENI has.
//   - It drops a packet whose source address is not on the sending ENI (source/destination check).
//     Strict reverse-path filtering does this: the only route to an address leads to its ENI.
//   - In a public subnet it drops a packet for the Internet whose source is not the primary IP of a
//     node (Internet gateway). Gateways can be detached: see [Lab.SetGateway].
//   - It answers ARP for the gateway and for all neighbours.
//
// So a node cannot use an address that EC2 has not assigned to it.
type router struct {
	*namespace
	plan Plan
	log  func(node, text string)

	mu       sync.Mutex
	ports    map[string]port       // by ENI id
	routes   map[netip.Addr]string // address -> id of the ENI that gets its packets
	detached map[Gateway]bool
	made     int // number of ports so far, so that names are unique
}

// port is the router's end of an ENI's cable.
type port struct {
	Port
	node   string // for messages
	device string // the router's link
}

func newRouter(ctx context.Context, plan Plan, log func(node, text string)) (*router, error) {
	ns, err := newNamespace(ctx, "vpc-router", nil)
	if err != nil {
		return nil, err
	}
	r := &router{namespace: ns, plan: plan, log: log, ports: map[string]port{}, detached: map[Gateway]bool{}, routes: map[netip.Addr]string{}}
	lines := []string{
		"addr add " + plan.Gateway.String() + "/32 dev lo",
		"addr add " + metadata.String() + "/32 dev lo",
		"addr add " + plan.Witness.String() + "/32 dev lo",
	}
	for _, c := range plan.CIDRs {
		lines = append(lines, "route add blackhole "+c.String())
	}
	err = r.ip(ctx, lines...)
	for _, s := range [][2]string{
		{"ipv4/ip_forward", "1"},
		{"ipv4/conf/all/rp_filter", "0"}, // the kernel uses the larger of this and the link's own setting
		{"ipv4/conf/all/send_redirects", "0"},
		{"ipv4/conf/default/send_redirects", "0"},
		{"ipv6/conf/all/disable_ipv6", "1"},
		{"ipv6/conf/default/disable_ipv6", "1"},
	} {
		if err == nil && (!strings.HasPrefix(s[0], "ipv6") || r.hasIPv6()) {
			err = r.setting(s[0], s[1])
		}
	}
	if err != nil {
		ns.close()
		return nil, fmt.Errorf("building the VPC router: %w", err)
	}
	return r, nil
}

// plug connects an ENI to the router. Its link on the node is named link. The router delivers
// nothing yet.
func (r *router) plug(ctx context.Context, node *namespace, link string, p Port) (device string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made++
	device = "eni" + strconv.Itoa(r.made)
	if err := cable(ctx, r.namespace, device, node, link, p.MAC); err != nil {
		return "", err
	}
	for _, s := range [][2]string{
		{"ipv4/conf/" + device + "/rp_filter", "1"},
		{"ipv4/conf/" + device + "/proxy_arp", "1"},
		{"ipv4/neigh/" + device + "/proxy_delay", "0"},
	} {
		if err := r.setting(s[0], s[1]); err != nil {
			return "", err
		}
	}
	r.ports[p.ENI] = port{Port: p, node: node.name, device: device}
	if r.plan.Public {
		return device, r.loadGateways(ctx)
	}
	return device, nil
}

// sync makes the router deliver addresses according to the current state of EC2.
func (r *router) sync(ctx context.Context, fabric Fabric) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted := map[netip.Addr]string{}
	for _, i := range fabric.Interfaces() { // read with the lock held, so that an older state never follows a newer one
		if _, plugged := r.ports[i.ID]; !plugged {
			continue
		}
		for _, a := range i.Addresses {
			if other, twice := wanted[a]; twice {
				return fmt.Errorf("the cloud model has %s on two interfaces: %s and %s", a, other, i.ID)
			}
			wanted[a] = i.ID
		}
	}
	var batch []string
	for _, a := range ordered(r.routes) {
		if eni := r.routes[a]; wanted[a] != eni {
			p := r.ports[eni]
			batch = append(batch, fmt.Sprintf("route del %s/32 dev %s", a, p.device), fmt.Sprintf("neigh del %s dev %s", a, p.device))
			r.log(p.node, fmt.Sprintf("EC2 took %s away from %s", a, eni))
		}
	}
	for _, a := range ordered(wanted) {
		if eni := wanted[a]; r.routes[a] != eni {
			p := r.ports[eni]
			batch = append(batch, fmt.Sprintf("neigh replace %s lladdr %s nud permanent dev %s", a, p.MAC, p.device),
				fmt.Sprintf("route replace %s/32 dev %s", a, p.device))
			if a != p.Address {
				r.log(p.node, fmt.Sprintf("EC2 assigned %s to %s; the VPC delivers it there", a, eni))
			}
		}
	}
	if err := r.ip(ctx, batch...); err != nil {
		return fmt.Errorf("following EC2's addresses: %w", err)
	}
	r.routes = wanted
	return nil
}

// unplug forgets a cable. The kernel removes the cable and its routes with the node's namespace.
func (r *router) unplug(device string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for eni, p := range r.ports {
		if p.device == device {
			delete(r.ports, eni)
			maps.DeleteFunc(r.routes, func(_ netip.Addr, holder string) bool { return holder == eni })
		}
	}
}

// spoofed returns the number of packets dropped because their source address was not on the sending
// ENI.
func (r *router) spoofed(ctx context.Context) (int, error) {
	out, err := r.output(ctx, command{path: "cat", args: []string{"/proc/net/netstat"}})
	if err != nil {
		return 0, err
	}
	lines := strings.Split(string(out), "\n")
	for i := 0; i+1 < len(lines); i += 2 { // a line of names, then a line of values
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if at := slices.Index(names, "IPReversePathFilter"); at >= 0 && at < len(values) {
			return strconv.Atoi(values[at])
		}
	}
	return 0, errors.New("counting dropped packets of the VPC router: the kernel does not say")
}

// ordered returns the keys of m, sorted.
func ordered[V any](m map[netip.Addr]V) []netip.Addr {
	keys := make([]netip.Addr, 0, len(m))
	for a := range m {
		keys = append(keys, a)
	}
	slices.SortFunc(keys, netip.Addr.Compare)
	return keys
}

// listenOn opens a listener of the router that only the node at one ENI can reach.
func (r *router) listenOn(ctx context.Context, device string, at netip.AddrPort) (net.Listener, error) {
	return r.listen(ctx, at.String(), device)
}
