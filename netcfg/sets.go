package netcfg

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The native backend keeps rules that follow each other, and differ in their destination network
// alone, as one rule with an anonymous set, if they are many and their networks are of one size:
//
//	ip daddr & 255.255.255.0 { 172.30.1.0, ... } oifname "eth0" counter snat to 10.0.1.20
//
// The kernel keeps the set as a hash table, so that a packet meets one rule for each size of
// network, however many networks there are. A set of intervals, as nft makes it of networks, is a
// tree: with 400 networks it cost the first packet of a flow 0.4 µs, the hash table 0.01 µs.
//
// Read back, such a rule is one Rule for each network again.

// setFrom is how many networks of one size make a set. Fewer are compared one by one.
const setFrom = 8

// newSet is the name by which the kernel is asked for an anonymous set. It fills in a number.
const newSet = "__set%d"

// setTypeIPv4 is nft's number for IPv4 addresses. Only the nft program reads it.
const setTypeIPv4 = 7

// networkSet is a match on destinations in networks of one size.
type networkSet struct {
	name string // empty: there is none
	bits int    // prefix length of the networks
}

// ruleGroup is one native rule.
type ruleGroup struct {
	rule     Rule // with a set, if there are networks
	networks []netip.Prefix
}

// groups returns the native rules of a chain.
func groups(rules []Rule) (list []ruleGroup) {
	for len(rules) > 0 {
		n := 1
		for n < len(rules) && rules[n-1].precedes(rules[n]) {
			n++
		}
		if n < setFrom {
			for _, r := range rules[:n] {
				list = append(list, ruleGroup{rule: r})
			}
		} else {
			g := ruleGroup{rule: rules[0]}
			g.rule.Destination, g.rule.set = netip.Prefix{}, networkSet{newSet, rules[0].Destination.Bits()}
			for _, r := range rules[:n] {
				g.networks = append(g.networks, r.Destination)
			}
			list = append(list, g)
		}
		rules = rules[n:]
	}
	return list
}

// precedes reports whether both rules fit into one set, next after r. The kernel gives the networks
// of a set back in no order.
func (r Rule) precedes(next Rule) bool {
	a, b := r.Destination, next.Destination
	r.Destination, next.Destination = netip.Prefix{}, netip.Prefix{}
	return r == next && r.Unknown == "" && a.IsValid() && a.Bits() == b.Bits() && a.Addr().Less(b.Addr())
}

// expand returns one rule for each network.
func (g ruleGroup) expand() (rules []Rule) {
	for _, p := range sorted(g.networks) {
		r := g.rule
		r.set, r.Destination = networkSet{}, p
		rules = append(rules, r)
	}
	return rules
}

// setAttributes returns the attributes of the messages that make a set and fill it. The kernel
// takes a hash table for it because it is told the size.
func setAttributes(id uint32, networks []netip.Prefix) (set, elements []netlink.Attribute, err error) {
	var errs []error
	nested := func(kind uint16, attrs ...netlink.Attribute) netlink.Attribute {
		data, err := netlink.MarshalAttributes(attrs)
		errs = append(errs, err)
		return netlink.Attribute{Type: unix.NLA_F_NESTED | kind, Data: data}
	}
	number := func(kind uint16, n uint32) netlink.Attribute {
		return netlink.Attribute{Type: kind, Data: binary.BigEndian.AppendUint32(nil, n)}
	}
	set = []netlink.Attribute{
		nfString(unix.NFTA_SET_TABLE, Tag), nfString(unix.NFTA_SET_NAME, newSet),
		number(unix.NFTA_SET_FLAGS, unix.NFT_SET_ANONYMOUS|unix.NFT_SET_CONSTANT),
		number(unix.NFTA_SET_KEY_TYPE, setTypeIPv4), number(unix.NFTA_SET_KEY_LEN, 4), number(unix.NFTA_SET_ID, id),
		nested(unix.NFTA_SET_DESC, number(unix.NFTA_SET_DESC_SIZE, uint32(len(networks)))),
	}
	var list []netlink.Attribute
	for _, p := range networks {
		list = append(list, nested(unix.NFTA_LIST_ELEM,
			nested(unix.NFTA_SET_ELEM_KEY, netlink.Attribute{Type: unix.NFTA_DATA_VALUE, Data: p.Addr().AsSlice()})))
	}
	elements = []netlink.Attribute{
		nfString(unix.NFTA_SET_ELEM_LIST_TABLE, Tag), nfString(unix.NFTA_SET_ELEM_LIST_SET, newSet),
		number(unix.NFTA_SET_ELEM_LIST_SET_ID, id), nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, list...),
	}
	return set, elements, errors.Join(errs...)
}

