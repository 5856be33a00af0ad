package netcfg

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Iptables compares a packet with one rule after the other. Where EMR-STATIC-IP-OUT would have many
// rules that differ in their destination alone, both iptables backends keep a tree of numbered
// chains. The networks of a branch begin with the same bits:
//
//	-A EMR-STATIC-IP-OUT ! -o eth0 -j RETURN
//	-A EMR-STATIC-IP-OUT -d 11.0.0.0/18 -g EMR-STATIC-IP-OUT-1
//	-A EMR-STATIC-IP-OUT -d 11.0.64.0/18 -g EMR-STATIC-IP-OUT-2
//	-A EMR-STATIC-IP-OUT -d 172.30.0.0/17 -j SNAT --to-source 10.0.1.20
//	-A EMR-STATIC-IP-OUT-1 -d 11.0.0.0/24 -j SNAT --to-source 10.0.1.20
//	...
//
// No two branches have an address in common: a packet that matches nothing in its branch would
// match nothing in another one. With -g (go to) a packet does not come back, as it would with -j.
// RETURN, and the end of a numbered chain, lead to where they lead from EMR-STATIC-IP-OUT itself.
// So a rule means the same in every chain of the tree, also RETURN. What comes after the many rules
// has a chain of its own. Each chain of the tree ends by going there:
//
//	-A EMR-STATIC-IP-OUT -d 52.92.0.0/14 -g EMR-STATIC-IP-OUT-2
//	...
//	-A EMR-STATIC-IP-OUT -g EMR-STATIC-IP-OUT-1
//	-A EMR-STATIC-IP-OUT-1 -o eth0 -j SNAT --to-source 10.0.1.20
//	-A EMR-STATIC-IP-OUT-2 -d 52.92.16.0/20 -j RETURN
//	...
//	-A EMR-STATIC-IP-OUT-2 -g EMR-STATIC-IP-OUT-1
//
// Rules in our own chains have no comment: in the nft variant a comment costs 50 ns in each rule
// that matches. See jumpText about the jumps.

// manyRules is how many rules that are alike a chain has at most, and how many branches. In the nft
// variant a rule that does not match costs 8 ns, and a branch 20 ns.
const manyRules = 8

// maxLevels is how many numbered chains follow each other in a tree at most. A chain on the last
// level has all rules that are left. The kernel admits 15 chains after a base chain of nf_tables.
// Three trees can follow each other: of the VPC's networks, of exceptions, of targets.
const maxLevels = 4

// maxBranch is the highest number of a chain.
const maxBranch = 9999

// branchName returns the name of a numbered chain.
func branchName(number int) string { return ChainOut + "-" + strconv.Itoa(number) }

// isBranch reports whether the name is that of a numbered chain, exactly as branchName writes it.
func isBranch(name string) bool {
	digits, _ := strings.CutPrefix(name, ChainOut+"-")
	n, err := strconv.Atoi(digits)
	return err == nil && n >= 1 && n <= maxBranch && name == branchName(n)
}

// For returns wanted rules in the form in which the backend keeps them: for iptables as a tree,
// where there are many. For native nftables they stay as they are: see groups.
func (s RuleSet) For(b Backend) RuleSet {
	if b == Nftables {
		return s
	}
	chains := s.Chains
	s.Chains = nil
	for _, c := range chains {
		if c.Name != ChainOut {
			s.Chains = append(s.Chains, c)
			continue
		}
		t := tree{{Name: ChainOut}}
		t.fill(0, c.Rules)
		s.Chains = append(s.Chains, t...)
	}
	return s
}

// tree has a chain in place 0, and each numbered chain in the place of its number.
type tree []Chain

// grow adds an empty chain.
func (t *tree) grow() (number int) {
	*t = append(*t, Chain{Name: branchName(len(*t))})
	return len(*t) - 1
}

func (t tree) add(number int, rules ...Rule) {
	t[number].Rules = append(t[number].Rules, rules...)
}

// fill gives a chain rules.
func (t *tree) fill(number int, rules []Rule) {
	for len(rules) > 0 {
		n := 1
		for n < len(rules) && rules[n-1].alike(rules[n]) {
			n++
		}
		list, rest := slices.Clone(rules[:n]), rules[n:]
		if link := list[0].Out; n > 1 && len(rest) == 0 && link != "" {
			// The nft variant compares the link first: that is done once, and not for each network.
			t.add(number, Rule{NotOut: link, Action: Return})
			for i := range list {
				list[i].Out = ""
			}
		}
		if n > manyRules && sortDisjoint(list) {
			var last []Rule
			if len(rest) > 0 {
				next := t.grow()
				t.fill(next, rest)
				last = []Rule{goTo(next, netip.Prefix{})}
			}
			t.branch(number, list, last, maxLevels)
			return
		}
		t.add(number, list...)
		rules = rest
	}
}

// branch gives a chain rules that are alike and in the order of their networks, and then the last
// ones. At most so many levels of chains follow it.
func (t *tree) branch(number int, rules, last []Rule, levels int) {
	groups := [][]Rule{}
	if len(rules) <= manyRules || levels == 0 {
		t.add(number, rules...)
	} else {
		groups = split(rules)
	}
	for _, g := range groups {
		if len(g) == 1 {
			t.add(number, g...)
			continue
		}
		n := t.grow()
		t.add(number, goTo(n, common(g)))
		t.branch(n, g, last, levels-1)
	}
	t.add(number, last...)
}

// goTo returns the rule that leads packets to a network to a numbered chain.
func goTo(number int, p netip.Prefix) Rule {
	return Rule{Destination: p, Action: Action(branchName(number)), Goto: true}
}

// split divides more than manyRules rules into as many groups as each of them then has rules, but
// not more than manyRules. Again and again it halves the largest group, at the first bit in which
// its networks differ.
func split(rules []Rule) [][]Rule {
	groups := [][]Rule{rules}
	for n := len(groups); n < manyRules && n*n < len(rules); n = len(groups) {
		i := 0
		for k, g := range groups {
			if len(g) > len(groups[i]) {
				i = k
			}
		}
		g := groups[i]
		bit := uint32(1) << (31 - common(g).Bits())
		half := slices.IndexFunc(g, func(r Rule) bool { return number(r.Destination)&bit != 0 })
		groups[i] = g[half:]
		groups = append(groups[:i], append([][]Rule{g[:half]}, groups[i:]...)...)
	}
	return groups
}

// common returns the smallest network with all networks of at least two rules in it.
func common(rules []Rule) netip.Prefix {
	first, last := rules[0].Destination, rules[len(rules)-1].Destination
	n := bits.LeadingZeros32(number(first) ^ number(last))
	return netip.PrefixFrom(first.Addr(), n).Masked()
}

// number returns the address of a network as a number.
func number(p netip.Prefix) uint32 {
	a := p.Addr().As4()
	return binary.BigEndian.Uint32(a[:])
}

// alike reports whether both rules differ in their destination alone.
func (r Rule) alike(next Rule) bool {
	both := r.Destination.IsValid() && next.Destination.IsValid()
	r.Destination, next.Destination = netip.Prefix{}, netip.Prefix{}
	return both && r == next && r.Unknown == ""
}

// sortDisjoint sorts rules by their networks. It reports whether none is in another one.
func sortDisjoint(rules []Rule) bool {
	// slices.SortFunc of a large struct is 20 kB of program.
	sort.Slice(rules, func(i, k int) bool { return number(rules[i].Destination) < number(rules[k].Destination) })
	for i := 1; i < len(rules); i++ {
		if rules[i-1].Destination.Overlaps(rules[i].Destination) {
			return false
		}
	}
	return true
}
