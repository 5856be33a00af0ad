package netcfg

import (
	"fmt"
	"net/netip"
	"slices"
)

// Backend is a place in the kernel that can hold our rules.
type Backend string

// The backends. The first two are the two variants of the iptables program. They fill different
// tables of the kernel, and neither sees the other's.
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

// RuleSet is what one backend holds of ours.
type RuleSet struct {
	Chains []Chain  // sorted by name
	Jumps  []Jump   // in the order of the chains that hold them
	Extra  []string // native nftables only: foreign things in our table; always a difference

	// masks is set if a chain of somebody else's in the same table changes the source of packets;
	// iptables only.
	masks bool
	// First maps a chain of somebody else's to its first rule, if our jump in that chain comes
	// later. It is for iptables only.
	First map[string]string
}

// Empty reports whether the backend holds nothing of ours.
func (s RuleSet) Empty() bool { return len(s.Chains) == 0 && len(s.Jumps) == 0 && len(s.Extra) == 0 }

// Static returns the address that the rules translate to, on the way out.
func (s RuleSet) Static() (netip.Addr, bool) { return s.target(SNAT) }

// Primary returns the address that the rules translate to, on the way in.
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

// chain returns the rules of the chain called name. ok reports whether it exists.
func (s RuleSet) chain(name string) (rules []Rule, ok bool) {
	for _, c := range s.Chains {
		if c.Name == name {
			return c.Rules, true
		}
	}
	return nil, false
}

// jumpText returns how our own jump to a chain is written, for packets to the destination if there
// is one. A jump stands among the rules of others, so it has a comment, but not the one that every
// new connection takes: there it would cost time, and the chain's name says whose it is.
func jumpText(to netip.Prefix, chain string) string {
	return Rule{Destination: to, Comment: to.IsValid(), Action: Action(chain)}.String()
}

var linkLocal = netip.MustParsePrefix("169.254.0.0/16") // IMDS, DNS, time
var multicast = netip.MustParsePrefix("224.0.0.0/4")
var broadcast = netip.MustParsePrefix("255.255.255.255/32")

// midStream leaves alone what belongs to a TCP connection that exists already.
var midStream = Rule{MidStream: true, Action: Return}

// Desired returns the wanted rule set for a node whose primary interface is called link. For a node
// 10.0.1.5 with static IP 10.0.1.20 on eth0, in VPC 10.0.0.0/16:
//
//	-A PREROUTING  -d 10.0.1.20/32 -j EMR-STATIC-IP-IN
//	-A OUTPUT      -d 10.0.1.20/32 -j EMR-STATIC-IP-IN
//	-I POSTROUTING -j EMR-STATIC-IP-OUT     (first: Docker's MASQUERADE would otherwise win)
//
//	-A EMR-STATIC-IP-IN  -p tcp ! --syn -j RETURN
//	-A EMR-STATIC-IP-IN  -d 10.0.1.20/32 -j DNAT --to-destination 10.0.1.5
//
//	-A EMR-STATIC-IP-OUT -d 10.0.0.0/16 -j RETURN                each VPC CIDR; not in scope all
//	-A EMR-STATIC-IP-OUT -p tcp ! --syn -j RETURN
//	-A EMR-STATIC-IP-OUT -d 224.0.0.0/4 -j RETURN
//	-A EMR-STATIC-IP-OUT -d 169.254.0.0/16 -j RETURN
//	-A EMR-STATIC-IP-OUT -d 192.0.2.0/24 -j RETURN               each excluded network
//	-A EMR-STATIC-IP-OUT -d 255.255.255.255/32 -j RETURN
//	-A EMR-STATIC-IP-OUT -p udp --sport 68 --dport 67 -j RETURN  scope all
//	-A EMR-STATIC-IP-OUT ! -s 10.0.1.5/32 -m addrtype --src-type LOCAL --limit-iface-out -j RETURN
//	-A EMR-STATIC-IP-OUT -o eth0 -j SNAT --to-source 10.0.1.20   with only-cidr: for each, with -d
//
// What the node sends to itself leaves by lo, so that the last rule leaves it alone.
//
// The jumps with -d, which stand among the rules of others, have the comment emr-static-ip.
//
// Scope private has the last rule once for each private network, with -d. Where all of these rules
// have a destination, an exception that overlaps none of them changes nothing: it is left out, as
// those for 224.0.0.0/4 and the like mostly are.
//
// Connections inside the VPC, which are most, leave at the first rule.
//
// The rule for ! --syn is for connections that exist when the rules come. The kernel asks
// the nat table about a connection once, for the first packet that conntrack sees. If conntrack was
// off before, that is a packet in mid-stream: translated, the connection would be cut.
//
// No rule matches on the primary IP as the source, so that packets forwarded from containers are
// translated too. The last rule but one leaves alone what was sent from another address of the same
// interface: whoever bound a socket to such an address, or to the static IP, meant it.
//
// The jumps to the IN chain have no fixed place. Where a container's published port is translated
// before them, the port is the container's on the static IP as it is on the primary one.
func (c Config) Desired(link string) RuleSet {
	leave := func(list []netip.Prefix) (rules []Rule) {
		for _, p := range list {
			rules = append(rules, Rule{Destination: destination(p), Action: Return})
		}
		return rules
	}
	var out []Rule
	if c.scope() != ScopeAll {
		out = leave(sorted(c.VPC))
	}
	targets := c.targets()
	except := sorted(append([]netip.Prefix{linkLocal, multicast, broadcast}, c.Exclude...))
	if len(targets) > 0 {
		except = slices.DeleteFunc(except, func(p netip.Prefix) bool { return !slices.ContainsFunc(targets, p.Overlaps) })
	}
	out = append(append(out, midStream), leave(except)...)
	if c.scope() == ScopeAll {
		out = append(out, Rule{DHCPRenewal: true, Action: Return})
	}
	out = append(out, Rule{NotSource: netip.PrefixFrom(c.Primary, 32), SourceHere: true, Action: Return})
	if len(targets) == 0 {
		out = append(out, Rule{Out: link, Action: SNAT, To: c.Static})
	}
	for _, p := range targets {
		out = append(out, Rule{Destination: destination(p), Out: link, Action: SNAT, To: c.Static})
	}
	toStatic := jumpText(netip.PrefixFrom(c.Static, 32), ChainIn)
	return RuleSet{
		Chains: []Chain{
			{ChainIn, []Rule{midStream, {Destination: netip.PrefixFrom(c.Static, 32), Action: DNAT, To: c.Primary}}},
			{ChainOut, out},
		},
		Jumps: []Jump{
			{preRouting, 0, ChainIn, toStatic},
			{output, 0, ChainIn, toStatic},
			{postRouting, 1, ChainOut, jumpText(netip.Prefix{}, ChainOut)},
		},
	}
}

