package netcfg_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// everywherePort is where the world takes UDP packets to every address.
const everywherePort = 7002

// everywhere lets the world take UDP packets to every address. Each has a number in it.
func (w *network) everywhere(t *testing.T) net.PacketConn {
	var c net.PacketConn
	w.world.do(t, func() {
		sh(t, `for l in all lo eth0-peer eth1-peer; do echo 0 > /proc/sys/net/ipv4/conf/$l/rp_filter; done
for p in 0.0.0.0/1 128.0.0.0/1; do ip route add local $p dev lo; done; ip route add 172.17.0.0/16 via 10.0.1.5`)
		var err error
		if c, err = net.ListenPacket("udp4", netip.AddrPortFrom(netip.IPv4Unspecified(), everywherePort).String()); err != nil {
			t.Error(err)
			return
		}
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// send sends a packet to each address, from the address and port. They are numbered.
func send(t *testing.T, from netip.AddrPort, to []netip.Addr) {
	c, err := net.ListenPacket("udp4", from.String())
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	for i, a := range to {
		text := binary.BigEndian.AppendUint32(nil, uint32(i))
		if _, err := c.WriteTo(text, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, everywherePort))); err != nil {
			t.Errorf("a packet to %s: %v", a, err)
		}
	}
}

// The kernel does with packets what the settings say, whatever lists there are, also behind
// Docker's chains: with those of the node's addresses, of a container, and on the second link.
func TestPacketsOfRandomSettings(t *testing.T) {
	t.Parallel()
	node := netip.IPv4Unspecified()
	container, routed := netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("172.17.0.3")
	other, second := netip.MustParseAddr("10.0.1.77"), netip.MustParseAddr("10.0.2.5")
	senders := []struct {
		bound, plain netip.Addr // plain is the source that is seen without our rules
		packet       packet
	}{
		{node, primary, packet{source: primary, sourceHere: true, out: "eth0"}},
		{container, primary, packet{source: container, out: "eth0"}},
		{other, other, packet{source: other, sourceHere: true, out: "eth0"}},
		{static, static, packet{source: static, sourceHere: true, out: "eth0"}},
		{second, second, packet{source: second, sourceHere: true, out: "eth1"}},
		{routed, second, packet{source: routed, out: "eth1"}},
	}
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program, "iptables-nft", "iptables-legacy")
			w := newNetwork(t, v.options, v.program)
			p := v.program + " -w 5 -t nat "
			sh(t, "for a in 10.0.2.5 172.17.0.3; do ip rule add from $a lookup 100; done; ip route add default via 10.0.2.1 table 100\n"+
				p+"-N DOCKER; "+p+"-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER; "+p+"-A DOCKER -i docker0 -j RETURN")
			w.node.docker()
			w.container.do(t, func() { sh(t, "ip addr add 172.17.0.3/16 dev c0") })
			world := w.everywhere(t)
			for seed := range 12 {
				r := rand.New(rand.NewPCG(6, uint64(seed)))
				c := randomConfig(r)
				w.node.ensure(t, c, -1)
				to := slices.DeleteFunc(destinations(r, c, 25), func(a netip.Addr) bool {
					near := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/22"), netip.MustParsePrefix("127.0.0.0/8"),
						netip.MustParsePrefix("172.17.0.0/16"), netip.MustParsePrefix(secondENI + "/32"), netip.MustParsePrefix("224.0.0.0/3")}
					return slices.ContainsFunc(near, func(n netip.Prefix) bool { return n.Contains(a) })
				})
				slices.SortFunc(to, netip.Addr.Compare)
				to = slices.Compact(to)
				for i, s := range senders {
					// Conntrack remembers the packets of the rounds before, by their ports.
					from := netip.AddrPortFrom(s.bound, uint16(20000+seed*len(senders)+i))
					if s.bound == container || s.bound == routed {
						w.container.do(t, func() { send(t, from, to) })
					} else {
						send(t, from, to)
					}
					world.SetReadDeadline(time.Now().Add(10 * time.Second))
					for range to { // so few fit into the socket's buffer
						var text [4]byte
						_, from, err := world.ReadFrom(text[:])
						if err != nil {
							t.Fatalf("seed %d: packets are lost: %v", seed, err)
						}
						seen := from.(*net.UDPAddr).AddrPort().Addr().Unmap()
						s.packet.destination = to[binary.BigEndian.Uint32(text[:])]
						want := s.plain
						if meant(c, s.packet) {
							want = static
						}
						if seen != want {
							t.Errorf("seed %d: from %s to %s, out by %s: seen as %s, want %s", seed, s.packet.source, s.packet.destination, s.packet.out, seen, want)
						}
					}
				}
			}
			w.node.removeAll(t, -1, static)
		})
	}
}
