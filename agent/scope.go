package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// WithScope returns c with the default scope of a node with a public IPv4 address: private. The
// Internet gateway maps the public address to the primary IP and knows no other address of the
// node, so traffic with the static IP as its source vanishes there, AWS's public endpoints
// included:
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html
//
// Networks of --only-cidr are the operator's choice, in the scope that the operator chose.
func (c Config) WithScope(id Identity) Config {
	if len(id.Public) > 0 && len(c.Only) == 0 && !c.Given.Scope {
		c.Scope = string(netcfg.ScopePrivate)
	}
	return c
}

// CheckScope refuses a scope in which the Internet gateway drops what the node sends.
func (c Config) CheckScope(id Identity) error {
	scope := netcfg.Scope(c.Scope)
	if len(id.Public) == 0 || len(c.Only) > 0 || scope == netcfg.ScopePrivate {
		return nil
	}
	return exit.Invalid(fmt.Errorf("--snat-scope %s: this node has the public IPv4 address %s. The Internet gateway knows the primary IP only, "+
		"so that traffic with the static IP vanishes there, to AWS's public endpoints too", scope, addresses(id.Public)),
		"leave --snat-scope out: private networks alone then see the static IP; or name the networks with --only-cidr")
}

// ScopeNotes says why the scope is what it is on a node with a public address.
func (c Config) ScopeNotes(id Identity) []string {
	if len(id.Public) == 0 {
		return nil
	}
	has := fmt.Sprintf("this node has the public IPv4 address %s, and the Internet gateway knows the primary IP only: ", addresses(id.Public))
	if netcfg.Scope(c.Scope) == netcfg.ScopePrivate {
		return []string{has + "--snat-scope is private, so that private networks alone see the static IP"}
	}
	var public []string
	for _, p := range c.Only {
		if !slices.ContainsFunc(netcfg.PrivateNetworks(), func(n netip.Prefix) bool { return n.Overlaps(p) && n.Bits() <= p.Bits() }) {
			public = append(public, p.String())
		}
	}
	if len(public) == 0 {
		return nil
	}
	return []string{has + "of --only-cidr it drops traffic to " + strings.Join(public, ", ") + ", unless another way leads there"}
}

// ScopeWarning warns of exceptions that leave nothing for the static IP, or returns "".
func (c Config) ScopeWarning(id Identity) string {
	if !(netcfg.Config{Scope: netcfg.Scope(c.Scope), Only: c.Only, Exclude: c.Exclude, VPC: id.VPC}).Mute() {
		return ""
	}
	return "no connection of this node leaves with the static IP, for --exclude-cidr covers every network that --snat-scope " + c.Scope +
		" and --only-cidr leave: name fewer networks with --exclude-cidr, unless others only connect to the static IP"
}

// addresses lists addresses in messages.
func addresses(list []netip.Addr) string {
	var texts []string
	for _, a := range list {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}
