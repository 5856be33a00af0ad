package netcfg_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// flow is a long-lived connection. ask sends something each way and returns what the world sees as
// the node's address, or the error.
type flow struct {
	name string
	rare bool // it sends nothing while the rules are set
	ask  func() string
}

// The node's port in connections that come from outside.
const servicePort = 7100

// existing opens connections of every kind, in both directions.
func (w *network) existing(t testing.TB) (flows []flow) {
	t.Helper()
	outward := func(protocol, name string, rare bool) {
		c, err := net.DialTimeout(protocol, fmt.Sprintf("%s:%d", onPremises, testPort), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		flows = append(flows, flow{name, rare, func() string { return ask(c) }})
	}
	outward("tcp", "TCP to the world", false)
	outward("tcp", "TCP to the world, rarely used", true)
	outward("udp", "UDP to the world", false)
	outward("udp", "UDP to the world, rarely used", true)

	// From outside: the world connects, and it is the node that speaks first from then on.
	node := netip.AddrPortFrom(primary, servicePort)
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(node))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(node))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := net.ListenPacket("ip4:253", primary.String()) // a protocol without ports
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close(); raw.Close() })
	var fromWorld net.Conn
	w.world.do(t, func() {
		from := netip.AddrPortFrom(netip.MustParseAddr(onPremises), 0)
		d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(from)}
		c, err := d.Dial("tcp", node.String())
		if err != nil {
			t.Error(err)
			return
		}
		echo(t, c)
		if fromWorld, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(node)); err != nil {
			t.Error(err)
			return
		}
		fromWorld.Write([]byte("hello"))
		echo(t, fromWorld)
		p, err := net.DialIP("ip4:253", &net.IPAddr{IP: from.Addr().AsSlice()}, &net.IPAddr{IP: primary.AsSlice()})
		if err != nil {
			t.Error(err)
			return
		}
		echo(t, p)
	})
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	b := make([]byte, 16)
	u.SetDeadline(time.Now().Add(5 * time.Second))
	if _, _, err := u.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	peer := fromWorld.LocalAddr()
	// The world's sockets are connected to the primary IP: an answer proves that it is what they
	// see.
	asked := func(what string, deadline func(time.Time) error, write func() error, read func() error) func() string {
		return func() string {
			deadline(time.Now().Add(2 * time.Second))
			if err := write(); err != nil {
				return err.Error()
			}
			if err := read(); err != nil {
				return err.Error()
			}
			return primary.String()
		}
	}
	flows = append(flows,
		flow{"TCP from the world", false, asked("tcp", accepted.SetDeadline,
			func() error { _, err := accepted.Write([]byte("?")); return err },
			func() error { _, err := io.ReadFull(accepted, b[:1]); return err })},
		flow{"UDP from the world", false, asked("udp", u.SetDeadline,
			func() error { _, err := u.WriteTo([]byte("?"), peer); return err },
			func() error { _, _, err := u.ReadFrom(b); return err })},
		flow{"another protocol to the world", false, asked("ip4:253", raw.SetDeadline,
			func() error {
				_, err := raw.WriteTo([]byte("?"), &net.IPAddr{IP: net.ParseIP(onPremises)})
				return err
			},
			func() error { _, _, err := raw.ReadFrom(b); return err })})
	return flows
}

// echo answers what comes over c, until the test ends.
func echo(t testing.TB, c net.Conn) {
	t.Cleanup(func() { c.Close() })
	go func() {
		for b := make([]byte, 16); ; {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			c.Write(b[:n])
		}
	}()
}

// alive wants each flow to be seen with the primary IP, as before.
func alive(t *testing.T, when string, flows []flow) {
	t.Helper()
	for _, f := range flows {
		if got := f.ask(); got != primary.String() {
			t.Errorf("%s: %s: seen as %s", when, f.name, got)
		}
	}
}

