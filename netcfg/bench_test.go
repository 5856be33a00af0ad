package netcfg_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// rulesCase is a set of rules whose cost is measured.
type rulesCase struct {
	name string
	set  func(b *testing.B) *network // in the namespace of the calling thread
}

// least has, for each backend, the fewest rules that do three things which the script's do not:
// they serve the node itself at its static IP, leave other interfaces alone, and have a chain of
// their own. They have no exceptions.
var least = map[string]string{
	"legacy": leastIptables,
	"nft":    leastIptables,
	"native": `nft -f - <<'END'
table ip least {
	chain IN { ip daddr 10.0.1.20 counter dnat to 10.0.1.5; }
	chain PREROUTING { type nat hook prerouting priority -99; ip daddr 10.0.1.20 counter jump IN; }
	chain OUTPUT { type nat hook output priority -99; ip daddr 10.0.1.20 counter jump IN; }
	chain OUT { type nat hook postrouting priority -199; oifname "eth0" counter snat to 10.0.1.20; }
}
END`,
}

const leastIptables = `P="$P -w 5 -t nat"
$P -N IN; $P -N OUT; $P -A PREROUTING -d 10.0.1.20 -j IN; $P -A OUTPUT -d 10.0.1.20 -j IN; $P -A POSTROUTING -j OUT
$P -A IN -d 10.0.1.20 -j DNAT --to-destination 10.0.1.5; $P -A OUT -o eth0 -j SNAT --to-source 10.0.1.20`

// scriptRules are the two rules of the script that this program replaces.
const scriptRules = `ip addr add 10.0.1.20/24 dev eth0
$P -t nat -A PREROUTING -d 10.0.1.20 -j DNAT --to-destination 10.0.1.5
$P -t nat -A POSTROUTING -s 10.0.1.5 -j SNAT --to 10.0.1.20`

func rulesCases() (list []rulesCase) {
	by := func(program, script string) func(b *testing.B) *network {
		return func(b *testing.B) *network {
			w := newNetwork(b, variants[2].options, "iptables-nft")
			sh(b, "P="+program+"\n"+script)
			return w
		}
	}
	list = append(list, rulesCase{"none", by("", "")})
	for _, p := range []string{"iptables-legacy", "iptables-nft"} {
		list = append(list, rulesCase{"script-" + p, by(p, scriptRules)}, rulesCase{"script-" + p + "-again", by(p, scriptRules)})
	}
	for _, v := range variants {
		list = append(list, rulesCase{v.name + "-least", by(v.program, "ip addr add 10.0.1.20/32 dev eth0\n"+least[v.name])})
		for _, networks := range []int{0, 20, 400} {
			list = append(list, rulesCase{fmt.Sprintf("%s-only-%d", v.name, networks), func(b *testing.B) *network {
				w := newNetwork(b, v.options, v.program)
				if _, err := netcfg.Ensure(bounded(b), w.node, onlyConfig(networks), nil); err != nil {
					b.Fatal(err)
				}
				return w
			}})
		}
	}
	return list
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

const (
	flowsAtOnce = 50  // so many first packets are timed together
	turns       = 200 // of each set of rules
)

// BenchmarkFirstPacket times the first packet of a flow alone: a UDP packet to a new port, from the
// system call to the link. The sets of rules are measured in turns, so that a slow moment of the
// machine meets them all. The figure of each is its median. Two sets are there twice: what they
// differ by is the accuracy. All is measured before the first figure: -count shows it again, and
// does not measure again.
//
//	go test -run '^$' -bench FirstPacket -benchtime 1x ./netcfg/
func BenchmarkFirstPacket(b *testing.B) {
	cases := rulesCases()
	var all []*flows
	for _, c := range cases {
		all = append(all, newFlows(b, c))
	}
	for turn := range turns {
		for i := range all {
			f := all[(i+turn)%len(all)]
			f.send(b, flowsAtOnce/5) // the caches of the processor have the rules before it counts
			began := time.Now()
			f.send(b, flowsAtOnce)
			f.took = append(f.took, time.Since(began))
		}
	}
	for i, f := range all {
		slices.Sort(f.took)
		b.Run(cases[i].name, func(b *testing.B) {
			for b.Loop() {
			}
			b.ReportMetric(float64(f.took[turns/2].Nanoseconds())/flowsAtOnce, "ns/flow")
		})
	}
}

// flows sends first packets of flows in a network of its own, until the benchmark ends.
type flows struct {
	socket int
	to     *unix.SockaddrInet4
	took   []time.Duration // for each batch
}

func newFlows(b *testing.B, c rulesCase) *flows {
	b.Helper()
	ready, over := make(chan *flows, 1), make(chan struct{})
	go func() {
		defer close(ready)
		enter(b, "iptables-legacy", "iptables-nft")
		c.set(b)
		// A neighbour that is not there: nobody spends time on an answer.
		sh(b, "ip neigh replace 10.0.1.1 lladdr 02:00:00:00:99:99 dev eth0 nud permanent")
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Error(err)
			return
		}
		ready <- &flows{socket: fd, to: &unix.SockaddrInet4{Addr: netip.MustParseAddr(onPremises).As4()}}
		<-over // the namespace is that of this thread
		unix.Close(fd)
	}()
	f := <-ready
	b.Cleanup(func() { close(over) })
	if f == nil {
		b.FailNow()
	}
	return f
}

func (f *flows) send(b *testing.B, n int) {
	for range n {
		f.to.Port++
		if err := unix.Sendto(f.socket, []byte("x"), 0, f.to); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkThroughput measures the bytes of a connection that exists.
func BenchmarkThroughput(b *testing.B) {
	for _, c := range rulesCases() {
		b.Run(c.name, func(b *testing.B) {
			enter(b, "iptables-legacy", "iptables-nft")
			c.set(b).sink(b)
			conn := dialSink(b)
			defer conn.Close()
			chunk := make([]byte, 256<<10)
			b.SetBytes(int64(len(chunk)))
			for b.Loop() {
				if _, err := conn.Write(chunk); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
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
