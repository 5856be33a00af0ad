package netcfg

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// NATChain is a chain of somebody else's that sees packets on their way out and changes the source
// of some of them.
type NATChain struct {
	Table    string // with its family: "ip nat", "inet gateway"
	Chain    string
	Priority int32
	Legacy   bool // in the legacy variant of iptables
}

// String names the chain for people.
func (c NATChain) String() string {
	where := "table " + c.Table
	if c.Legacy {
		where += " of iptables-legacy"
	}
	return fmt.Sprintf("%s chain %s (priority %d)", where, c.Chain, c.Priority)
}

// Condition is what the node's rules are worth.
type Condition string

// The conditions.
const (
	InOrder   Condition = "in order"
	Missing   Condition = "missing"   // the address or rules are missing, or differ
	Down      Condition = "down"      // the primary interface is switched off
	Dormant   Condition = "dormant"   // they are there, in a table that is switched off
	Overtaken Condition = "overtaken" // they are there, and another program's chain comes first
)

// Verdict is the condition of the address and the rules, and why.
type Verdict struct {
	Condition Condition
	Before    []NATChain // that overtake, or may overtake
	Detail    string     // for people; empty if all is in order
}

// String returns the verdict in a line.
func (v Verdict) String() string {
	if v.Detail == "" {
		return string(v.Condition)
	}
	return string(v.Condition) + ": " + v.Detail
}

// Judge compares the observed with the wanted state.
func (c Config) Judge(o Observed) Verdict {
	findings := o.Rules.Findings(c.Desired(o.Link.Name).For(o.Backend))
	switch {
	case o.Dormant:
		return Verdict{Condition: Dormant, Detail: dormantText(o.Backend)}
	case len(o.Link.Find(c.Static)) == 0:
		return Verdict{Condition: Missing, Detail: fmt.Sprintf("address %s is not on link %s", c.Static, o.Link.Name)}
	case len(findings) > 0:
		var lines []string
		for _, f := range Shorten(findings) {
			lines = append(lines, f.Line())
		}
		return Verdict{Condition: Missing, Detail: strings.Join(lines, "; ")}
	case o.Link.Down:
		return Verdict{Condition: Down, Detail: downText(o.Link)}
	case len(o.Before) > 0:
		return Verdict{Condition: Overtaken, Before: o.Before, Detail: overtakenText(o)}
	}
	return Verdict{Condition: InOrder}
}

func downText(l Link) string { return fmt.Sprintf("link %s is down: ip link set %[1]s up", l.Name) }

func dormantText(b Backend) string {
	table := "ip " + natTableName
	if b == Nftables {
		table = "ip " + Tag
	}
	return fmt.Sprintf("table %s has the flag dormant, so that no rule in it has an effect", table)
}

func overtakenText(o Observed) string {
	var names []string
	ours := ourPriority(o.Backend)
	for _, b := range o.Before {
		text := b.String() + " comes before the " + string(o.Backend) + " rules"
		if b.Priority == ours {
			text = b.String() + " has the priority of the " + string(o.Backend) + " rules, where the chain made later comes first"
		}
		names = append(names, text)
	}
	return strings.Join(names, "; ") + ": it may give connections another source than the static IP"
}

// iptablesPriority is where both variants of iptables hook in their POSTROUTING chain
// (NF_IP_PRI_NAT_SRC).
const iptablesPriority = 100

// ourPriority returns the priority at which the backend sees packets on their way out.
func ourPriority(b Backend) int32 {
	if b == Nftables {
		return nativeHooks[postRouting].priority
	}
	return iptablesPriority
}

// chainsBefore lists the nf_tables chains that change the source of packets and come, or may come,
// before our rules in this backend. Chains without such rules, and those of dormant tables, do not
// count.
func chainsBefore(ctx context.Context, b Backend, v nfView) (list []NATChain, err error) {
	for _, c := range v.chains {
		key := tableKey{c.family, c.table}
		ours := key == tableKey{unix.NFPROTO_IPV4, Tag} ||
			b == IptablesNFT && key == tableKey{unix.NFPROTO_IPV4, natTableName} && c.name == postRouting
		switch {
		case ours, !c.base, c.kind != "nat", c.hook != unix.NF_INET_POST_ROUTING, c.priority > ourPriority(b):
			continue
		case c.family != unix.NFPROTO_IPV4 && c.family != unix.NFPROTO_INET, v.tables[key]&tableDormant != 0:
			continue
		}
		changes, err := reachesSource(ctx, c, v.chains)
		if err != nil {
			return nil, err
		}
		if changes {
			list = append(list, NATChain{Table: key.String(), Chain: clean(c.name), Priority: c.priority})
		}
	}
	return list, nil
}

// reachesSource reports whether packets in the base chain can get another source. Jumps are not
// followed: any chain of the same table without a hook of its own may be meant.
func reachesSource(ctx context.Context, base nfChain, chains []nfChain) (bool, error) {
	for _, c := range chains {
		if c.family != base.family || c.table != base.table || c.base && c.name != base.name {
			continue
		}
		rules, err := nfRules(ctx, c)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(rules, func(r nfRule) bool { return slices.ContainsFunc(r.exprs, nfExpr.changesSource) }) {
			return true, nil
		}
	}
	return false, nil
}

// changesSource reports whether the expression gives a packet another source.
func (e nfExpr) changesSource() bool {
	ad, err := nfDecoder(e.data)
	if err != nil {
		return false
	}
	switch e.name {
	case "masq":
		return true
	case "nat":
		for ad.Next() {
			if ad.Type() == unix.NFTA_NAT_TYPE {
				return ad.Uint32() == unix.NFT_NAT_SNAT
			}
		}
	case "target": // of iptables
		for ad.Next() {
			if ad.Type() == unix.NFTA_TARGET_NAME {
				return slices.Contains(sourceTargets, ad.String())
			}
		}
	}
	return false
}
