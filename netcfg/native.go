package netcfg

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The native backend keeps the rules in a table of its own, so that nothing of it depends on, or
// disturbs, the tables of others:
//
//	table ip emr-static-ip {
//		chain EMR-STATIC-IP-IN  { ... ip daddr 10.0.1.20 counter dnat to 10.0.1.5 }
//		chain PREROUTING { type nat hook prerouting priority -99; ip daddr 10.0.1.20 jump ... }
//		chain OUTPUT     { type nat hook output priority -99; ip daddr 10.0.1.20 jump ... }
//		chain EMR-STATIC-IP-OUT { type nat hook postrouting priority -199; ... snat to 10.0.1.20 }
//	}
//
// EMR-STATIC-IP-OUT is itself hooked in: a jump to it would cost every new connection some time.
// Such a chain stands for the jump from POSTROUTING that the iptables backends have.
//
// A connection is translated by the first chain that says how. On the way out ours goes before all
// others, whoever made them and when: -199 is the lowest priority that the kernel accepts for a nat
// chain (NF_IP_PRI_CONNTRACK is -200). Iptables, Docker, firewalld and libvirt use 100, where the
// chain made later goes first. On the way in ours goes right after those of others, which are at
// -100: a container's published port is the container's on the static IP too.
//
// Kernels before 4.18 cannot have this table and a legacy nat table at once.

// nativeHook is where one of our base chains hooks in.
type nativeHook struct {
	chain    string // of our table
	hook     string // as nft names it
	num      uint32
	priority int32
}

// nativeHooks has a base chain for each chain of iptables that a Jump names.
var nativeHooks = map[string]nativeHook{
	preRouting:  {preRouting, "prerouting", unix.NF_INET_PRE_ROUTING, -99},
	output:      {output, "output", unix.NF_INET_LOCAL_OUT, -99},
	postRouting: {ChainOut, "postrouting", unix.NF_INET_POST_ROUTING, -199},
}

// formerOut is the base chain of earlier versions that jumped to ChainOut.
var formerOut = nativeHook{postRouting, "postrouting", unix.NF_INET_POST_ROUTING, -199}

// hookOf returns the chain of iptables that a chain of our table stands for, or "".
func hookOf(chain string) string {
	for name, h := range nativeHooks {
		if h.chain == chain {
			return name
		}
	}
	return ""
}

// isAt reports whether a base chain of our table hooks in here.
func (h nativeHook) isAt(c nfChain) bool {
	return c.name == h.chain && c.hook == h.num && c.priority == h.priority && c.kind == "nat" && c.accept
}

// readNative reads our own table.
func readNative(ctx context.Context, v nfView) (set RuleSet, dormant bool, err error) {
	t := v.table(Tag)
	if t == nil {
		return RuleSet{}, false, nil
	}
	if t.rules, err = nfRules(ctx, nfChain{family: unix.NFPROTO_IPV4, table: Tag}); err == nil {
		err = t.readSets(ctx)
	}
	return nativeRules(t), t.flags&tableDormant != 0, err
}

// nativeRules returns the rules in our own table. Whatever this program would not have made is
// listed as extra.
func nativeRules(t *nfTable) (set RuleSet) {
	if t.flags != 0 {
		set.Extra = append(set.Extra, fmt.Sprintf("table ip %s has flags %#x", Tag, t.flags))
	}
	if len(t.chains) == 0 {
		set.Extra = append(set.Extra, "table ip "+Tag+" is empty")
	}
	for _, c := range t.chains {
		h := hookOf(c.name)
		switch {
		case !c.base:
		case nativeHooks[h].isAt(c) && c.name == ChainOut:
			set.Jumps = append(set.Jumps, Jump{h, 1, ChainOut, jumpText(netip.Prefix{}, ChainOut)})
		case nativeHooks[h].isAt(c):
			set.addJumps(t, c)
			continue
		case formerOut.isAt(c):
			set.Extra = append(set.Extra, fmt.Sprintf("chain ip %s %s is one that earlier versions made", Tag, c.name))
			continue
		default:
			set.Extra = append(set.Extra, c.hookedOtherwise())
			if !ownChain(c.name) {
				continue
			}
			// Its rules still tell which addresses they are for.
		}
		chain, n := Chain{Name: clean(c.name)}, 0
		for _, r := range t.rules {
			if r.chain == c.name {
				chain.Rules = append(chain.Rules, t.decode(r)...)
				n++
			}
		}
		if len(groups(chain.Rules)) < n {
			set.Extra = append(set.Extra, fmt.Sprintf("chain ip %s %s has a rule for each network, as earlier versions wrote them", Tag, chain.Name))
		}
		set.Chains = append(set.Chains, chain)
	}
	set.sort()
	return set
}

