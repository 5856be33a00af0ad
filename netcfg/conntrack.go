package netcfg

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	vnetlink "github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// The kernel decides how to translate a connection when it sees the first packet, and keeps the
// decision in conntrack. Three things follow.
//
// Before the first nat rule, conntrack is off: when the rules come, the kernel takes every
// connection for a new one. A TCP packet says whether it is the first of its connection, and the
// rules check that. For other protocols conntrack is turned on first, with rules that translate
// nothing, for the time settle. The connections that it sees meanwhile stay untranslated.
//
// When a static IP is given up, the entries that translate to or from it are deleted. Otherwise
// their connections would go on with an address that the next node may have.
//
// The translation of a connection can be looked up.

// settle is how long conntrack watches before the rules translate. A connection of a protocol other
// than TCP that sends nothing in that time, and whose socket is not connected, is taken for a new
// one.
var settle = 2 * time.Second

// streamTime is how long conntrack keeps a UDP flow that is silent, by the kernel's default.
const streamTime = 120

// Conntrack says how full the kernel's connection tracking is. Programming the rules turns it on
// for all of the node's traffic.
type Conntrack struct {
	Count int `json:"count"` // connections tracked in this network namespace
	Max   int `json:"max"`   // of the kernel; beyond it, packets of new connections are dropped. 0: not loaded
}

// readConntrack reads both numbers. They are 0 if the kernel module is not loaded.
func readConntrack() (Conntrack, error) {
	number := func(name string) (int, error) {
		b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_" + name)
		if errors.Is(err, os.ErrNotExist) {
			return 0, nil
		}
		if err != nil {
			return 0, fmt.Errorf("reading conntrack's %s: %w", name, err)
		}
		return strconv.Atoi(strings.TrimSpace(string(b)))
	}
	count, err := number("count")
	if err != nil {
		return Conntrack{}, err
	}
	limit, err := number("max")
	return Conntrack{count, limit}, err
}

// Connection is one direction of a connection.
type Connection struct {
	Protocol    uint8 // unix.IPPROTO_TCP, unix.IPPROTO_UDP
	Source      netip.AddrPort
	Destination netip.AddrPort
}

// reversed returns the addresses of the connection's answers, if nothing is translated.
func (c Connection) reversed() Connection {
	return Connection{c.Protocol, c.Destination, c.Source}
}

// Translation is how the kernel translates a connection.
type Translation struct {
	Tracked     bool           // false: conntrack has no entry, so that no rule can have translated it
	Source      netip.AddrPort // that the other side sees
	Destination netip.AddrPort // that the packets reach
	// Unanswered is set if no answer came to Source. If the connection works nevertheless, the
	// other side sees another source: something changes the packets after conntrack.
	Unanswered bool
}

// ctEntry is one entry of conntrack, of family IPv4.
type ctEntry struct {
	original, reply Connection
	status          uint32              // IPS_*
	raw             []netlink.Attribute // identifies the entry: tuple, zone, number
}

// translates reports whether the entry translates some other address to a on the way out, or a to
// some other address on the way in.
func (e ctEntry) translates(a netip.Addr) bool {
	return e.original.Source.Addr() != a && e.reply.Destination.Addr() == a ||
		e.original.Destination.Addr() == a && e.reply.Source.Addr() != a
}

func ctMessage(kind, flags int, attrs ...netlink.Attribute) (nfMessage, error) {
	return nfRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|kind, flags, unix.NFPROTO_IPV4, attrs...)
}

// ctEach calls each for the entries that translate one of the addresses.
func ctEach(ctx context.Context, addrs []netip.Addr, reset func(), each func(netip.Addr, ctEntry)) error {
	m, err := ctMessage(nl.IPCTNL_MSG_CT_GET, 0)
	if err != nil {
		return err
	}
	err = nfDump(ctx, m, reset, func(family byte, ad *netlink.AttributeDecoder) error {
		if family != unix.NFPROTO_IPV4 {
			return nil
		}
		e, err := decodeEntry(ad)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if e.translates(a) {
				each(a, e)
				break
			}
		}
		return nil
	})
	if unsupported(err) { // no ctnetlink: the kernel has no conntrack, or no module to look into it
		reset()
		return nil
	}
	return err
}