// talking uses the flows that are in use while f runs.
func talking(flows []flow, f func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			for _, f := range flows {
				if !f.rare {
					f.ask()
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	<-done
}

// What exists when the rules come lives on as it is, through all that happens to the rules later,
// and whether conntrack was on before or not. New connections are translated at once.
func TestExistingConnectionsLive(t *testing.T) {
	t.Parallel()
	for _, v := range append(variants, struct {
		name    string
		options netcfg.Options
		program string
	}{"auto", netcfg.Options{}, "iptables-nft"}) {
		for _, before := range []string{"conntrack was off", "conntrack was on"} {
			t.Run(v.name+", "+before, func(t *testing.T) {
				defer netcfg.Settle(500 * time.Millisecond)()
				enter(t, v.program, "iptables-nft")
				w := newNetwork(t, v.options, v.program)
				if before == "conntrack was on" {
					w.node.docker()
				}
				flows := w.existing(t)
				alive(t, "before", flows)
				step := func(when string, do func()) {
					talking(flows, do)
					alive(t, when, flows)
					if got := talk("tcp", "", onPremises); got != static.String() {
						t.Errorf("%s: a new connection is seen as %s", when, got)
					}
				}
				c := config()
				step("the first rules", func() { w.node.ensure(t, c, 2) })
				c.Scope = netcfg.ScopeAll
				step("another scope", func() { w.node.ensure(t, c, 1) })
				step("the rules lost and put back", func() {
					w.node.flush()
					w.node.ensure(t, c, 1)
				})
				step("a new static IP", func() {
					c.Static, c.Former = former, []netip.Addr{static}
					w.node.ensure(t, c, -1)
					c.Static, c.Former = static, []netip.Addr{former}
					w.node.ensure(t, c, -1)
				})
				w.node.removeAll(t, -1, static, former)
				alive(t, "after the removal", flows)
			})
		}
	}
}

// What was translated does not go on with an address that the node has given up. Nothing else is
// cut.
func TestGivenUpConnectionsEnd(t *testing.T) {
	t.Parallel()
	to := fmt.Sprintf("%s:%d", onPremises, testPort)
	for _, v := range variants {
		for name, giveUp := range map[string]struct {
			do   func(t *testing.T, n *node)
			next string // what the world sees of a UDP socket that goes on
		}{
			"release": {func(t *testing.T, n *node) { n.removeAll(t, 3, static) }, primary.String()},
			"change": {func(t *testing.T, n *node) {
				c := config()
				c.Static, c.Former = former, []netip.Addr{static}
				n.ensure(t, c, 4)
			}, former.String()},
			"release of an address that somebody else took off": {func(t *testing.T, n *node) {
				n.remove("eth0", netip.PrefixFrom(static, 32))
				n.removeAll(t, 2, static)
			}, primary.String()},
			"release after the rules were lost": {func(t *testing.T, n *node) {
				n.flush()
				n.docker() // which keeps conntrack on
				n.removeAll(t, -1, static)
			}, primary.String()},
		} {
			t.Run(v.name+"/"+name, func(t *testing.T) {
				enter(t, v.program, "iptables-nft")
				w := newNetwork(t, v.options, v.program)
				w.node.docker()
				serve(t, primary.String(), testPort)
				w.node.ensure(t, config(), 2)
				var container, inward, inPrimary, vpc net.Conn
				dial := func(c *net.Conn, protocol, to string) {
					var err error
					if *c, err = net.DialTimeout(protocol, to, 5*time.Second); err != nil {
						t.Error(err)
						return
					}
					t.Cleanup(func() { (*c).Close() })
				}
				var tcp, udp net.Conn
				dial(&tcp, "tcp", to)
				dial(&udp, "udp", to)
				dial(&vpc, "tcp", fmt.Sprintf("%s:%d", neighbour, testPort))
				w.container.do(t, func() { dial(&container, "tcp", fmt.Sprintf("%s:%d", neighbour, testPort)) })
				w.world.do(t, func() {
					dial(&inward, "tcp", fmt.Sprintf("%s:%d", static, testPort))
					dial(&inPrimary, "tcp", fmt.Sprintf("%s:%d", primary, testPort))
				})
				for _, c := range []struct {
					conn net.Conn
					want string
				}{{tcp, static.String()}, {udp, static.String()}, {vpc, primary.String()}, {container, primary.String()}, {inward, router}, {inPrimary, router}} {
					if got := ask(c.conn); got != c.want {
						t.Fatalf("before: seen as %s, want %s", got, c.want)
					}
				}
				giveUp.do(t, w.node)
				w.world.do(t, func() { // the address is now somebody else's
					sh(t, "ip route add 10.0.1.20/32 dev lo; ip neigh flush dev eth0-peer")
				})
				if got := ask(udp); got != giveUp.next {
					t.Errorf("UDP goes on as %s, want %s", got, giveUp.next)
				}
				for what, c := range map[string]net.Conn{"outward": tcp, "inward": inward} {
					c.SetDeadline(time.Now().Add(time.Second))
					c.Write([]byte("?"))
					if n, err := c.Read(make([]byte, 32)); err == nil {
						t.Errorf("TCP %s goes on: %d bytes", what, n)
					}
				}
				for what, c := range map[string]net.Conn{"to the VPC": vpc, "from a container to the VPC": container} {
					if got := ask(c); got != primary.String() {
						t.Errorf("the connection %s: seen as %s", what, got)
					}
				}
				if got := ask(inPrimary); got != router {
					t.Errorf("the connection to the primary IP: seen as %s", got)
				}
				o, err := w.node.Observe(bounded(t), mac, static)
				if err != nil || o.Translated[static] != 0 || o.Conntrack.Count == 0 || o.Conntrack.Max == 0 {
					t.Errorf("observed %+v, %v", o, err)
				}
			})
		}
	}
}

// Conntrack tells what the node's own connection is translated to, whoever does it, and when
// nothing tracks it.
func TestTranslation(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program, "iptables-nft")
			w := newNetwork(t, v.options, v.program)
			w.node.ensure(t, config(), 2)
			look := func(to string, behind ...bool) netcfg.Translation {
				t.Helper()
				c, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", to, testPort), 5*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				seen := static.String()
				if len(behind) == 0 {
					seen = ask(c)
				}
				tr, err := w.node.Translation(bounded(t), netcfg.Connection{Protocol: unix.IPPROTO_TCP,
					Source: c.LocalAddr().(*net.TCPAddr).AddrPort(), Destination: c.RemoteAddr().(*net.TCPAddr).AddrPort()})
				if err != nil || tr.Source.Addr().String() != seen {
					t.Errorf("to %s: %+v, error %v; seen as %s", to, tr, err, seen)
				}
				return tr
			}
			if tr := look(onPremises); !tr.Tracked || tr.Unanswered || tr.Source.Addr() != static || tr.Destination.Addr().String() != onPremises {
				t.Errorf("to the world: %+v", tr)
			}
			if tr := look(neighbour); !tr.Tracked || tr.Source.Addr() != primary {
				t.Errorf("to a neighbour: %+v", tr)
			}
			sh(t, `nft add table ip other; nft add chain ip other out '{ type nat hook output priority -150; }'; nft add rule ip other out ip daddr `+onPremises2+` dnat to `+onPremises)
			if tr := look(onPremises2); !tr.Tracked || tr.Destination.Addr().String() != onPremises {
				t.Errorf("to what somebody else redirects: %+v", tr)
			}
			// What is changed behind conntrack looks translated, and its answer never comes.
			sh(t, `nft add chain ip other post '{ type filter hook postrouting priority 300; }'; nft add rule ip other post ip daddr `+onPremises+` ip saddr set `+primary.String())
			if tr := look(onPremises, true); !tr.Tracked || !tr.Unanswered || tr.Source.Addr() != static {
				t.Errorf("changed behind conntrack: %+v", tr)
			}
			sh(t, `nft flush chain ip other post`)
			sh(t, `nft add table ip raw2; nft add chain ip raw2 out '{ type filter hook output priority raw; }'; nft add rule ip raw2 out ip daddr `+onPremises+` notrack
nft add chain ip raw2 in '{ type filter hook prerouting priority raw; }'; nft add rule ip raw2 in ip saddr `+onPremises+` notrack`)
			if tr := look(onPremises); tr.Tracked || tr.Source.Addr() != primary {
				t.Errorf("with notrack: %+v", tr)
			}
		})
	}
}

// The commands that are printed for it name the address.
func TestForgetConnectionsIsPrinted(t *testing.T) {
	f := netcfg.ForgetConnections{Addr: static, Count: 3}
	texts := golden.Open(t, "connections.txt")
	texts.Is(t, "commands", f.String())
	for _, f.Count = range []int{1, 3} {
		texts.Is(t, fmt.Sprintf("%d connections", f.Count), f.Summary())
	}
}
