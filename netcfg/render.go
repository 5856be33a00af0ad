package netcfg

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// renderRestore returns the input of `iptables-restore --noflush` that turns have into want. The
// program applies it as one transaction: in the legacy variant the kernel swaps the whole table, in
// the nft variant it takes one batch.
//
//	*nat
//	:EMR-STATIC-IP-OUT - [0:0]        declares and empties the chain; only if it differs
//	-A EMR-STATIC-IP-OUT ...
//	-D POSTROUTING ...                jumps that lost their place, in the same transaction
//	-I POSTROUTING 1 ...
//	-F EMR-STATIC-IP-NEW              chains of an earlier version
//	-X EMR-STATIC-IP-NEW
//	COMMIT
//
// The chains of a tree are written all, or none of them. Otherwise two runs at once with different
// settings could leave one tree with chains of both.
func renderRestore(have, want RuleSet) string {
	var b strings.Builder
	b.WriteString("*nat\n")
	differs := func(w Chain) bool {
		rules, ok := have.chain(w.Name)
		return !ok || !slices.Equal(rules, w.Rules)
	}
	inTree := func(w Chain) bool { return w.Name == ChainOut || isBranch(w.Name) }
	tree := slices.ContainsFunc(want.Chains, func(w Chain) bool { return inTree(w) && differs(w) })
	var fresh []Chain
	for _, w := range want.Chains {
		if differs(w) || tree && inTree(w) {
			fresh = append(fresh, w)
			fmt.Fprintf(&b, ":%s - [0:0]\n", w.Name)
		}
	}
	for _, w := range fresh {
		for _, r := range w.Rules {
			fmt.Fprintf(&b, "-A %s %s\n", w.Name, r)
		}
	}
	remove, insert := have.JumpEdits(want)
	for _, j := range remove {
		fmt.Fprintf(&b, "-D %s %s\n", j.Chain, j.Text)
	}
	for _, j := range insert {
		if j.Position > 0 {
			fmt.Fprintf(&b, "-I %s %d %s\n", j.Chain, j.Position, j.Text)
		} else {
			fmt.Fprintf(&b, "-A %s %s\n", j.Chain, j.Text)
		}
	}
	for _, verb := range []string{"-F", "-X"} {
		for _, h := range have.Chains {
			if _, wanted := want.chain(h.Name); !wanted {
				fmt.Fprintf(&b, "%s %s\n", verb, h.Name)
			}
		}
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// renderNft returns the input of `nft -f` that does the same as the native backend: it replaces our
// own table as a whole.
func renderNft(want RuleSet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "add table ip %s\ndelete table ip %s\n", Tag, Tag)
	if want.Empty() {
		return b.String()
	}
	fmt.Fprintf(&b, "table ip %s {\n", Tag)
	for _, c := range want.nativeChains() {
		fmt.Fprintf(&b, "\tchain %s {\n", c.Name)
		if h := nativeHooks[hookOf(c.Name)]; h.hook != "" {
			fmt.Fprintf(&b, "\t\ttype nat hook %s priority %d; policy accept;\n", h.hook, h.priority)
		}
		for _, g := range groups(c.Rules) {
			fmt.Fprintf(&b, "\t\t%s\n", g.nft())
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// nft returns the rule in nft's words.
func (g ruleGroup) nft() string {
	r := g.rule
	if r.Unknown != "" {
		return r.Unknown
	}
	var b strings.Builder
	if r.NotSource.IsValid() {
		b.WriteString("ip saddr != " + r.NotSource.String() + " ")
	}
	if r.Destination.IsValid() {
		b.WriteString("ip daddr " + r.Destination.String() + " ")
	}
	if len(g.networks) > 0 {
		var list []string
		for _, p := range g.networks {
			list = append(list, p.Addr().String())
		}
		b.WriteString("ip daddr ")
		if r.set.bits < 32 {
			b.WriteString("& " + net.IP(net.CIDRMask(r.set.bits, 32)).String() + " ")
		}
		b.WriteString("{ " + strings.Join(list, ", ") + " } ")
	}
	if r.Out != "" {
		b.WriteString("oifname \"" + r.Out + "\" ")
	}
	if r.NotOut != "" {
		b.WriteString("oifname != \"" + r.NotOut + "\" ")
	}
	if r.MidStream {
		b.WriteString("tcp flags & (fin | syn | rst | ack) != syn ")
	}
	if r.DHCPRenewal {
		b.WriteString("udp sport 68 udp dport 67 ")
	}
	if r.SourceHere {
		b.WriteString("fib saddr . oif type local ")
	}
	b.WriteString("counter ")
	switch r.Action {
	case Return:
		b.WriteString("return")
	case DNAT:
		b.WriteString("dnat to " + r.To.String())
	case SNAT:
		b.WriteString("snat to " + r.To.String())
	default:
		verb := "jump "
		if r.Goto {
			verb = "goto "
		}
		b.WriteString(verb + string(r.Action))
	}
	return b.String() + " comment \"" + Tag + "\""
}
