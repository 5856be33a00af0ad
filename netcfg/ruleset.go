package netcfg

import (
	"fmt"
	"net/netip"
	"slices"
)

// Backend is a place in the kernel that can hold our rules.
type Backend string

// The back ends. The first two are the two variants of the iptables program; they fill different tables
// of the kernel, and neither sees the other's.
const (
	IptablesLegacy Backend = "iptables-legacy"
	IptablesNFT    Backend = "iptables-nft"
	Nftables       Backend = "nftables" // our own table, over netlink, no program needed
)

// Chain is one of our own chains.
type Chain struct {
	Name  string
	Rules []Rule
}

// Jump is a rule of a chain that is not ours and sends packets to one that is.
type Jump struct {
	Chain    string // the chain that holds the jump
	Position int    // in that chain, from 1
	To       string // the chain of ours
	Text     string // the rule's arguments, in the words of iptables
}

// RuleSet is what one back end holds of ours.
type RuleSet struct {
	Chains []Chain  // sorted by name
	Jumps  []Jump   // in the order of the chains that hold them
	Extra  []string // native nftables only: what is in our table and never made by us; always a difference
	// Built lists what exists of table nat itself: TABLE and the names of its built-in chains; iptables-nft only. It makes
	// them when they are first used, the legacy variant has them all as soon as the table is there.
	Built []string
}

// Empty says that the back end holds nothing of ours.
func (s RuleSet) Empty() bool { return len(s.Chains) == 0 && len(s.Jumps) == 0 && len(s.Extra) == 0 }

// Static is the address that the rules translate to, on the way out.
func (s RuleSet) Static() (netip.Addr, bool) { return s.target(SNAT) }

// Primary is the address that the rules translate to, on the way in.
func (s RuleSet) Primary() (netip.Addr, bool) { return s.target(DNAT) }

func (s RuleSet) target(a Action) (netip.Addr, bool) {
	for _, c := range s.Chains {
		for _, r := range c.Rules {
			if r.Action == a {
				return r.To, true
			}
		}
	}
	return netip.Addr{}, false
}

// chain returns the chain called name and whether it exists.
func (s RuleSet) chain(name string) ([]Rule, bool) {
	for _, c := range s.Chains {
		if c.Name == name {
			return c.Rules, true
		}
	}
	return nil, false
}

// jumpText is how our own jumps to a chain are written.
func jumpText(to string) string { return "-m comment --comment " + Tag + " -j " + to }

var linkLocal = netip.MustParsePrefix("169.254.0.0/16") // IMDS, DNS, time
var multicast = netip.MustParsePrefix("224.0.0.0/4")
var broadcast = netip.MustParsePrefix("255.255.255.255/32")

// Desired is the wanted rule set for a node whose primary interface is called link. For a node 10.0.1.5 with
// static IP 10.0.1.20 on eth0, in VPC 10.0.0.0/16:
//
//	-A PREROUTING  -j EMR-STATIC-IP-IN
//	-A OUTPUT      -j EMR-STATIC-IP-IN
//	-I POSTROUTING -j EMR-STATIC-IP-OUT     (first: Docker's MASQUERADE would otherwise win)
//
//	-A EMR-STATIC-IP-IN  -d 10.0.1.20/32 -j DNAT --to-destination 10.0.1.5
//
//	-A EMR-STATIC-IP-OUT -d 169.254.0.0/16 -j RETURN
//	-A EMR-STATIC-IP-OUT -d 224.0.0.0/4 -j RETURN
//	-A EMR-STATIC-IP-OUT -d 255.255.255.255/32 -j RETURN
//	-A EMR-STATIC-IP-OUT -d 10.0.0.0/16 -j RETURN                  one for each VPC CIDR; scope external only
//	-A EMR-STATIC-IP-OUT -d 192.0.2.0/24 -j RETURN                 one for each excluded network
//	-A EMR-STATIC-IP-OUT -p udp --sport 68 --dport 67 -j RETURN    scope all only
//	-A EMR-STATIC-IP-OUT -m addrtype --dst-type LOCAL -j RETURN
//	-A EMR-STATIC-IP-OUT ! -s 10.0.1.5/32 -m addrtype --src-type LOCAL --limit-iface-out -j RETURN
//	-A EMR-STATIC-IP-OUT -o eth0 -j SNAT --to-source 10.0.1.20     with only-cidr: one for each, with -d
//
// Every rule carries the comment emr-static-ip. No rule matches on the primary IP as the source, so that
// packets forwarded from containers are translated too. The last but one leaves alone what was sent from another
// address of the same interface: whoever bound a socket to such an address, or to the static IP, meant it.
//
// The jumps to the IN chain have no fixed place. Where a container's published port is translated before them, the
// port is the container's on the static IP as it is on the primary one.
func (c Config) Desired(link string) RuleSet {
	leave := func(list []netip.Prefix) (rules []Rule) {
		for _, p := range sorted(list) {
			rules = append(rules, Rule{Destination: destination(p), Action: Return})
		}
		return rules
	}
	out := leave([]netip.Prefix{linkLocal, multicast, broadcast})
	if c.scope() == ScopeExternal {
		out = append(out, leave(c.VPC)...)
	}
	out = append(out, leave(c.Exclude)...)
	if c.scope() == ScopeAll {
		out = append(out, Rule{DHCPRenewal: true, Action: Return})
	}
	out = append(out,
		Rule{DestHere: true, Action: Return},
		Rule{NotSource: netip.PrefixFrom(c.Primary, 32), SourceHere: true, Action: Return})
	if len(c.Only) == 0 {
		out = append(out, Rule{Out: link, Action: SNAT, To: c.Static})
	}
	for _, p := range sorted(c.Only) {
		out = append(out, Rule{Destination: destination(p), Out: link, Action: SNAT, To: c.Static})
	}
	return RuleSet{
		Chains: []Chain{
			{ChainIn, []Rule{{Destination: netip.PrefixFrom(c.Static, 32), Action: DNAT, To: c.Primary}}},
			{ChainOut, out},
		},
		Jumps: []Jump{
			{preRouting, 0, ChainIn, jumpText(ChainIn)},
			{output, 0, ChainIn, jumpText(ChainIn)},
			{postRouting, 1, ChainOut, jumpText(ChainOut)},
		},
	}
}

