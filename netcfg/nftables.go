package netcfg

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// nfExpr is one expression of a rule, not yet decoded.
type nfExpr struct {
	name string
	data []byte
}

// nfRule is a rule as the kernel lists it.
type nfRule struct {
	chain  string
	handle uint64
	exprs  []nfExpr
}

// nfChain is a chain as the kernel lists it.
type nfChain struct {
	family   byte
	table    string
	name     string
	base     bool // hooked
	hook     uint32
	priority int32
	kind     string // nat, filter, route
	accept   bool   // policy
}

// nfTable is one table of family ip.
type nfTable struct {
	name   string
	flags  uint32
	chains []nfChain
	rules  []nfRule                // in order, for each chain
	sets   map[string][]netip.Addr // the elements, by name
}

// tableDormant is the flag of a table whose chains are not hooked in (NFT_TABLE_F_DORMANT).
const tableDormant = 1

// tableKey names a table.
type tableKey struct {
	family byte
	name   string
}

func nftMessage(kind, flags int, family byte, attrs ...netlink.Attribute) (nfMessage, error) {
	return nfRequest(unix.NFNL_SUBSYS_NFTABLES<<8|kind, flags, family, attrs...)
}

// nfTables lists the tables of all families and their flags. A kernel without nf_tables has none;
// ok reports which.
func nfTables(ctx context.Context) (tables map[tableKey]uint32, ok bool, err error) {
	m, err := nftMessage(unix.NFT_MSG_GETTABLE, 0, unix.NFPROTO_UNSPEC)
	if err != nil {
		return nil, false, err
	}
	reset := func() { tables = map[tableKey]uint32{} }
	err = nfDump(ctx, m, reset, func(family byte, ad *netlink.AttributeDecoder) error {
		key := tableKey{family: family}
		var flags uint32
		for ad.Next() {
			switch ad.Type() {
			case unix.NFTA_TABLE_NAME:
				key.name = ad.String()
			case unix.NFTA_TABLE_FLAGS:
				flags = ad.Uint32()
			}
		}
		tables[key] = flags
		return ad.Err()
	})
	if unsupported(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("listing the nf_tables tables: %w", err)
	}
	return tables, true, nil
}

// unsupported reports whether err is how the kernel says that it lacks a subsystem or a module.
// nfnetlink answers EINVAL where the subsystem is missing, the socket call one of the others.
func unsupported(err error) bool {
	for _, e := range []error{syscall.EINVAL, syscall.EOPNOTSUPP, syscall.EPROTONOSUPPORT, syscall.EAFNOSUPPORT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func hasNftables(ctx context.Context) (bool, error) {
	_, ok, err := nfTables(ctx)
	return ok, err
}

// nfView is one look at the tables and chains of nf_tables, without their rules.
type nfView struct {
	tables map[tableKey]uint32 // with their flags
	chains []nfChain           // of all families
}

// nfLook looks at the tables and chains. A kernel without nf_tables has none.
func nfLook(ctx context.Context) (v nfView, err error) {
	v.tables, _, err = nfTables(ctx)
	if err == nil && len(v.tables) > 0 {
		v.chains, err = nfChains(ctx, unix.NFPROTO_UNSPEC)
	}
	return v, err
}

// table returns one table of family ip; nil where it does not exist.
func (v nfView) table(name string) *nfTable {
	flags, ok := v.tables[tableKey{unix.NFPROTO_IPV4, name}]
	if !ok {
		return nil
	}
	t := &nfTable{name: name, flags: flags}
	for _, c := range v.chains {
		if c.family == unix.NFPROTO_IPV4 && c.table == name {
			t.chains = append(t.chains, c)
		}
	}
	return t
}

// readRules fills in the rules of a table, chain by chain.
func (t *nfTable) readRules(ctx context.Context) error {
	for _, c := range t.chains {
		rules, err := nfRules(ctx, c)
		if err != nil {
			return err
		}
		t.rules = append(t.rules, rules...)
	}
	return nil
}

// nfChains lists the chains of a family; of all families with NFPROTO_UNSPEC.
func nfChains(ctx context.Context, family byte) (list []nfChain, err error) {
	m, err := nftMessage(unix.NFT_MSG_GETCHAIN, 0, family)
	if err != nil {
		return nil, err
	}
	err = nfDump(ctx, m, func() { list = nil }, func(family byte, ad *netlink.AttributeDecoder) error {
		c, err := decodeChain(ad)
		c.family = family
		list = append(list, c)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the chains of nf_tables: %w", err)
	}
	return list, nil
}

// nfRules lists the rules of a chain; without the chain's name, of the whole table. Asked for a
// whole table, the kernel counts from the table's first rule again for every buffer that it fills:
// 140,000 rules would take half a minute. So that is for our own table alone.
func nfRules(ctx context.Context, c nfChain) (list []nfRule, err error) {
	which := []netlink.Attribute{nfString(unix.NFTA_RULE_TABLE, c.table)}
	if c.name != "" {
		which = append(which, nfString(unix.NFTA_RULE_CHAIN, c.name))
	}
	m, err := nftMessage(unix.NFT_MSG_GETRULE, 0, c.family, which...)
	if err != nil {
		return nil, err
	}
	err = nfDump(ctx, m, func() { list = nil }, func(family byte, ad *netlink.AttributeDecoder) error {
		r, table, err := decodeRule(ad)
		if table == c.table && family == c.family && (c.name == "" || r.chain == c.name) { // older kernels list more
			list = append(list, r)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the rules of nf_tables table %s chain %s: %w", tableKey{c.family, c.table}, clean(c.name), err)
	}
	return list, nil
}

func (t tableKey) String() string {
	family := map[byte]string{unix.NFPROTO_IPV4: "ip", unix.NFPROTO_INET: "inet"}[t.family]
	return family + " " + clean(t.name)
}

func decodeChain(ad *netlink.AttributeDecoder) (c nfChain, err error) {
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_CHAIN_TABLE:
			c.table = ad.String()
		case unix.NFTA_CHAIN_NAME:
			c.name = ad.String()
		case unix.NFTA_CHAIN_TYPE:
			c.kind = ad.String()
		case unix.NFTA_CHAIN_POLICY:
			c.accept = ad.Uint32() == 1 // NF_ACCEPT
		case unix.NFTA_CHAIN_HOOK:
			c.base = true
			ad.Nested(func(h *netlink.AttributeDecoder) error {
				for h.Next() {
					switch h.Type() {
					case unix.NFTA_HOOK_HOOKNUM:
						c.hook = h.Uint32()
					case unix.NFTA_HOOK_PRIORITY:
						c.priority = int32(h.Uint32())
					}
				}
				return nil
			})
		}
	}
	return c, ad.Err()
}

func decodeRule(ad *netlink.AttributeDecoder) (r nfRule, table string, err error) {
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_RULE_TABLE:
			table = ad.String()
		case unix.NFTA_RULE_CHAIN:
			r.chain = ad.String()
		case unix.NFTA_RULE_HANDLE:
			r.handle = ad.Uint64()
		case unix.NFTA_RULE_EXPRESSIONS:
			ad.Nested(func(list *netlink.AttributeDecoder) error {
				for list.Next() {
					list.Nested(func(e *netlink.AttributeDecoder) error {
						var x nfExpr
						for e.Next() {
							switch e.Type() {
							case unix.NFTA_EXPR_NAME:
								x.name = e.String()
							case unix.NFTA_EXPR_DATA:
								x.data = e.Bytes()
							}
						}
						r.exprs = append(r.exprs, x)
						return nil
					})
				}
				return nil
			})
		}
	}
	return r, table, ad.Err()
}