// countTranslated counts the connections that are translated to or from each address.
func countTranslated(ctx context.Context, addrs []netip.Addr) (counts map[netip.Addr]int, err error) {
	if len(addrs) == 0 {
		return nil, nil
	}
	err = ctEach(ctx, addrs, func() { counts = map[netip.Addr]int{} }, func(a netip.Addr, _ ctEntry) { counts[a]++ })
	if err != nil {
		return nil, fmt.Errorf("reading conntrack: %w", err)
	}
	return counts, nil
}

// forgetConnections deletes the entries of connections that are translated to or from the address.
func forgetConnections(ctx context.Context, a netip.Addr) error {
	var found []ctEntry
	err := ctEach(ctx, []netip.Addr{a}, func() { found = nil }, func(_ netip.Addr, e ctEntry) { found = append(found, e) })
	for _, e := range found {
		var m nfMessage
		if m, err = ctMessage(nl.IPCTNL_MSG_CT_DELETE, 0, e.raw...); err != nil {
			break
		}
		if err = nfTalk(ctx, m, nil); err != nil && !errors.Is(err, syscall.ENOENT) {
			break
		}
		err = nil
	}
	if err != nil {
		return fmt.Errorf("deleting the conntrack entries of %s: %w", a, err)
	}
	return nil
}

// lookUp returns how conntrack translates a connection.
func lookUp(ctx context.Context, c Connection) (t Translation, err error) {
	m, err := ctMessage(nl.IPCTNL_MSG_CT_GET, 0, c.tuple(nl.CTA_TUPLE_ORIG))
	if err != nil {
		return t, err
	}
	err = nfTalk(ctx, m, func(ad *netlink.AttributeDecoder) error {
		e, err := decodeEntry(ad)
		t = Translation{true, e.reply.Destination, e.reply.Source, e.status&statusSeenReply == 0}
		return err
	})
	if errors.Is(err, syscall.ENOENT) {
		return Translation{Source: c.Source, Destination: c.Destination}, nil
	}
	if err != nil {
		return t, fmt.Errorf("looking up the connection from %s to %s in conntrack: %w", c.Source, c.Destination, err)
	}
	return t, nil
}

// conntrackOn reports whether conntrack sees this node's packets: it sends one to itself and looks.
func conntrackOn(ctx context.Context) bool {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return false
	}
	defer c.Close()
	self := c.LocalAddr().(*net.UDPAddr).AddrPort()
	if _, err := c.WriteToUDPAddrPort([]byte{0}, self); err != nil {
		return false
	}
	t, err := lookUp(ctx, Connection{unix.IPPROTO_UDP, self, self})
	return err == nil && t.Tracked
}

// watchFlows gives conntrack, which has just been turned on, the time to see active connections. It
// enters connected UDP sockets at once, since they may send rarely. It ignores an entry that cannot
// be made: the kernel has no ctnetlink, or the flow has sent something meanwhile.
func watchFlows(ctx context.Context) error {
	for _, c := range connectedUDP() {
		m, err := ctMessage(nl.IPCTNL_MSG_CT_NEW, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
			c.tuple(nl.CTA_TUPLE_ORIG), c.reversed().tuple(nl.CTA_TUPLE_REPLY),
			netlink.Attribute{Type: nl.CTA_TIMEOUT, Data: binary.BigEndian.AppendUint32(nil, streamTime)},
			netlink.Attribute{Type: nl.CTA_STATUS, Data: binary.BigEndian.AppendUint32(nil, statusSeenReply|statusAssured|statusConfirmed)})
		if err == nil {
			err = nfTalk(ctx, m, nil)
		}
		if ctx.Err() != nil {
			return err
		}
	}
	if pause.Sleep(ctx, settle) != nil {
		return ctx.Err()
	}
	return nil
}

// Status bits of a conntrack entry (IPS_*).
const (
	statusSeenReply = 1 << 1
	statusAssured   = 1 << 2
	statusConfirmed = 1 << 3
)