// destination is p as a match: the zero value stands for every destination, because no back end keeps a match on 0.0.0.0/0.
func destination(p netip.Prefix) netip.Prefix {
	if p.Bits() == 0 {
		return netip.Prefix{}
	}
	return p
}

// satisfies says whether the jump is in place where want asks for one: position 0 means anywhere.
func (j Jump) satisfies(want Jump) bool {
	return j.Chain == want.Chain && j.To == want.To && j.Text == want.Text && (want.Position == 0 || j.Position == want.Position)
}

// Differences lists what has to be added (+) and taken away (-) to get from s to want, in the words of iptables, and
// counts the chains and jumps that are as wanted. Order inside a chain matters; a chain whose rules are there in another
// order is listed as a whole.
func (s RuleSet) Differences(want RuleSet) (lines []string, same int) {
	for _, w := range want.Chains {
		have, ok := s.chain(w.Name)
		if ok && slices.Equal(have, w.Rules) {
			same++
			continue
		}
		if !ok {
			lines = append(lines, "+ -N "+w.Name)
		}
		gone, fresh := without(have, w.Rules), without(w.Rules, have)
		if len(gone) == 0 && len(fresh) == 0 {
			gone, fresh = have, w.Rules
		}
		for _, r := range gone {
			lines = append(lines, fmt.Sprintf("- -A %s %s", w.Name, r))
		}
		for _, r := range fresh {
			lines = append(lines, fmt.Sprintf("+ -A %s %s", w.Name, r))
		}
	}
	for _, h := range s.Chains {
		if _, wanted := want.chain(h.Name); !wanted && h.Name != ChainNew {
			for _, r := range h.Rules {
				lines = append(lines, fmt.Sprintf("- -A %s %s", h.Name, r))
			}
			lines = append(lines, "- -N "+h.Name)
		}
	}
	missing, surplus := s.jumpsAgainst(want)
	for _, j := range surplus {
		lines = append(lines, fmt.Sprintf("- -A %s %s (place %d)", j.Chain, j.Text, j.Position))
	}
	for _, j := range missing {
		lines = append(lines, fmt.Sprintf("+ -A %s %s", j.Chain, j.Text))
	}
	for _, x := range s.Extra {
		lines = append(lines, "- "+x)
	}
	return lines, same + len(want.Jumps) - len(missing)
}

// jumpsAgainst returns the jumps of want that are not in place in s, and those of s that want has no use for: of two
// equal ones the second.
func (s RuleSet) jumpsAgainst(want RuleSet) (missing, surplus []Jump) {
	used := make([]bool, len(s.Jumps))
	for _, w := range want.Jumps {
		i := -1
		for k, h := range s.Jumps {
			if !used[k] && h.satisfies(w) {
				i = k
				break
			}
		}
		if i < 0 {
			missing = append(missing, w)
			continue
		}
		used[i] = true
	}
	for k, h := range s.Jumps {
		if !used[k] {
			surplus = append(surplus, h)
		}
	}
	return missing, surplus
}

// JumpEdits are the jumps that a transaction deletes, and those that it then makes. In a chain where anything differs all of
// ours are deleted and the wanted one is made anew: so whatever two runs at once have planned, the later transaction either
// fails, for it deletes what is not there any more, or leaves at least one jump behind.
func (s RuleSet) JumpEdits(want RuleSet) (remove, insert []Jump) {
	missing, surplus := s.jumpsAgainst(want)
	differs := map[string]bool{}
	for _, j := range slices.Concat(missing, surplus) {
		differs[j.Chain] = true
	}
	for _, j := range s.Jumps {
		if differs[j.Chain] {
			remove = append(remove, j)
		}
	}
	for _, j := range want.Jumps {
		if differs[j.Chain] {
			insert = append(insert, j)
		}
	}
	return remove, insert
}

// without returns the rules of a that are not in b.
func without(a, b []Rule) (out []Rule) {
	for _, r := range a {
		if !slices.Contains(b, r) {
			out = append(out, r)
		}
	}
	return out
}

// Translates tells whether the rules give a connection from the primary IP to that destination the static IP as its source: what Desired
// returns, evaluated for a packet that leaves by the primary interface.
func (c Config) Translates(to netip.Addr) bool {
	const link = "primary"
	for _, chain := range c.Desired(link).Chains {
		if chain.Name != ChainOut {
			continue
		}
		for _, r := range chain.Rules {
			if r.DHCPRenewal || r.DestHere || r.SourceHere { // not a TCP connection from the primary IP to another host
				continue
			}
			if !r.Destination.IsValid() || r.Destination.Contains(to) {
				return r.Action == SNAT
			}
		}
	}
	return false
}
