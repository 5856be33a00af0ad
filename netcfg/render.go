package netcfg

import (
	"fmt"
	"slices"
	"strings"
)

// renderRestore returns the input of `iptables-restore --noflush` that turns have into want. The
// program applies it as one transaction: in the legacy variant the kernel swaps the whole table, in
// the nft variant it takes one batch.
//
//	*nat
//	:EMR-STATIC-IP-OUT - [0:0]        declares and empties the chain; only chains that differ
//	-A EMR-STATIC-IP-OUT ...
//	-D POSTROUTING ...                jumps that lost their place, in the same transaction
//	-I POSTROUTING 1 ...
//	-F EMR-STATIC-IP-NEW              chains of an earlier version
//	-X EMR-STATIC-IP-NEW
//	COMMIT
func renderRestore(have, want RuleSet) string {
	var b strings.Builder
	b.WriteString("*nat\n")
	var fresh []Chain
	for _, w := range want.Chains {
		if rules, ok := have.chain(w.Name); !ok || !slices.Equal(rules, w.Rules) {
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
	for _, c := range want.Chains {
		fmt.Fprintf(&b, "\tchain %s {\n", c.Name)
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "\t\t%s\n", r.nft())
		}
		b.WriteString("\t}\n")
	}
	for _, j := range want.Jumps {
		h := nativeHooks[j.Chain]
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype nat hook %s priority %d; policy accept;\n\t\tcounter jump %s comment \"%s\"\n\t}\n",
			j.Chain, h.name, h.priority, j.To, Tag)
	}
	b.WriteString("}\n")
	return b.String()
}

// nft returns the rule in nft's words.
func (r Rule) nft() string {
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
	if r.Out != "" {
		b.WriteString("oifname \"" + r.Out + "\" ")
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
	if r.DestHere {
		b.WriteString("fib daddr type local ")
	}
	b.WriteString("counter ")
	switch r.Action {
	case Return:
		b.WriteString("return")
	case DNAT:
		b.WriteString("dnat to " + r.To.String())
	case SNAT:
		b.WriteString("snat to " + r.To.String())
	}
	return b.String() + " comment \"" + Tag + "\""
}
