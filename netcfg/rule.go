package netcfg

import (
	"net/netip"
	"strings"
)

// Names that mark what is ours. Nothing else in the kernel's tables is touched.
const (
	Tag      = "emr-static-ip"     // comment of our rules, name of the native nftables table
	ChainIn  = "EMR-STATIC-IP-IN"  // jumped to from PREROUTING and OUTPUT
	ChainOut = "EMR-STATIC-IP-OUT" // jumped to from POSTROUTING, in first place; native: hooked in
)

// ownPrefix begins the names of all our chains.
const ownPrefix = "EMR-STATIC-IP-"

// ownChain reports whether the name is that of one of our chains. A chain of somebody else's that
// merely begins like ours is not. The third name is of versions up to 1.0, which kept notes in it.
// See For about the numbered chains.
func ownChain(name string) bool {
	return name == ChainIn || name == ChainOut || name == ownPrefix+"NEW" || isBranch(name)
}

// The built-in chains that jump to ours.
const (
	preRouting  = "PREROUTING"
	output      = "OUTPUT"
	postRouting = "POSTROUTING"
)

// Action is what a rule does with a packet that it matches.
type Action string

// The actions that occur in our chains.
const (
	Return Action = "RETURN" // our chain leaves the packet alone
	DNAT   Action = "DNAT"
	SNAT   Action = "SNAT"
)

// Rule is one rule of our chains, in the words that all backends share. The zero value of a match
// field matches everything. Rules are compared with ==.
type Rule struct {
	NotSource   netip.Prefix // the source is not in here
	Destination netip.Prefix
	Out         string // the packet leaves by this link
	NotOut      string // the packet leaves by another link
	MidStream   bool   // TCP, and not the first packet of a connection
	DHCPRenewal bool   // UDP, from port 68 to port 67
	SourceHere  bool   // the source is an address of the very link by which the packet leaves
	Action      Action
	Goto        bool       // Action is a chain, and its end is the end of this one: see For
	To          netip.Addr // the new address, for DNAT and SNAT

	Comment bool // it has the comment Tag; iptables only

	set networkSet // native nftables only, in place of Destination: see groups

	Unknown string // the text of a rule that the tool never writes: always a difference
}

// flagsMask and flagsSYN are how TCP marks the first packet of a connection, in the words of
// iptables: of these flags, SYN alone is set.
const flagsMask, flagsSYN = "FIN,SYN,RST,ACK", "SYN"

// String returns the rule's arguments in the order in which `iptables -S` prints them.
func (r Rule) String() string {
	if r.Unknown != "" {
		return r.Unknown
	}
	var b strings.Builder
	if r.NotSource.IsValid() {
		b.WriteString("! -s " + r.NotSource.String() + " ")
	}
	if r.Destination.IsValid() {
		b.WriteString("-d " + r.Destination.String() + " ")
	}
	if r.Out != "" {
		b.WriteString("-o " + r.Out + " ")
	}
	if r.NotOut != "" {
		b.WriteString("! -o " + r.NotOut + " ")
	}
	if r.MidStream {
		b.WriteString("-p tcp -m tcp ! --tcp-flags " + flagsMask + " " + flagsSYN + " ")
	}
	if r.DHCPRenewal {
		b.WriteString("-p udp -m udp --sport 68 --dport 67 ")
	}
	if r.SourceHere {
		b.WriteString("-m addrtype --src-type LOCAL --limit-iface-out ")
	}
	if r.Comment {
		b.WriteString("-m comment --comment " + Tag + " ")
	}
	verb := "-j "
	if r.Goto {
		verb = "-g "
	}
	b.WriteString(verb + string(r.Action))
	switch r.Action {
	case DNAT:
		b.WriteString(" --to-destination " + r.To.String())
	case SNAT:
		b.WriteString(" --to-source " + r.To.String())
	}
	return b.String()
}

// hiddenRule begins the Unknown of a rule of which only the handle could be read.
const hiddenRule = "(rule handle "

// Hidden reports whether only the handle of the rule could be read: it may be any rule, also the
// wanted one.
func (r Rule) Hidden() bool { return strings.HasPrefix(r.Unknown, hiddenRule) }
