package netcfg_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// The cost of the rules, between two namespaces: the first packet of a flow, and the bytes of a
// connection that exists. What the script that this replaces did is measured beside it.
//
//	go test -run '^$' -bench . -count 5 ./netcfg/
func eachCost(b *testing.B, f func(b *testing.B)) {
	run := func(name string, set func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			enter(b, "iptables-legacy", "iptables-nft")
			set(b)
			f(b)
		})
	}
	run("none", func(b *testing.B) { newNetwork(b, variants[2].options, "iptables-nft").sink(b) })
	for _, p := range []string{"iptables-legacy", "iptables-nft"} {
		run("script-"+p, func(b *testing.B) {
			newNetwork(b, variants[2].options, "iptables-nft").sink(b)
			sh(b, "ip addr add 10.0.1.20/24 dev eth0; "+p+" -t nat -A PREROUTING -d 10.0.1.20 -j DNAT --to-destination 10.0.1.5; "+
				p+" -t nat -A POSTROUTING -s 10.0.1.5 -j SNAT --to 10.0.1.20")
		})
	}
	for _, v := range variants {
		for _, networks := range []int{0, 20, 400} {
			run(fmt.Sprintf("%s-only-%d", v.name, networks), func(b *testing.B) {
				w := newNetwork(b, v.options, v.program)
				w.sink(b)
				if _, err := netcfg.Ensure(bounded(b), w.node, onlyConfig(networks), nil); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// onlyConfig returns config with a list of that many networks for --only-cidr. The place that the
// benchmarks talk to has one in the midst of them, and the last in the order of Desired.
func onlyConfig(networks int) netcfg.Config {
	c := config()
	for i := range networks - 1 {
		c.Only = append(c.Only, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(i % 100), byte(64 + i/100*4)}), 30))
	}
	if networks > 0 {
		c.Only = append(c.Only, netip.MustParsePrefix(onPremises+"/32"))
	}
	return c
}

const sinkPort = 7001

// sink swallows what it is sent, on-premises.
func (w *network) sink(b *testing.B) {
	w.world.do(b, func() {
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.MustParseAddrPort(fmt.Sprintf("%s:%d", onPremises, sinkPort))))
		if err != nil {
			b.Error(err)
			return
		}
		b.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { defer c.Close(); io.Copy(io.Discard, c) }()
			}
		}()
	})
}

func dialSink(b *testing.B) *net.TCPConn {
	c, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", onPremises, sinkPort), 5*time.Second)
	if err != nil {
		b.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// flowsAtOnce is how many first packets are timed together.
const flowsAtOnce = 50

// BenchmarkFirstPacket times the first packet of a flow alone: a UDP packet to a new port, from the
// system call to the link. Of all batches the least counts, which others on the machine disturb
// least. Conntrack has room for about 4000 batches:
//
//	go test -run '^$' -bench FirstPacket -benchtime 2000x ./netcfg/
func BenchmarkFirstPacket(b *testing.B) {
	eachCost(b, func(b *testing.B) {
		// A neighbour that is not there: nobody spends time on an answer.
		sh(b, "ip neigh replace 10.0.1.1 lladdr 02:00:00:00:99:99 dev eth0 nud permanent")
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { unix.Close(fd) }()
		to := &unix.SockaddrInet4{Addr: netip.MustParseAddr(onPremises).As4(), Port: 1}
		var least time.Duration
		for b.Loop() {
			began := time.Now()
			for range flowsAtOnce {
				if err := unix.Sendto(fd, []byte("x"), 0, to); err != nil {
					b.Fatal(err)
				}
				to.Port++
			}
			if took := time.Since(began); least == 0 || took < least {
				least = took
			}
			if to.Port > 65535-flowsAtOnce { // from another port
				unix.Close(fd)
				if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
					b.Fatal(err)
				}
				to.Port = 1
			}
		}
		b.ReportMetric(float64(least.Nanoseconds())/flowsAtOnce, "ns/flow")
	})
}

func BenchmarkThroughput(b *testing.B) {
	eachCost(b, func(b *testing.B) {
		c := dialSink(b)
		defer c.Close()
		chunk := make([]byte, 256<<10)
		b.SetBytes(int64(len(chunk)))
		for b.Loop() {
			if _, err := c.Write(chunk); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// What a run costs that finds all in order.
func BenchmarkEnsure(b *testing.B) {
	for _, v := range variants {
		b.Run(v.name, func(b *testing.B) {
			enter(b, v.program)
			n := realNode(b, v.options, v.program)
			ctx := bounded(b)
			if _, err := netcfg.Ensure(ctx, n, config(), nil); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if r, err := netcfg.Ensure(ctx, n, config(), nil); err != nil || len(r.Changes) > 0 {
					b.Fatal(r.Changes, err)
				}
			}
		})
	}
}
