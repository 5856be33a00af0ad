package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// What other programs do to a node's network.

// RenewDHCP makes the primary interface anew, as a DHCP client does that knows the primary address
// only: secondary addresses are lost.
func (n *Node) RenewDHCP(ctx context.Context) error {
	if err := n.ns.ip(ctx, append([]string{"addr flush dev " + n.Link + " scope global"}, n.lease()...)...); err != nil {
		return fmt.Errorf("renewing the lease of %s: %w", n.Name, err)
	}
	return nil
}

// FlushRules deletes all rules of all variants of netfilter, as a restarted firewall does.
func (n *Node) FlushRules(ctx context.Context) error {
	tables, err := n.legacyTables()
	if err != nil {
		return fmt.Errorf("flushing the rules of %s: %w", n.Name, err)
	}
	commands := []command{{path: "nft", args: []string{"flush", "ruleset"}, machine: true}}
	for _, table := range tables {
		for _, flag := range []string{"-F", "-X"} {
			commands = append(commands, command{path: "iptables-legacy", args: []string{"-t", table, flag}, machine: true})
		}
	}
	for _, c := range commands {
		if missing(c.path) != nil {
			continue
		}
		if _, err := n.ns.output(ctx, c); err != nil {
			return fmt.Errorf("flushing the rules of %s: %w", n.Name, err)
		}
	}
	return nil
}

// legacyTables returns the tables of iptables-legacy that exist on the node. Its program makes the
// table that it looks at, so it must not be asked.
func (n *Node) legacyTables() (tables []string, err error) {
	err = n.ns.do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // the module is not loaded
			return err
		}
		tables = strings.Fields(string(text))
		return nil
	})
	return tables, err
}

// LoadIptables adds rules with the node's own iptables, in the form of iptables-save. Rules that
// exist stay.
func (n *Node) LoadIptables(ctx context.Context, rules string) error {
	_, err := n.ns.output(ctx, command{path: "iptables-restore", args: []string{"--noflush"}, stdin: rules})
	return err
}

// LoadNFT adds rules in the form of nft -f. The program is the machine's, because nodes have none.
func (n *Node) LoadNFT(ctx context.Context, rules string) error {
	_, err := n.ns.output(ctx, command{path: "nft", args: []string{"-f", "-"}, stdin: rules, machine: true})
	return err
}

// Rules returns the rules of all variants of netfilter on the node: Snapshot without addresses and
// routes.
func (n *Node) Rules(ctx context.Context) (string, error) {
	text, err := n.Snapshot(ctx)
	if err != nil {
		return "", err
	}
	for _, first := range []string{"# iptables-legacy-save", "# iptables-nft-save", "# nft"} {
		if at := strings.Index(text, first); at >= 0 {
			return text[at:], nil
		}
	}
	return "", fmt.Errorf("reading the rules of %s: this machine has neither iptables-save nor nft", n.Name)
}
