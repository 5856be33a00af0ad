package netcfg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Offsets in the IPv4 header.
const ipSource, ipDestination = 12, 16

// The flags in the TCP header, and where they are.
const (
	tcpFlags                       = 13
	tcpFIN, tcpSYN, tcpRST, tcpACK = 0x01, 0x02, 0x04, 0x10
)

// register is the one that all our rules use.
const register = unix.NFT_REG_1

// localAddress is what a fib lookup of the address type returns for an address of this node
// (RTN_LOCAL), in host order.
var localAddress = binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)

// encodeExprs returns the rule in the kernel's virtual machine, as nft itself would write it.
func encodeExprs(r Rule) (list []expr.Any) {
	add := func(e ...expr.Any) { list = append(list, e...) }
	compare := func(op expr.CmpOp, data []byte) { add(&expr.Cmp{Op: op, Register: register, Data: data}) }
	load := func(base expr.PayloadBase, offset, n uint32) {
		add(&expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: n})
	}
	mask := func(bits int) {
		add(&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: net.CIDRMask(bits, 32), Xor: make([]byte, 4)})
	}
	address := func(op expr.CmpOp, offset uint32, p netip.Prefix) {
		if p.Bits()%8 == 0 { // whole bytes are compared without a mask
			load(expr.PayloadBaseNetworkHeader, offset, uint32(p.Bits()/8))
			compare(op, p.Addr().AsSlice()[:p.Bits()/8])
			return
		}
		load(expr.PayloadBaseNetworkHeader, offset, 4)
		mask(p.Bits())
		compare(op, p.Addr().AsSlice())
	}
	if r.NotSource.IsValid() {
		address(expr.CmpOpNeq, ipSource, r.NotSource)
	}
	if r.Destination.IsValid() {
		address(expr.CmpOpEq, ipDestination, r.Destination)
	}
	if r.set.name != "" {
		load(expr.PayloadBaseNetworkHeader, ipDestination, 4)
		if r.set.bits < 32 {
			mask(r.set.bits)
		}
		add(&expr.Lookup{SourceRegister: register, SetName: r.set.name})
	}
	if r.Out != "" {
		add(&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: register})
		compare(expr.CmpOpEq, linkName(r.Out))
	}
	if r.NotOut != "" {
		add(&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: register})
		compare(expr.CmpOpNeq, linkName(r.NotOut))
	}
	if r.MidStream {
		add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register})
		compare(expr.CmpOpEq, []byte{unix.IPPROTO_TCP})
		load(expr.PayloadBaseTransportHeader, tcpFlags, 1)
		add(&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 1,
			Mask: []byte{tcpFIN | tcpSYN | tcpRST | tcpACK}, Xor: []byte{0}})
		compare(expr.CmpOpNeq, []byte{tcpSYN})
	}
	if r.DHCPRenewal {
		add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register})
		compare(expr.CmpOpEq, []byte{unix.IPPROTO_UDP})
		load(expr.PayloadBaseTransportHeader, 0, 4) // both ports, which come first in the header
		compare(expr.CmpOpEq, []byte{0, 68, 0, 67})
	}
	if r.SourceHere {
		add(&expr.Fib{Register: register, ResultADDRTYPE: true, FlagSADDR: true, FlagOIF: true})
		compare(expr.CmpOpEq, localAddress)
	}
	add(&expr.Counter{})
	switch r.Action {
	case Return:
		add(&expr.Verdict{Kind: expr.VerdictReturn})
	case DNAT, SNAT:
		kind := expr.NATTypeDestNAT
		if r.Action == SNAT {
			kind = expr.NATTypeSourceNAT
		}
		add(&expr.Immediate{Register: register, Data: r.To.AsSlice()},
			&expr.NAT{Type: kind, Family: unix.NFPROTO_IPV4, RegAddrMin: register})
	default:
		kind := expr.VerdictJump
		if r.Goto {
			kind = expr.VerdictGoto
		}
		add(&expr.Verdict{Kind: kind, Chain: string(r.Action)})
	}
	return list
}

// linkName returns a link's name as the kernel compares it: 16 bytes, filled up with zeros.
func linkName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// decodeExprs returns the rule of ours that the expressions encode. It guesses a rule, encodes that
// rule again, and accepts it only if both encodings are equal.
func decodeExprs(list []nfExpr) Rule {
	var r Rule
	var seen []expr.Any
	unknown := func() Rule {
		text := "nft rule:"
		for _, e := range list {
			text += " " + e.name
		}
		return Rule{Unknown: clean(fmt.Sprintf("%s (%d expressions)", text, len(list)))}
	}
	bits := -1        // of a mask between them
	var last expr.Any // the load that a comparison is about
	for _, raw := range list {
		e, ok := decodeExpr(raw)
		if !ok {
			return unknown()
		}
		seen = append(seen, e)
		switch e := e.(type) {
		case *expr.Payload, *expr.Meta, *expr.Fib:
			last, bits = e, -1
		case *expr.Bitwise:
			bits, _ = net.IPMask(e.Mask).Size()
		case *expr.Cmp:
			r.note(last, e, bits)
		case *expr.Lookup:
			if r.set = (networkSet{e.SetName, bits}); bits < 0 {
				r.set.bits = 32
			}
		case *expr.Immediate:
			r.To, _ = netip.AddrFromSlice(e.Data)
		case *expr.Verdict:
			switch e.Kind {
			case expr.VerdictReturn:
				r.Action = Return
			case expr.VerdictJump:
				r.Action = Action(e.Chain)
			case expr.VerdictGoto:
				r.Action, r.Goto = Action(e.Chain), true
			}
		case *expr.NAT:
			r.Action = DNAT
			if e.Type == expr.NATTypeSourceNAT {
				r.Action = SNAT
			}
		}
	}
	if r.To.IsValid() && !r.To.Is4() || !equalExprs(encodeExprs(r), seen) {
		return unknown()
	}
	return r
}