// hookedOtherwise says where a base chain of our table is, which should be elsewhere or not at all.
func (c nfChain) hookedOtherwise() string {
	policy := "drop"
	if c.accept {
		policy = "accept"
	}
	return fmt.Sprintf("chain ip %s %s is hooked in otherwise: type %s, hook %d, priority %d, policy %s",
		Tag, clean(c.name), clean(c.kind), c.hook, c.priority, policy)
}

// addJumps adds the jumps in a base chain of our own table.
func (s *RuleSet) addJumps(t *nfTable, c nfChain) {
	place := 0
	for _, r := range t.rules {
		if r.chain != c.name {
			continue
		}
		place++
		jump := decodeExprs(r.exprs)
		to := string(jump.Action)
		if jump.Unknown != "" || !ownChain(to) {
			s.Extra = append(s.Extra, fmt.Sprintf("rule ip %s %s handle %d", Tag, c.name, r.handle))
			continue
		}
		jump.Comment = jump.Destination.IsValid() // see jumpText; a comment is not compared
		s.Jumps = append(s.Jumps, Jump{c.name, place, to, jump.String()})
	}
}

// writeNative replaces our own table as a whole in one transaction, whatever was there before. If
// trial is set, the kernel only checks the transaction.
func writeNative(ctx context.Context, want RuleSet, trial bool) error {
	messages, err := nativeMessages(want)
	if err == nil {
		err = nfBatch(ctx, messages, trial)
	}
	if err != nil {
		return fmt.Errorf("replacing nf_tables table ip %s: %w", Tag, err)
	}
	return nil
}

// nativeChains returns the chains of our own table, in the order in which they can be made.
func (s RuleSet) nativeChains() []Chain {
	list := slices.Clone(s.Chains)
	for _, j := range s.Jumps {
		if j.To != ChainOut { // which is hooked in itself
			list = append(list, Chain{j.Chain, []Rule{j.rule()}})
		}
	}
	return list
}

func nativeMessages(want RuleSet) (messages []nfMessage, err error) {
	var errs []error
	var sets uint32
	add := func(kind, flags int, attrs ...netlink.Attribute) {
		m, err := nftMessage(kind, flags, unix.NFPROTO_IPV4, attrs...)
		messages, errs = append(messages, m), append(errs, err)
	}
	nested := func(kind uint16, attrs ...netlink.Attribute) netlink.Attribute {
		data, err := netlink.MarshalAttributes(attrs)
		errs = append(errs, err)
		return netlink.Attribute{Type: unix.NLA_F_NESTED | kind, Data: data}
	}
	number := func(kind uint16, n uint32) netlink.Attribute {
		return netlink.Attribute{Type: kind, Data: binary.BigEndian.AppendUint32(nil, n)}
	}
	comment := userdata.Append(nil, userdata.TypeComment, append([]byte(Tag), 0))
	rule := func(chain string, exprs ...expr.Any) {
		var list []netlink.Attribute
		for _, e := range exprs {
			data, err := expr.Marshal(unix.NFPROTO_IPV4, e)
			errs = append(errs, err)
			list = append(list, netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: data})
		}
		add(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, nfString(unix.NFTA_RULE_TABLE, Tag),
			nfString(unix.NFTA_RULE_CHAIN, chain), nested(unix.NFTA_RULE_EXPRESSIONS, list...),
			netlink.Attribute{Type: unix.NFTA_RULE_USERDATA, Data: comment})
	}
	name := nfString(unix.NFTA_TABLE_NAME, Tag)
	add(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, name) // so that there is one to delete
	add(unix.NFT_MSG_DELTABLE, 0, name)
	if want.Empty() {
		return messages, errors.Join(errs...)
	}
	add(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, name)
	for _, c := range want.nativeChains() {
		attrs := []netlink.Attribute{nfString(unix.NFTA_CHAIN_TABLE, Tag), nfString(unix.NFTA_CHAIN_NAME, c.Name)}
		if h := nativeHooks[hookOf(c.Name)]; h.hook != "" {
			attrs = append(attrs, nested(unix.NFTA_CHAIN_HOOK, number(unix.NFTA_HOOK_HOOKNUM, h.num), number(unix.NFTA_HOOK_PRIORITY, uint32(h.priority))),
				number(unix.NFTA_CHAIN_POLICY, 1), // NF_ACCEPT
				nfString(unix.NFTA_CHAIN_TYPE, "nat"))
		}
		add(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, attrs...)
	}
	for _, c := range want.nativeChains() {
		for _, g := range groups(c.Rules) {
			exprs := encodeExprs(g.rule)
			if len(g.networks) > 0 {
				sets++
				set, elements, err := setAttributes(sets, g.networks)
				errs = append(errs, err)
				add(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, set...)
				add(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, elements...)
				for _, e := range exprs {
					if l, ok := e.(*expr.Lookup); ok {
						l.SetID = sets
					}
				}
			}
			rule(c.Name, exprs...)
		}
	}
	return messages, errors.Join(errs...)
}

// jumpOf returns the chain that a rule jumps or goes to, or "".
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
