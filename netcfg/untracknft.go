package netcfg

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// nfUntracked is Untracked for nf_tables, where the nft variant of iptables has its table, too.
func nfUntracked(ctx context.Context, want Config, link string) (list []Untracking, err error) {
	tables, ok, err := nfTables(ctx)
	if !ok || err != nil {
		return nil, err
	}
	chains, err := nfChains(ctx, unix.NFPROTO_UNSPEC)
	if err != nil {
		return nil, err
	}
	hooked := map[tableKey]bool{} // tables that see packets before connection tracking
	for _, c := range chains {
		if key := (tableKey{c.family, c.table}); c.early() && tables[key]&tableDormant == 0 {
			hooked[key] = true
		}
	}
	type chainRules struct {
		nfChain
		rules []match
		at    []uint64 // their handles
	}
	var all []chainRules
	used := map[string]bool{} // chains that a rule leads to, by table
	for _, c := range chains {
		key := tableKey{c.family, c.table}
		if !hooked[key] || c.base && !c.early() {
			continue
		}
		rules, err := nfRules(ctx, c)
		if err != nil {
			return nil, err
		}
		read := chainRules{nfChain: c}
		for _, r := range rules {
			m := r.match()
			read.rules, read.at = append(read.rules, m), append(read.at, r.handle)
			used[key.String()+" "+m.to] = true
		}
		all = append(all, read)
	}
	for _, c := range all {
		key := tableKey{c.family, c.table}.String()
		if !c.base && !used[key+" "+c.name] && !used[key+" "+anyChain] {
			continue
		}
		ended := false
		for i, m := range c.rules {
			if !m.untracks {
				ended = ended || m.ends
				continue
			}
			m.other = m.other || ended
			if concerned, sure := m.concerns(c.hook, !c.base, want, link); concerned {
				list = append(list, Untracking{fmt.Sprintf("table %s chain %s", key, clean(c.name)), fmt.Sprintf("a notrack rule (handle %d)", c.at[i]), sure})
			}
		}
	}
	return list, nil
}

// anyChain says that a rule leads to chains that a map names.
const anyChain = "*"

// early reports whether the chain sees IPv4 packets before connection tracking does.
func (c nfChain) early() bool {
	return c.base && c.priority < conntrackPriority && (c.family == unix.NFPROTO_IPV4 || c.family == unix.NFPROTO_INET) &&
		(c.hook == unix.NF_INET_LOCAL_OUT || c.hook == unix.NF_INET_PRE_ROUTING)
}

// match reads what the rule asks of a packet and does with it.
func (r nfRule) match() (m match) {
	var loaded expr.Any
	var mask []byte
	for _, raw := range r.exprs {
		switch raw.name {
		case "notrack":
			m.untracks = true
			return m
		case "counter", "comment", "log":
			continue
		case "match": // of iptables
			name, _ := raw.extension(unix.NFTA_MATCH_NAME, unix.NFTA_MATCH_INFO)
			m.other = m.other || name != "comment"
			continue
		case "target":
			name, info := raw.extension(unix.NFTA_TARGET_NAME, unix.NFTA_TARGET_INFO)
			m.untracks = name == "NOTRACK" || name == "CT" && len(info) >= 2 && binary.NativeEndian.Uint16(info)&ctNotrack != 0
			m.ends = !m.untracks && !slices.Contains(goingOn, name)
			return m
		}
		e, ok := decodeExpr(raw)
		if !ok {
			m.other, m.ends = true, true
			continue
		}
		switch e := e.(type) {
		case *expr.Payload, *expr.Meta, *expr.Fib:
			loaded, mask = e, nil
		case *expr.Bitwise:
			mask = e.Mask
		case *expr.Cmp:
			m.compare(loaded, mask, e)
		case *expr.Lookup: // it may be a map of jumps
			m.other, m.ends, m.to = true, true, anyChain
		case *expr.Verdict:
			m.ends = m.ends || e.Kind != expr.VerdictContinue
			m.to = e.Chain
		default:
			m.other = true
		}
	}
	return m
}