// connectedUDP lists the IPv4 flows of this node's connected UDP sockets. It returns none if
// sockets cannot be listed.
func connectedUDP() (list []Connection) {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} { // Java's sockets are IPv6 ones
		sockets, err := vnetlink.SocketDiagUDP(family)
		if err != nil {
			continue
		}
		for _, s := range sockets {
			from, ok1 := netip.AddrFromSlice(s.ID.Source)
			to, ok2 := netip.AddrFromSlice(s.ID.Destination)
			from, to = from.Unmap(), to.Unmap()
			if ok1 && ok2 && from.Is4() && to.Is4() && !to.IsUnspecified() && !to.IsLoopback() && s.ID.DestinationPort != 0 {
				list = append(list, Connection{unix.IPPROTO_UDP, netip.AddrPortFrom(from, s.ID.SourcePort), netip.AddrPortFrom(to, s.ID.DestinationPort)})
			}
		}
	}
	return list
}

// tuple encodes the connection as an attribute of that type.
func (c Connection) tuple(kind uint16) netlink.Attribute {
	nested := func(kind uint16, attrs ...netlink.Attribute) netlink.Attribute {
		data, err := netlink.MarshalAttributes(attrs)
		if err != nil {
			panic(err) // a few bytes always fit
		}
		return netlink.Attribute{Type: unix.NLA_F_NESTED | kind, Data: data}
	}
	port := func(kind uint16, p uint16) netlink.Attribute {
		return netlink.Attribute{Type: kind, Data: binary.BigEndian.AppendUint16(nil, p)}
	}
	return nested(kind,
		nested(nl.CTA_TUPLE_IP,
			netlink.Attribute{Type: nl.CTA_IP_V4_SRC, Data: c.Source.Addr().AsSlice()},
			netlink.Attribute{Type: nl.CTA_IP_V4_DST, Data: c.Destination.Addr().AsSlice()}),
		nested(nl.CTA_TUPLE_PROTO,
			netlink.Attribute{Type: nl.CTA_PROTO_NUM, Data: []byte{c.Protocol}},
			port(nl.CTA_PROTO_SRC_PORT, c.Source.Port()), port(nl.CTA_PROTO_DST_PORT, c.Destination.Port())))
}

func decodeEntry(ad *netlink.AttributeDecoder) (e ctEntry, err error) {
	for ad.Next() {
		switch ad.Type() {
		case nl.CTA_TUPLE_ORIG:
			e.raw = append(e.raw, netlink.Attribute{Type: unix.NLA_F_NESTED | nl.CTA_TUPLE_ORIG, Data: ad.Bytes()})
			ad.Nested(e.original.decode)
		case nl.CTA_TUPLE_REPLY:
			ad.Nested(e.reply.decode)
		case nl.CTA_STATUS:
			if b := ad.Bytes(); len(b) == 4 {
				e.status = binary.BigEndian.Uint32(b)
			}
		case nl.CTA_ID, nl.CTA_ZONE:
			e.raw = append(e.raw, netlink.Attribute{Type: ad.Type(), Data: ad.Bytes()})
		}
	}
	return e, ad.Err()
}

// decode reads a tuple.
func (c *Connection) decode(ad *netlink.AttributeDecoder) error {
	var from, to netip.Addr
	var fromPort, toPort uint16
	for ad.Next() {
		switch ad.Type() {
		case nl.CTA_TUPLE_IP:
			ad.Nested(func(ip *netlink.AttributeDecoder) error {
				for ip.Next() {
					switch ip.Type() {
					case nl.CTA_IP_V4_SRC:
						from, _ = netip.AddrFromSlice(ip.Bytes())
					case nl.CTA_IP_V4_DST:
						to, _ = netip.AddrFromSlice(ip.Bytes())
					}
				}
				return nil
			})
		case nl.CTA_TUPLE_PROTO:
			ad.Nested(func(p *netlink.AttributeDecoder) error {
				for p.Next() {
					switch p.Type() {
					case nl.CTA_PROTO_NUM:
						c.Protocol = p.Uint8()
					case nl.CTA_PROTO_SRC_PORT:
						fromPort = p.Uint16()
					case nl.CTA_PROTO_DST_PORT:
						toPort = p.Uint16()
					}
				}
				return nil
			})
		}
	}
	c.Source, c.Destination = netip.AddrPortFrom(from, fromPort), netip.AddrPortFrom(to, toPort)
	return nil
}
