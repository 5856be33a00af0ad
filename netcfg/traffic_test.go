package netcfg_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// The places that the tests talk to; all of them live in one namespace, "world", which is also the
// VPC's router.
const (
	onPremises  = "192.168.50.10"
	onPremises2 = "192.168.60.10" // another network there
	neighbour   = "10.0.3.10"     // in the VPC's first CIDR
	secondCIDR  = "100.64.0.10"
	metadata    = "169.254.169.254"
	router      = "10.0.1.1"
	secondENI   = "192.168.70.10" // reached through eth1
	testPort    = 7000
)

// network is a node (the calling thread's namespace) with two interfaces, a container behind
// MASQUERADE, and the world around it.
type network struct {
	world, container *namespace
	node             *node
}

func newNetwork(t testing.TB, o netcfg.Options, program string) *network {
	w := &network{world: newNamespace(t, nil), container: newNamespace(t, nil)}
	w.node = realNode(t, o, program)
	move := func(link string, to *namespace) {
		w.move(t, link, to)
	}
	move("eth0-peer", w.world)
	move("eth1-peer", w.world)
	sh(t, `ip link add docker0 type veth peer name c0`)
	move("c0", w.container)
	w.world.do(t, func() {
		sh(t, `ip link set lo up; ip link set eth0-peer up; ip link set eth1-peer up
ip addr add 10.0.1.1/24 dev eth0-peer; ip addr add 10.0.2.1/24 dev eth1-peer
for a in `+strings.Join([]string{onPremises, onPremises2, neighbour, secondCIDR, metadata, secondENI}, " ")+`; do ip addr add $a/32 dev lo; done`)
		for _, a := range []string{onPremises, onPremises2, neighbour, secondCIDR, metadata, router, secondENI} {
			serve(t, a, testPort)
		}
		serve(t, router, 67)
	})
	w.container.do(t, func() {
		sh(t, `ip link set lo up; ip link set c0 up; ip addr add 172.17.0.2/16 dev c0; ip route add default via 172.17.0.1`)
	})
	sh(t, `ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
ip route add default via 10.0.1.1; ip route add `+secondENI+` via 10.0.2.1
echo 1 > /proc/sys/net/ipv4/ip_forward`)
	return w
}

func (w *network) move(t testing.TB, link string, to *namespace) {
	t.Helper()
	sh(t, fmt.Sprintf("ip link set %s netns /proc/%d/fd/%d", link, os.Getpid(), to.file.Fd()))
}

// serve answers every TCP connection and UDP packet with the source address that it sees, until the
// test ends.
func serve(t testing.TB, address string, port int) {
	ap := netip.AddrPortFrom(netip.MustParseAddr(address), uint16(port))
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(ap))
	if err != nil {
		t.Error(err)
		return
	}
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(ap))
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { l.Close(); u.Close() })
	host := func(a net.Addr) string { return strings.Split(a.String(), ":")[0] }
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(20 * time.Second))
				for b := make([]byte, 1); ; {
					if _, err := c.Read(b); err != nil {
						return
					}
					fmt.Fprintln(c, host(c.RemoteAddr()))
				}
			}()
		}
	}()
	go func() {
		for b := make([]byte, 16); ; {
			_, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			u.WriteTo([]byte(host(from)+"\n"), from)
		}
	}()
}

// talk connects from the calling thread's namespace, bound to an address and port if they are
// given, and returns the source address that the other side sees, or the error.
func talk(protocol, from, to string) string {
	d := net.Dialer{Timeout: 5 * time.Second}
	if from != "" {
		ap, err := netip.ParseAddrPort(from)
		if err != nil {
			ap = netip.AddrPortFrom(netip.MustParseAddr(from), 0)
		}
		if d.LocalAddr = net.Addr(net.TCPAddrFromAddrPort(ap)); protocol == "udp" {
			d.LocalAddr = net.UDPAddrFromAddrPort(ap)
		}
	}
	if !strings.Contains(to, ":") {
		to = fmt.Sprintf("%s:%d", to, testPort)
	}
	c, err := d.DialContext(context.Background(), protocol, to)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	return ask(c)
}

func ask(c net.Conn) string {
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte("?")); err != nil {
		return err.Error()
	}
	b := make([]byte, 32)
	n, err := c.Read(b)
	if err != nil && err != io.EOF {
		return err.Error()
	}
	return strings.TrimSpace(string(b[:n]))
}

