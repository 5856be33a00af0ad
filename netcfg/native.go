package netcfg

import (
	"context"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The native back end keeps the rules in a table of its own, so that nothing of it depends on, or disturbs, the tables of others:
//
//	table ip emr-static-ip {
//		chain EMR-STATIC-IP-IN  { ip daddr 10.0.1.20 counter dnat to 10.0.1.5 }
//		chain EMR-STATIC-IP-OUT { ... return ... snat to 10.0.1.20 }
//		chain PREROUTING  { type nat hook prerouting priority -101; jump EMR-STATIC-IP-IN }
//		chain OUTPUT      { type nat hook output priority -101; jump EMR-STATIC-IP-IN }
//		chain POSTROUTING { type nat hook postrouting priority 99; jump EMR-STATIC-IP-OUT }
//	}
//
// The priorities are one before dstnat (-100) and srcnat (100), where iptables and Docker hook in: a connection is translated
// by the first chain that says how. Kernels before 4.18 cannot have this table and a legacy nat table at once.

// nativeHook is where one of our base chains hooks in.
type nativeHook struct {
	name     string
	num      uint32
	priority int32
}

var nativeHooks = map[string]nativeHook{
	preRouting:  {"prerouting", unix.NF_INET_PRE_ROUTING, -101},
	output:      {"output", unix.NF_INET_LOCAL_OUT, -101},
	postRouting: {"postrouting", unix.NF_INET_POST_ROUTING, 99},
}

// readNative reads our own table.
func readNative(ctx context.Context) (RuleSet, error) {
	t, err := nfRead(ctx, Tag)
	if t == nil || err != nil {
		return RuleSet{}, err
	}
	return nativeRules(t), nil
}

// nativeRules says what our own table means. Whatever the tool would not have made is listed as extra.
func nativeRules(t *nfTable) (set RuleSet) {
	if t.flags != 0 {
		set.Extra = append(set.Extra, fmt.Sprintf("table ip %s has flags %#x", Tag, t.flags))
	}
	if len(t.chains) == 0 {
		set.Extra = append(set.Extra, "table ip "+Tag+" is empty")
	}
	for _, c := range t.chains {
		if !c.base {
			chain := Chain{Name: clean(c.name)}
			for _, r := range t.rules {
				if r.chain == c.name {
					chain.Rules = append(chain.Rules, decodeExprs(r.exprs))
				}
			}
			set.Chains = append(set.Chains, chain)
			continue
		}
		h, ok := nativeHooks[c.name]
		if !ok || h.num != c.hook || h.priority != c.priority || c.kind != "nat" || !c.accept {
			set.Extra = append(set.Extra, fmt.Sprintf("chain ip %s %s is hooked in otherwise: type %s, hook %d, priority %d", Tag, clean(c.name), clean(c.kind), c.hook, c.priority))
			continue
		}
		place := 0
		for _, r := range t.rules {
			if r.chain != c.name {
				continue
			}
			place++
			to := jumpOf(r.exprs)
			if to == "" || len(r.exprs) != 2 || r.exprs[0].name != "counter" {
				set.Extra = append(set.Extra, fmt.Sprintf("rule ip %s %s handle %d", Tag, c.name, r.handle))
				continue
			}
			set.Jumps = append(set.Jumps, Jump{c.name, place, to, jumpText(to)})
		}
	}
	set.sort()
	return set
}

// writeNative replaces our own table as a whole in one transaction, whatever was there before.
func writeNative(ctx context.Context, want RuleSet) error {
	conn, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error { return c.SetDeadline(nfDeadline(ctx)) }))
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: Tag, Family: nftables.TableFamilyIPv4}
	conn.AddTable(table) // so that there is one to delete
	conn.DelTable(table)
	if !want.Empty() {
		conn.AddTable(table)
		for _, c := range want.Chains {
			conn.AddChain(&nftables.Chain{Name: c.Name, Table: table})
		}
		for _, c := range want.Chains {
			for _, r := range c.Rules {
				conn.AddRule(nativeRule(table, c.Name, encodeExprs(r)))
			}
		}
		for _, j := range want.Jumps {
			h := nativeHooks[j.Chain]
			accept := nftables.ChainPolicyAccept
			conn.AddChain(&nftables.Chain{Name: j.Chain, Table: table, Type: nftables.ChainTypeNAT, Policy: &accept,
				Hooknum: nftables.ChainHookRef(nftables.ChainHook(h.num)), Priority: nftables.ChainPriorityRef(nftables.ChainPriority(h.priority))})
			conn.AddRule(nativeRule(table, j.Chain, []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictJump, Chain: j.To}}))
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("replacing nf_tables table ip %s: %w", Tag, err)
	}
	return nil
}

func nativeRule(t *nftables.Table, chain string, exprs []expr.Any) *nftables.Rule {
	return &nftables.Rule{Table: t, Chain: &nftables.Chain{Name: chain, Table: t}, Exprs: exprs,
		UserData: userdata.Append(nil, userdata.TypeComment, append([]byte(Tag), 0))}
}

// jumpOf is the chain that a rule jumps or goes to, or "".
func jumpOf(exprs []nfExpr) string {
	for _, e := range exprs {
		if e.name != "immediate" {
			continue
		}
		if v, err := decodeVerdict(e.data); err == nil && (v.Kind == expr.VerdictJump || v.Kind == expr.VerdictGoto) {
			return v.Chain
		}
	}
	return ""
}
