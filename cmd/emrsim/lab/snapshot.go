package lab

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// Snapshot is the whole network state of a node's kernel as text: addresses, rules and routes, and netfilter's tables of each
// variant that the machine has a program for. Two snapshots are equal when nothing has changed; counters and times are left out.
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

// volatile matches what changes on its own: the comments with the time and the counters that iptables-save prints, and the second in which
// an IPv6 address is looked for on the link.
var volatile = regexp.MustCompile(`(?m)^# .*\n| \[\d+:\d+\]$| (valid|preferred)_lft \S+| tentative\b`)