// decode returns the rule, or one for each network of its set.
func (t *nfTable) decode(r nfRule) []Rule {
	rule := decodeExprs(r.exprs)
	if rule.set.name == "" {
		return []Rule{rule}
	}
	g := ruleGroup{rule: rule}
	for _, a := range t.sets[rule.set.name] {
		g.networks = append(g.networks, netip.PrefixFrom(a, rule.set.bits))
	}
	other := func(p netip.Prefix) bool { return !p.IsValid() || p != p.Masked() }
	if !slices.ContainsFunc(g.networks, other) {
		if rules := g.expand(); len(rules) == len(g.networks) && len(groups(rules)) == 1 {
			return rules
		}
	}
	return []Rule{{Unknown: fmt.Sprintf("nft rule with %d elements in set %s", len(g.networks), clean(rule.set.name))}}
}

// readSets reads the sets that rules of the table look destinations up in.
func (t *nfTable) readSets(ctx context.Context) error {
	t.sets = map[string][]netip.Addr{}
	isLookup := func(e nfExpr) bool { return e.name == "lookup" }
	for _, r := range t.rules {
		if !slices.ContainsFunc(r.exprs, isLookup) { // decoding the rule takes longer
			continue
		}
		name := decodeExprs(r.exprs).set.name
		if name == "" {
			continue
		}
		var err error
		if t.sets[name], err = nfElements(ctx, t.name, name); err != nil {
			return err
		}
	}
	return nil
}

// nfElements lists the addresses in a set of a table of family ip.
func nfElements(ctx context.Context, table, set string) (list []netip.Addr, err error) {
	m, err := nftMessage(unix.NFT_MSG_GETSETELEM, 0, unix.NFPROTO_IPV4,
		nfString(unix.NFTA_SET_ELEM_LIST_TABLE, table), nfString(unix.NFTA_SET_ELEM_LIST_SET, set))
	if err != nil {
		return nil, err
	}
	err = nfDump(ctx, m, func() { list = nil }, func(_ byte, ad *netlink.AttributeDecoder) error {
		elements, err := decodeElements(ad)
		list = append(list, elements...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the set %s of nf_tables table ip %s: %w", clean(set), clean(table), err)
	}
	return list, nil
}

// decodeElements returns the keys of a set's elements. An element that has more than a key, such as
// the end of an interval or a time, is not one of ours: it becomes an invalid address.
func decodeElements(ad *netlink.AttributeDecoder) (list []netip.Addr, err error) {
	for ad.Next() {
		if ad.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		ad.Nested(func(all *netlink.AttributeDecoder) error {
			for all.Next() {
				all.Nested(func(one *netlink.AttributeDecoder) error {
					var a netip.Addr
					plain := true
					for one.Next() {
						if one.Type() != unix.NFTA_SET_ELEM_KEY {
							plain = false
							continue
						}
						one.Nested(func(key *netlink.AttributeDecoder) error {
							for key.Next() {
								if key.Type() == unix.NFTA_DATA_VALUE {
									a, _ = netip.AddrFromSlice(key.Bytes())
								}
							}
							return nil
						})
					}
					if !plain || !a.Is4() {
						a = netip.Addr{}
					}
					list = append(list, a)
					return nil
				})
			}
			return nil
		})
	}
	return list, ad.Err()
}
