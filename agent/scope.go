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
//
// A scope that the operator asked for, now or in the last run, stays. Any other is derived anew:
// the public address may be gone, or new.
func (c Config) WithScope(id Identity) Config {
	switch {
	case c.Given.Scope:
	case len(id.Public) > 0 && len(c.Only) == 0:
		c.Scope = string(netcfg.ScopePrivate)
	default:
		c.Scope = DefaultScope
	}
	return c
}

// scopeAsked reports whether the operator asked for the scope of the last run. A file of an older
// version does not say. Then the default counts as derived, and another scope as asked for: a
// private one may be the operator's will, and the wider one would let networks see the static IP
// that should not.
func scopeAsked(last Settings) bool {
	if last.ScopeFrom == "" {
		return last.Scope != DefaultScope
	}
	return last.ScopeFrom == ScopeAsked
}

// DerivedPrivate reports whether the last run made its scope private because the node had a public
// IPv4 address.
func DerivedPrivate(last Settings) bool {
	return netcfg.Scope(last.Scope) == netcfg.ScopePrivate && !scopeAsked(last)
}

// PublicGone is the note on a node whose scope was derived from a public address that it has no
// more.
func PublicGone(last Settings) string {
	return fmt.Sprintf("--snat-scope is %s (derived: the node had a public IPv4 address). It has none now: the next run of emr-static-ip makes the scope %s",
		last.Scope, DefaultScope)
}

// CheckScope refuses a scope in which the Internet gateway drops what the node sends.
func (c Config) CheckScope(id Identity) error {
	scope := netcfg.Scope(c.Scope)
	if len(id.Public) == 0 || len(c.Only) > 0 || scope == netcfg.ScopePrivate {
		return nil
	}
	return exit.Invalid(fmt.Errorf("--snat-scope %s: this node has the public IPv4 address %s. The Internet gateway knows the primary IP only, "+
		"so that traffic with the static IP vanishes there, to AWS's public endpoints too", scope, addresses(id.Public)),
		"leave --snat-scope out, or use --snat-scope private where the last run had another: private networks alone then see the static IP; or name the networks with --only-cidr")
}

// ScopeNotes says why the scope is what it is on a node with a public address.
func (c Config) ScopeNotes(id Identity) []string {
	if len(id.Public) == 0 {
		return nil
	}
	has := fmt.Sprintf("this node has the public IPv4 address %s, and the Internet gateway knows the primary IP only: ", addresses(id.Public))
	if netcfg.Scope(c.Scope) == netcfg.ScopePrivate {
		why := ""
		if !c.Given.Scope {
			why = " (derived: the node has a public IPv4 address)"
		}
		return []string{has + "--snat-scope is private" + why + ", so that private networks alone see the static IP"}
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
	// Without exceptions the networks of --only-cidr are at fault, which are refused.
	if len(c.Exclude) == 0 || !(netcfg.Config{Scope: netcfg.Scope(c.Scope), Only: c.Only, Exclude: c.Exclude, VPC: id.VPC}).Mute() {
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
