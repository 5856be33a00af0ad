package netcfg

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// nfTime bounds one exchange with nf_tables.
const nfTime = 10 * time.Second

// Reading nf_tables is done here, attribute by attribute, rather than with the nftables package: that one passes over expressions it
// does not know, so that a rule with one more condition would look like ours, and drops the kernel's error codes.

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
	user   []byte // user data, where nft keeps comments
}

// nfChain is a chain as the kernel lists it.
type nfChain struct {
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
	flags  uint32 // 1: dormant
	chains []nfChain
	rules  []nfRule // in order, for each chain
}

func nfDial(ctx context.Context) (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	return c, errors.Join(c.SetDeadline(nfDeadline(ctx)))
}

func nfDeadline(ctx context.Context) time.Time {
	end := time.Now().Add(nfTime)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		return d
	}
	return end
}

// nfMessage builds one message for nf_tables, family ip.
func nfMessage(kind int, flags netlink.HeaderFlags, attrs ...netlink.Attribute) (netlink.Message, error) {
	data, err := netlink.MarshalAttributes(attrs)
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request | flags},
		Data:   append([]byte{unix.NFPROTO_IPV4, unix.NFNETLINK_V0, 0, 0}, data...),
	}, err
}

func nfString(kind uint16, s string) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: append([]byte(s), 0)}
}

// nfDump asks for a list, again while the kernel says that it changed meanwhile.
func nfDump(ctx context.Context, kind int, each func(*netlink.AttributeDecoder) error, attrs ...netlink.Attribute) error {
	m, err := nfMessage(kind, netlink.Dump, attrs...)
	if err != nil {
		return err
	}
	conn, err := nfDial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var replies []netlink.Message
	for range dumps {
		if err := ctx.Err(); err != nil {
			return err
		}
		replies, err = conn.Execute(m)
		if err == nil && !interrupted(replies) {
			break
		}
		if err == nil {
			err = syscall.EINTR
		}
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("it changed during each of %d attempts: %w", dumps, err)
	}
	for _, r := range replies {
		if len(r.Data) < 4 {
			return fmt.Errorf("a reply of %d bytes", len(r.Data))
		}
		if r.Data[0] != unix.NFPROTO_IPV4 {
			continue
		}
		ad, err := nfDecoder(r.Data[4:])
		if err != nil {
			return err
		}
		if err := each(ad); err != nil {
			return err
		}
	}
	return nil
}

func interrupted(list []netlink.Message) bool {
	for _, m := range list {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return true
		}
	}
	return false
}

func nfDecoder(b []byte) (*netlink.AttributeDecoder, error) {
	ad, err := netlink.NewAttributeDecoder(b)
	if err == nil {
		ad.ByteOrder = binary.BigEndian
	}
	return ad, err
}

// nfTables lists the tables of family ip and their flags. A kernel without nf_tables has none; ok says which.
func nfTables(ctx context.Context) (tables map[string]uint32, ok bool, err error) {
	tables = map[string]uint32{}
	err = nfDump(ctx, unix.NFT_MSG_GETTABLE, func(ad *netlink.AttributeDecoder) error {
		var name string
		var flags uint32
		for ad.Next() {
			switch ad.Type() {
			case unix.NFTA_TABLE_NAME:
				name = ad.String()
			case unix.NFTA_TABLE_FLAGS:
				flags = ad.Uint32()
			}
		}
		tables[name] = flags
		return ad.Err()
	})
	for _, unsupported := range []error{syscall.EINVAL, syscall.EOPNOTSUPP, syscall.EPROTONOSUPPORT, syscall.EAFNOSUPPORT} {
		// nfnetlink answers EINVAL where the subsystem is missing, the socket call one of the others.
		if errors.Is(err, unsupported) {
			return nil, false, nil
		}
	}
	if err != nil {
		return nil, false, fmt.Errorf("listing the nf_tables tables: %w", err)
	}
	return tables, true, nil
}

func hasNftables(ctx context.Context) (bool, error) {
	_, ok, err := nfTables(ctx)
	return ok, err
}

// nfRead reads one table of family ip; nil where it does not exist.
func nfRead(ctx context.Context, name string) (*nfTable, error) {
	tables, _, err := nfTables(ctx)
	if err != nil {
		return nil, err
	}
	flags, ok := tables[name]
	if !ok {
		return nil, nil
	}
	t := &nfTable{name: name, flags: flags}
	err = nfDump(ctx, unix.NFT_MSG_GETCHAIN, func(ad *netlink.AttributeDecoder) error {
		c, table, err := decodeChain(ad)
		if err == nil && table == name {
			t.chains = append(t.chains, c)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the chains of nf_tables table ip %s: %w", name, err)
	}
	err = nfDump(ctx, unix.NFT_MSG_GETRULE, func(ad *netlink.AttributeDecoder) error {
		r, table, err := decodeRule(ad)
		if err == nil && table == name {
			t.rules = append(t.rules, r)
		}
		return err
	}, nfString(unix.NFTA_RULE_TABLE, name))
	if err != nil {
		return nil, fmt.Errorf("listing the rules of nf_tables table ip %s: %w", name, err)
	}
	return t, nil
}

func decodeChain(ad *netlink.AttributeDecoder) (c nfChain, table string, err error) {
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_CHAIN_TABLE:
			table = ad.String()
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
	return c, table, ad.Err()
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
		case unix.NFTA_RULE_USERDATA:
			r.user = ad.Bytes()
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

// nfBatch sends messages as one transaction: all of them take effect, or none.
func nfBatch(ctx context.Context, messages []netlink.Message) error {
	conn, err := nfDial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	mark := func(kind netlink.HeaderType) netlink.Message {
		return netlink.Message{Header: netlink.Header{Type: kind, Flags: netlink.Request},
			Data: []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES}}
	}
	all := append([]netlink.Message{mark(unix.NFNL_MSG_BATCH_BEGIN)}, messages...)
	if _, err := conn.SendMessages(append(all, mark(unix.NFNL_MSG_BATCH_END))); err != nil {
		return err
	}
	for acks := 0; acks < len(messages); {
		replies, err := conn.Receive()
		if err != nil {
			return err
		}
		acks += len(replies)
	}
	return nil
}
