package lab

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A firewall stands between the VPC and the data centre. It is real netfilter and drops everything
// that it does not admit.
//
//	*filter
//	:FORWARD DROP
//	-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
//
// For each admitted static IP:
//
//	-A FORWARD -s STATIC -d SERVER -i vpc -o onprem -p tcp -m multiport --dports 80,8020 -j ACCEPT
//
// The data centre may connect to nodes:
//
//	-A FORWARD -s SERVER -i onprem -o vpc -p tcp --dport 9866 -j ACCEPT
//
// For each watched source, to count its dropped packets:
//
//	-A FORWARD -s ADDRESS -i vpc -j DROP
type firewall struct {
	*namespace
	plan Plan

	mu       sync.Mutex
	admitted []netip.Addr
	watched  []netip.Addr
}

// newFirewall connects the data centre's namespace to the router through a firewall that admits the
// given addresses.
func newFirewall(ctx context.Context, plan Plan, r *router, server *namespace, admitted []netip.Addr) (*firewall, error) {
	ns, err := newNamespace(ctx, "firewall", nil)
	if err != nil {
		return nil, err
	}
	f := &firewall{namespace: ns, plan: plan, admitted: admitted}
	if err := f.connect(ctx, r, server); err != nil {
		ns.close()
		return nil, fmt.Errorf("building the firewall: %w", err)
	}
	return f, nil
}

func (f *firewall) connect(ctx context.Context, r *router, server *namespace) error {
	if err := cable(ctx, r.namespace, "onprem", f.namespace, "vpc", nil); err != nil {
		return err
	}
	if err := cable(ctx, f.namespace, "onprem", server, "eth0", nil); err != nil {
		return err
	}
	if err := f.load(ctx); err != nil { // before any address, so that there is no moment without rules
		return err
	}
	gateway := f.plan.OnPrem.Addr().Next()
	lines := []string{
		"link set dev vpc up",
		fmt.Sprintf("addr add %s peer %s dev vpc", transitFirewall, transitRouter),
		fmt.Sprintf("addr add %s/%d dev onprem", gateway, f.plan.OnPrem.Bits()),
	}
	for _, c := range f.plan.CIDRs {
		lines = append(lines, fmt.Sprintf("route add %s via %s", c, transitRouter))
	}
	if err := f.ip(ctx, lines...); err != nil {
		return err
	}
	if err := f.setting("ipv4/ip_forward", "1"); err != nil {
		return err
	}
	if err := r.ip(ctx,
		fmt.Sprintf("addr add %s peer %s dev onprem", transitRouter, transitFirewall),
		fmt.Sprintf("route add %s via %s", f.plan.OnPrem, transitFirewall),
	); err != nil {
		return err
	}
	return server.ip(ctx,
		"link set dev eth0 up",
		fmt.Sprintf("addr add %s/%d dev eth0", f.plan.Server, f.plan.OnPrem.Bits()),
		fmt.Sprintf("route add default via %s", gateway),
	)
}

// admit replaces the admitted addresses.
func (f *firewall) admit(ctx context.Context, addresses []netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.admitted = slices.Clone(addresses)
	return f.load(ctx)
}

// watch counts the dropped packets with the source address a from now on.
func (f *firewall) watch(ctx context.Context, a netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Contains(f.watched, a) {
		return nil
	}
	f.watched = append(f.watched, a)
	return f.load(ctx)
}

// load replaces all rules at once.
func (f *firewall) load(ctx context.Context) error {
	var b bytes.Buffer
	b.WriteString("*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n")
	b.WriteString("-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n")
	for _, a := range f.admitted {
		fmt.Fprintf(&b, "-A FORWARD -s %s/32 -d %s/32 -i vpc -o onprem -p tcp -m multiport --dports %d,%d -j ACCEPT\n", a, f.plan.Server, httpPort, hdfsPort)
	}
	fmt.Fprintf(&b, "-A FORWARD -s %s/32 -i onprem -o vpc -p tcp -m tcp --dport %d -j ACCEPT\n", f.plan.Server, nodePort)
	for _, a := range f.watched {
		fmt.Fprintf(&b, "-A FORWARD -s %s/32 -i vpc -j DROP\n", a)
	}
	b.WriteString("COMMIT\n")
	_, err := f.output(ctx, command{path: filterTool("restore"), stdin: b.String()})
	return err
}

var droppedRule = regexp.MustCompile(`^\[(\d+):\d+\] -A FORWARD -s ([0-9.]+)/32 -i vpc -j DROP$`)

// dropped returns the number of dropped packets for each watched source since the rules last
// changed.
func (f *firewall) dropped(ctx context.Context) (map[netip.Addr]int, error) {
	out, err := f.output(ctx, command{path: filterTool("save"), args: []string{"-c", "-t", "filter"}})
	if err != nil {
		return nil, err
	}
	counts := map[netip.Addr]int{}
	for line := range strings.SplitSeq(string(out), "\n") {
		m := droppedRule.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		packets, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, fmt.Errorf("counting dropped packets in %q: %w", line, err)
		}
		source, err := netip.ParseAddr(m[2])
		if err != nil {
			return nil, fmt.Errorf("counting dropped packets in %q: %w", line, err)
		}
		counts[source] = packets
	}
	return counts, nil
}

// filterTool returns the name of the machine's iptables-restore or iptables-save, of the nft
// variant if both are installed.
func filterTool(what string) string {
	if name := "iptables-nft-" + what; nil == missing(name) {
		return name
	}
	return "iptables-" + what
}

func missing(name string) error {
	_, err := program(name)
	return err
}