// ctNotrack is the flag of target CT for --notrack (XT_CT_NOTRACK).
const ctNotrack = 1

// compare notes a condition. One that is not understood becomes other.
func (m *match) compare(loaded expr.Any, mask []byte, c *expr.Cmp) {
	not := c.Op == expr.CmpOpNeq
	understood := (not || c.Op == expr.CmpOpEq) && m.understands(loaded, mask, c.Data, not)
	m.other = m.other || !understood
}

func (m *match) understands(loaded expr.Any, mask, data []byte, not bool) bool {
	switch l := loaded.(type) {
	case *expr.Meta:
		switch l.Key {
		case expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME, expr.MetaKeyIIF, expr.MetaKeyOIF:
			name, ok := linkCondition(l.Key, data, not)
			if l.Key == expr.MetaKeyIIFNAME || l.Key == expr.MetaKeyIIF {
				m.in = name
			} else {
				m.out = name
			}
			return ok
		case expr.MetaKeyNFPROTO:
			m.others = len(data) == 1 && (data[0] == unix.NFPROTO_IPV4) == not
			return len(data) == 1
		case expr.MetaKeyPROTOCOL:
			return !not && len(data) == 2 && binary.BigEndian.Uint16(data) == unix.ETH_P_IP
		case expr.MetaKeyL4PROTO:
			return m.protocol(data, not)
		}
	case *expr.Payload:
		if l.Base != expr.PayloadBaseNetworkHeader {
			return false
		}
		const protocolOffset = 9
		if l.Offset == protocolOffset && l.Len == 1 && mask == nil {
			return m.protocol(data, not)
		}
		p, ok := prefixOf(mask, data, int(l.Len))
		switch {
		case !ok || not:
			return false
		case l.Offset == ipSource:
			m.src = p
			return true
		case l.Offset == ipDestination:
			m.dst = p
			return true
		}
	}
	return false
}

// protocol notes a condition on the protocol.
func (m *match) protocol(data []byte, not bool) bool {
	if not || len(data) != 1 {
		return false
	}
	m.proto = int(data[0])
	return true
}

// linkCondition reads a comparison with a link's name or index.
func linkCondition(key expr.MetaKey, data []byte, not bool) (linkMatch, bool) {
	if key == expr.MetaKeyIIF || key == expr.MetaKeyOIF {
		if len(data) != 4 {
			return linkMatch{}, false
		}
		l, err := net.InterfaceByIndex(int(binary.NativeEndian.Uint32(data)))
		if err != nil {
			return linkMatch{}, false
		}
		return linkMatch{name: l.Name, not: not}, true
	}
	name := strings.TrimRight(string(data), "\x00")
	return linkMatch{name, len(name) == len(data), not}, name != ""
}

// prefixOf returns the network that a comparison of an address, or of its first bytes, means.
func prefixOf(mask, data []byte, size int) (netip.Prefix, bool) {
	if size < 1 || size > 4 || len(data) != size {
		return netip.Prefix{}, false
	}
	bits := 8 * size
	if mask != nil {
		ones, all := net.IPMask(mask).Size()
		if all != 8*size {
			return netip.Prefix{}, false
		}
		bits = ones
	}
	var a [4]byte
	copy(a[:], data)
	return netip.PrefixFrom(netip.AddrFrom4(a), bits), true
}

// extension returns name and data of an extension of iptables.
func (e nfExpr) extension(nameType, infoType uint16) (name string, info []byte) {
	ad, err := nfDecoder(e.data)
	if err != nil {
		return "", nil
	}
	for ad.Next() {
		switch ad.Type() {
		case nameType:
			name = ad.String()
		case infoType:
			info = ad.Bytes()
		}
	}
	return name, info
}
