package lab

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// Snapshot returns the whole network state of a node's kernel as text: addresses, rules, routes,
// and the tables of each netfilter variant for which the machine has a program. It omits counters
// and times. Two snapshots are equal if nothing has changed.
func (n *Node) Snapshot(ctx context.Context) (string, error) {
	var b strings.Builder
	for _, c := range []command{
		{path: "ip", args: []string{"-oneline", "address", "show"}},
		{path: "ip", args: []string{"rule", "show"}},
		{path: "ip", args: []string{"-4", "route", "show", "table", "all"}},
		{path: "iptables-legacy-save", machine: true},
		{path: "iptables-nft-save", machine: true},
		{path: "nft", args: []string{"--stateless", "list", "ruleset"}, machine: true},
	} {
		if c.machine && missing(c.path) != nil {
			continue
		}
		out, err := n.ns.output(ctx, c)
		if err != nil {
			return "", fmt.Errorf("taking a snapshot of %s: %w", n.Name, err)
		}
		fmt.Fprintf(&b, "# %s %s\n%s", c.path, strings.Join(c.args, " "), volatile.ReplaceAllString(string(out), ""))
	}
	return b.String(), nil
}

// volatile matches text that changes by itself: the comments of iptables-save with time and
// counters, lifetimes, and the first second of an IPv6 address.
var volatile = regexp.MustCompile(`(?m)^# .*\n| \[\d+:\d+\]$| (valid|preferred)_lft \S+| tentative\b`)