// The source that is seen, by scope. A name stands for an address: P primary, S static.
func TestTraffic(t *testing.T) {
	const p, s, other = "10.0.1.5", "10.0.1.20", "10.0.1.77"
	cidr := netip.MustParsePrefix
	scopes := []struct {
		name   string
		change func(*netcfg.Config)
		want   map[string]string // by destination; from the node, unbound
	}{
		{"external", func(*netcfg.Config) {},
			map[string]string{onPremises: s, onPremises2: s, neighbour: p, secondCIDR: p, metadata: p, router: p}},
		{"all", func(c *netcfg.Config) { c.Scope = netcfg.ScopeAll },
			map[string]string{onPremises: s, onPremises2: s, neighbour: s, secondCIDR: s, metadata: p, router: s}},
		{"only", func(c *netcfg.Config) { c.Only = []netip.Prefix{cidr("192.168.50.0/24")} },
			map[string]string{onPremises: s, onPremises2: p, neighbour: p, secondCIDR: p, metadata: p, router: p}},
		{"exclude", func(c *netcfg.Config) { c.Exclude = []netip.Prefix{cidr("192.168.48.0/21")} },
			map[string]string{onPremises: p, onPremises2: s, neighbour: p, secondCIDR: p, metadata: p, router: p}},
	}
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program, "iptables-nft")
			w := newNetwork(t, v.options, v.program)
			w.node.docker()
			serve(t, p, testPort) // a service that is bound to the primary IP only
			old, err := net.DialTimeout("tcp", onPremises+":7000", 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer old.Close()
			if got := ask(old); got != p {
				t.Fatalf("before the rules: seen as %s", got)
			}
			for i, sc := range scopes {
				c := config()
				sc.change(&c)
				w.node.ensure(t, c, -1)
				for _, protocol := range []string{"tcp", "udp"} {
					see := func(what, want, got string) {
						t.Helper()
						if got != want {
							t.Errorf("%s, scope %s, %s: seen as %s, want %s", protocol, sc.name, what, got, want)
						}
					}
					inContainer := func(to string) (got string) {
						w.container.do(t, func() { got = talk(protocol, "", to) })
						return got
					}
					fromWorld := func(from, to string) (got string) {
						w.world.do(t, func() { got = talk(protocol, from, to) })
						return got
					}
					for to, want := range sc.want {
						see("node to "+to, want, talk(protocol, "", to))
						see("container to "+to, want, inContainer(to))
					}
					if i > 0 && sc.name != "all" {
						continue // what follows does not depend on the scope
					}
					see("from the interface's other address", other, talk(protocol, other, onPremises))
					see("from the static IP", s, talk(protocol, s, onPremises))
					see("from the static IP to a neighbour", s, talk(protocol, s, neighbour))
					see("through the second interface", "10.0.2.5", talk(protocol, "", secondENI))
					see("through the second interface, bound", "10.0.2.5", talk(protocol, "10.0.2.5", secondENI))
					see("container through the second interface", "10.0.2.5", inContainer(secondENI))
					see("on-premises to the static IP", onPremises, fromWorld(onPremises, s))
					see("neighbour to the static IP", neighbour, fromWorld(neighbour, s))
					see("neighbour to the primary IP", neighbour, fromWorld(neighbour, p))
					see("node to its own static IP", p, talk(protocol, p, s))
					see("container to the static IP", "172.17.0.2", inContainer(s))
				}
				if sc.name == "all" { // once: conntrack would remember the first answer for these ports
					if got := talk("udp", p+":68", router+":67"); got != p {
						t.Errorf("DHCP renewal: seen as %s", got)
					}
				}
				if got := ask(old); got != p {
					t.Errorf("scope %s: the connection opened before the rules: seen as %s", sc.name, got)
				}
			}
			w.node.removeAll(t, 3, static) // the rules, translated connections, the address
			if got := talk("tcp", "", onPremises); got != p {
				t.Errorf("after the removal: seen as %s", got)
			}
		})
	}
}

// While rules are repaired, changed, or moved to another backend, no new connection leaves with the
// primary IP.
func TestNoMomentWithoutRules(t *testing.T) {
	for i, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program, "iptables-nft", "iptables-legacy")
			w := newNetwork(t, v.options, v.program)
			w.node.ensure(t, config(), 2)
			caller := newNamespace(t, ns(t))
			stop, done := make(chan struct{}), make(chan struct{})
			seen := map[string]int{}
			go func() {
				defer close(done)
				caller.do(t, func() {
					for {
						select {
						case <-stop:
							return
						default:
							seen[talk("udp", "", onPremises)]++
						}
					}
				})
			}()
			next, err := netcfg.Open(bounded(t), variants[(i+1)%len(variants)].options)
			if err != nil {
				t.Fatal(err)
			}
			for round := range 8 {
				c := config()
				if round%2 == 0 {
					c.Scope = netcfg.ScopeAll
				}
				if v.name != "native" {
					w.node.docker()
				}
				for _, k := range []netcfg.Kernel{w.node, next} {
					if _, err := netcfg.Ensure(bounded(t), k, c, nil); err != nil {
						t.Fatal(err)
					}
				}
			}
			close(stop)
			<-done
			if len(seen) != 1 || seen["10.0.1.20"] < 100 {
				t.Errorf("packets by the source that was seen: %v", seen)
			}
			t.Logf("packets by the source that was seen: %v", seen)
		})
	}
}