// note guesses what a comparison with something loaded before means.
func (r *Rule) note(loaded expr.Any, c *expr.Cmp, bits int) {
	switch l := loaded.(type) {
	case *expr.Payload:
		if l.Base == expr.PayloadBaseTransportHeader {
			r.MidStream = l.Offset == tcpFlags
			r.DHCPRenewal = !r.MidStream
			return
		}
		if bits < 0 {
			bits = 8 * len(c.Data)
		}
		a, _ := netip.AddrFromSlice(append(bytes.Clone(c.Data), make([]byte, max(0, 4-len(c.Data)))...))
		if l.Offset == ipSource {
			r.NotSource = netip.PrefixFrom(a, bits)
		} else {
			r.Destination = netip.PrefixFrom(a, bits)
		}
	case *expr.Meta:
		if l.Key == expr.MetaKeyOIFNAME {
			name := string(bytes.TrimRight(c.Data, "\x00"))
			if c.Op == expr.CmpOpNeq {
				r.NotOut = name
			} else {
				r.Out = name
			}
		}
	case *expr.Fib:
		r.SourceHere = true
	}
}

// decodeExpr decodes an expression of a kind that our rules have.
func decodeExpr(raw nfExpr) (expr.Any, bool) {
	var e expr.Any
	switch raw.name {
	case "payload":
		e = &expr.Payload{}
	case "bitwise":
		e = &expr.Bitwise{}
	case "cmp":
		e = &expr.Cmp{}
	case "meta":
		e = &expr.Meta{}
	case "lookup":
		e = &expr.Lookup{}
	case "fib":
		e = &expr.Fib{}
	case "counter":
		e = &expr.Counter{}
	case "nat":
		e = &expr.NAT{}
	case "immediate":
		e = &expr.Immediate{}
		if err := expr.Unmarshal(unix.NFPROTO_IPV4, raw.data, e); err == nil && e.(*expr.Immediate).Register == unix.NFT_REG_VERDICT {
			v, err := decodeVerdict(raw.data)
			return v, err == nil
		}
	default:
		return nil, false
	}
	return e, expr.Unmarshal(unix.NFPROTO_IPV4, raw.data, e) == nil
}

// decodeVerdict decodes an immediate expression that loads a verdict. expr.Verdict's own decoder
// panics at one that is cut short.
func decodeVerdict(data []byte) (*expr.Verdict, error) {
	ad, err := nfDecoder(data)
	if err != nil {
		return nil, err
	}
	v := &expr.Verdict{}
	coded := false
	for ad.Next() {
		if ad.Type() != unix.NFTA_IMMEDIATE_DATA {
			continue
		}
		ad.Nested(func(d *netlink.AttributeDecoder) error {
			for d.Next() {
				if d.Type() != unix.NFTA_DATA_VERDICT {
					continue
				}
				d.Nested(func(verdict *netlink.AttributeDecoder) error {
					for verdict.Next() {
						switch verdict.Type() {
						case unix.NFTA_VERDICT_CODE:
							v.Kind, coded = expr.VerdictKind(int32(verdict.Uint32())), true
						case unix.NFTA_VERDICT_CHAIN:
							v.Chain = verdict.String()
						}
					}
					return nil
				})
			}
			return nil
		})
	}
	if err := ad.Err(); err != nil {
		return nil, err
	}
	if !coded {
		return nil, errors.New("a verdict without its code")
	}
	return v, nil
}

// equalExprs compares expressions in the kernel's own format, counters aside.
func equalExprs(a, b []expr.Any) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := normal(a[i]), normal(b[i])
		if reflect.DeepEqual(x, y) { // as nearly always; encoding both takes longer
			continue
		}
		if fmt.Sprintf("%T", x) != fmt.Sprintf("%T", y) {
			return false
		}
		p, err1 := expr.Marshal(unix.NFPROTO_IPV4, x)
		q, err2 := expr.Marshal(unix.NFPROTO_IPV4, y)
		if err1 != nil || err2 != nil || !bytes.Equal(p, q) {
			return false
		}
	}
	return true
}

// normal removes what the kernel adds to an expression when it lists it.
func normal(e expr.Any) expr.Any {
	switch e := e.(type) {
	case *expr.Counter:
		return &expr.Counter{}
	case *expr.NAT:
		n := *e
		if n.RegAddrMax == n.RegAddrMin {
			n.RegAddrMax = 0
		}
		n.Specified = false
		return &n
	default:
		return e
	}
}