// destination returns p as a match. The zero value stands for every destination, because no backend
// keeps a match on 0.0.0.0/0.
func destination(p netip.Prefix) netip.Prefix {
	if p.Bits() == 0 {
		return netip.Prefix{}
	}
	return p
}

// rule returns the jump as a rule.
func (j Jump) rule() Rule {
	return Rule{Destination: parseRule(j.Text).Destination, Action: Action(j.To)}
}

// satisfies reports whether the jump is in place where want asks for one. Position 0 means
// anywhere.
func (j Jump) satisfies(want Jump) bool {
	return j.Chain == want.Chain && j.To == want.To && j.Text == want.Text && (want.Position == 0 || j.Position == want.Position)
}

// Differences lists what has to be added (+) and taken away (-) to get from s to want, in the words
// of iptables, and counts the chains and jumps that are as wanted. Order inside a chain matters. A
// chain whose rules are there in another order is listed as a whole.
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
		if _, wanted := want.chain(h.Name); !wanted {
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

// jumpsAgainst returns the jumps of want that are not in place in s, and those of s that want has
// no use for. Of two equal jumps the second is surplus.
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

// JumpEdits returns the jumps that a transaction deletes, and those that it then makes. If anything
// differs in a chain, all of our jumps there are deleted and the wanted one is made anew. So two
// runs at once do no harm: the later transaction fails, because it deletes a jump that is gone, or
// it leaves the wanted jump behind.
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

// suspended returns the rule set with nothing translated: each chain that is jumped to begins with
// a rule that leaves everything alone. It turns conntrack on.
func (s RuleSet) suspended() RuleSet {
	chains := slices.Clone(s.Chains)
	for i, c := range chains {
		if slices.ContainsFunc(s.Jumps, func(j Jump) bool { return j.To == c.Name }) {
			chains[i].Rules = append([]Rule{{Action: Return}}, c.Rules...)
		}
	}
	s.Chains = chains
	return s
}

// Translates reports whether the rules give a new connection from the primary IP to that
// destination the static IP as its source. It evaluates Desired for a packet that leaves by the
// primary interface.
func (c Config) Translates(to netip.Addr) bool {
	return c.Desired("primary").Translates(to)
}

// Translates is Config.Translates for these rules.
func (s RuleSet) Translates(to netip.Addr) bool {
	rules, _ := s.chain(ChainOut)
	for range s.Chains { // no chain is met twice
		i := slices.IndexFunc(rules, func(r Rule) bool {
			// No new TCP connection from the primary IP to another host matches these.
			never := r.MidStream || r.DHCPRenewal || r.SourceHere || r.NotOut != ""
			return !never && (!r.Destination.IsValid() || r.Destination.Contains(to))
		})
		if i < 0 || !rules[i].Goto {
			return i >= 0 && rules[i].Action == SNAT
		}
		rules, _ = s.chain(string(rules[i].Action))
	}
	return false
}
