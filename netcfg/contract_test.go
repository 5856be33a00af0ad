package netcfg_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/netcfg/netcfgtest"
)

var (
	mac     = net.HardwareAddr{2, 0, 0, 0, 0, 5}
	primary = netip.MustParseAddr("10.0.1.5")
	static  = netip.MustParseAddr("10.0.1.20")
	former  = netip.MustParseAddr("10.0.1.21")
)

func config() netcfg.Config {
	return netcfg.Config{MAC: mac, Primary: primary, Static: static,
		VPC: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("100.64.0.0/16")}}
}

// node is a kernel under test, and its neighbours. The link eth0 has the MAC address, the primary
// IP and another address of its own; eth1 is somebody else's.
type node struct {
	netcfg.Kernel
	name      string
	dump      func() string                     // rules and addresses, without counters
	add       func(link string, p netip.Prefix) // an address
	remove    func(link string, p netip.Prefix) // an address
	flush     func()                            // all rules of the table
	docker    func()                            // inserts a rule in front of POSTROUTING
	unjump    func()                            // deletes the jump in POSTROUTING
	firstRule func() bool                       // nothing is in front of our jump in POSTROUTING
}

const setUp = `sysctl -qw net.ipv6.conf.default.disable_ipv6=1 || true # no addresses that come by themselves, a moment later
ip link add eth0 type veth peer name eth0-peer
ip link add eth1 type veth peer name eth1-peer
ip link set eth0 address 02:00:00:00:00:05
ip link set eth1 address 02:00:00:00:00:06
for l in eth0 eth0-peer eth1 eth1-peer; do sysctl -qw net.ipv6.conf.$l.disable_ipv6=1 || true; ip link set $l up; done
ip addr add 10.0.1.5/24 dev eth0
ip addr add 10.0.1.77/24 dev eth0
ip addr add 10.0.2.5/24 dev eth1
`

// variants are the real backends.
var variants = []struct {
	name    string
	options netcfg.Options
	program string // fills the table that the neighbours use
}{
	{"legacy", netcfg.Options{Backend: "iptables", Iptables: "iptables-legacy"}, "iptables-legacy"},
	{"nft", netcfg.Options{Backend: "iptables", Iptables: "iptables-nft"}, "iptables-nft"},
	{"native", netcfg.Options{Backend: "nftables"}, "iptables-nft"},
}

// eachKernel runs f for every backend, each in a fresh namespace, and for the kernel in memory.
func eachKernel(t *testing.T, f func(t *testing.T, n *node)) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program, "iptables-nft", "iptables-legacy")
			f(t, realNode(t, v.options, v.program))
		})
	}
	t.Run("memory", func(t *testing.T) { f(t, memoryNode()) })
}

func realNode(t testing.TB, o netcfg.Options, program string) *node {
	sh(t, setUp)
	k, err := netcfg.Open(bounded(t), o)
	if err != nil {
		t.Fatal(err)
	}
	if o.Backend == "iptables" {
		// The table and its built-in chains, once made, stay: have them from the beginning.
		sh(t, `for c in PREROUTING OUTPUT POSTROUTING; do `+program+` -w 5 -t nat -A $c -j RETURN; `+program+` -w 5 -t nat -D $c -j RETURN; done`)
	}
	n := &node{Kernel: k, name: program}
	own := "POSTROUTING -j EMR-STATIC-IP-OUT"
	native := o.Backend != "iptables"
	n.dump = func() string { return realDump(t, program) }
	n.add = func(l string, p netip.Prefix) { sh(t, "ip addr add "+p.String()+" dev "+l) }
	n.remove = func(l string, p netip.Prefix) { sh(t, "ip addr del "+p.String()+" dev "+l) }
	n.docker = func() {
		sh(t, program+" -w 5 -t nat -I POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE")
	}
	n.flush = func() { sh(t, program+" -w 5 -t nat -F; "+program+" -w 5 -t nat -X") }
	n.unjump = func() { sh(t, program+" -w 5 -t nat -D "+own) }
	n.firstRule = func() bool {
		rules := strings.Split(sh(t, program+" -w 5 -t nat -S POSTROUTING"), "\n")
		return rules[1] == "-A "+own
	}
	if native {
		n.flush = func() { sh(t, "nft flush ruleset") }
		n.unjump = func() { sh(t, "nft flush chain ip emr-static-ip EMR-STATIC-IP-OUT") }
		n.firstRule = func() bool { return true } // by its priority
	}
	return n
}

// realDump is everything that can be compared byte for byte.
func realDump(t testing.TB, program string) string {
	text := "ip addr\n" + withoutCarrier(sh(t, "ip addr"))
	if program == "iptables-legacy" {
		text += withoutCounters(sh(t, "iptables-legacy-save -t nat"))
	}
	return text + "nft\n" + withoutCounters(sh(t, "iptables-nft-save; nft list ruleset"))
}

// withoutCarrier leaves out whether a link is up already: a new one takes a moment.
func withoutCarrier(addrs string) string { return carrier.ReplaceAllString(addrs, "") }

var carrier = regexp.MustCompile(`<[A-Z_,-]*>|state [A-Z]+`)

func memoryNode() *node {
	other := net.HardwareAddr{2, 0, 0, 0, 0, 6}
	k := netcfgtest.New(
		netcfgtest.Link("eth0", 2, mac, netip.MustParsePrefix("10.0.1.5/24"), netip.MustParsePrefix("10.0.1.77/24")),
		netcfgtest.Link("eth1", 3, other, netip.MustParsePrefix("10.0.2.5/24")))
	return &node{
		Kernel: k, name: "memory",
		dump: func() string {
			var b strings.Builder
			for _, l := range []string{"eth0", "eth1"} {
				b.WriteString(l)
				for _, p := range k.Addresses(l) {
					b.WriteString(" " + p.String())
				}
				b.WriteString("\n")
			}
			return b.String() + k.Rules()
		},
		add:    k.AddAddress,
		remove: func(_ string, p netip.Prefix) { k.RemoveAddress(p.Addr()) },
		flush:  k.FlushNAT,
		docker: func() { k.InsertRule("POSTROUTING", "-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE") },
		unjump: func() { k.DeleteJump("POSTROUTING") },
		firstRule: func() bool {
			return strings.HasPrefix(after(k.Rules(), "-A POSTROUTING "), "-j EMR-STATIC-IP-OUT")
		},
	}
}

func after(s, mark string) string {
	_, rest, _ := strings.Cut(s, mark)
	return rest
}

// withoutCounters blanks what differs between two dumps of the same rules.
func withoutCounters(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if strings.HasPrefix(line, "# Generated by") || strings.HasPrefix(line, "# Completed on") || strings.HasPrefix(line, "# Warning: ") || line == "\n" {
			continue
		}
		if i := strings.Index(line, "counter packets "); i >= 0 {
			f := strings.Fields(line[i:])
			line = line[:i] + "counter" + after(line, strings.Join(f[:5], " "))
		}
		if strings.HasPrefix(line, ":") && strings.Contains(line, "[") {
			line = line[:strings.Index(line, "[")] + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// ensure wants the changes to be that many, or any number but none for -1, and a second run to
// change nothing.
func (n *node) ensure(t testing.TB, c netcfg.Config, changes int) netcfg.Result {
	t.Helper()
	heard := 0
	r, err := netcfg.Ensure(bounded(t), n, c, func(netcfg.Change) { heard++ })
	if err != nil {
		t.Fatalf("ensuring: %v\n%s", err, n.dump())
	}
	if got := len(r.Changes); got != heard || changes >= 0 && got != changes || changes < 0 && got == 0 {
		t.Fatalf("%d changes made, %d heard of, want %d: %v\n%s", got, heard, changes, r.Changes, n.dump())
	}
	o, err := n.Observe(bounded(t), mac)
	if err != nil {
		t.Fatal(err)
	}
	again, err := netcfg.Ensure(bounded(t), n, c, nil)
	want := c.Desired(o.Link.Name).For(o.Backend)
	if unchanged := 1 + len(want.Chains) + len(want.Jumps); err != nil || len(again.Changes) != 0 || again.Unchanged != unchanged {
		t.Fatalf("second run: changes %v, unchanged %d (want %d), error %v\n%s", again.Changes, again.Unchanged, unchanged, err, n.dump())
	}
	return r
}

func (n *node) removeAll(t testing.TB, changes int, list ...netip.Addr) {
	t.Helper()
	r, err := netcfg.Remove(bounded(t), n, mac, list, nil)
	if err != nil || changes >= 0 && len(r.Changes) != changes {
		t.Fatalf("removing: changes %v (want %d), error %v\n%s", r.Changes, changes, err, n.dump())
	}
}

func TestApplyTwiceRemoveTwice(t *testing.T) {
	eachKernel(t, func(t *testing.T, n *node) {
		before := n.dump()
		r := n.ensure(t, config(), 2)
		if r.Link != "eth0" || r.Backend == "" {
			t.Errorf("result %+v", r)
		}
		if n.dump() == before {
			t.Fatal("the dump does not show the rules")
		}
		n.removeAll(t, 2, static)
		n.removeAll(t, 0, static)
		if got := n.dump(); got != before {
			t.Errorf("after the removal:\n%s\nbefore:\n%s", got, before)
		}
	})
}

func TestStrangersSurvive(t *testing.T) {
	eachKernel(t, func(t *testing.T, n *node) {
		n.docker()
		if n.name != "memory" {
			sh(t, n.name+" -w 5 -t nat -N DOCKER; "+n.name+` -w 5 -t nat -A PREROUTING -m addrtype --dst-type LOCAL -m comment --comment "see \"EMR-STATIC-IP-IN\" -j EMR-STATIC-IP-IN" -j DOCKER`)
			sh(t, "nft add table inet other; nft add chain inet other x '{ type filter hook input priority 0; }'; nft add rule inet other x counter; nft add table ip emr-static-ip-not")
		}
		n.add("eth1", netip.MustParsePrefix("10.0.2.9/32"))
		before := n.dump()
		n.ensure(t, config(), 2)
		if !n.firstRule() {
			t.Errorf("our jump is not in first place:\n%s", n.dump())
		}
		n.removeAll(t, 2, static)
		if got := n.dump(); got != before {
			t.Errorf("after the removal:\n%s\nbefore:\n%s", got, before)
		}
	})
}

func TestDriftIsRepaired(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name    string
		do      func(*node)
		changes map[string]int // by node; "" for all others
	}{
		{"nat table flushed", func(n *node) { n.flush() }, map[string]int{"": 1}},
		{"jump deleted", func(n *node) { n.unjump() }, map[string]int{"": 1}},
		{"docker inserts its rule in front", func(n *node) { n.docker() }, map[string]int{"": 1, "native": 0}},
		{"address deleted", func(n *node) { n.remove("eth0", netip.PrefixFrom(static, 32)) }, map[string]int{"": 1}},
		{"address with another prefix length", func(n *node) {
			n.remove("eth0", netip.PrefixFrom(static, 32))
			n.add("eth0", netip.PrefixFrom(static, 24))
		}, map[string]int{"": 0}},
		{"everything lost", func(n *node) { n.flush(); n.remove("eth0", netip.PrefixFrom(static, 32)) }, map[string]int{"": 2}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			eachKernel(t, func(t *testing.T, n *node) {
				n.ensure(t, config(), 2)
				want := n.dump()
				c.do(n)
				changes := c.changes[""]
				if x, ok := c.changes[kind(t)]; ok {
					changes = x
				}
				n.ensure(t, config(), changes)
				if !n.firstRule() {
					t.Errorf("our jump is not in first place:\n%s", n.dump())
				}
				if strings.HasPrefix(c.name, "jump") && n.name != "memory" && n.dump() != want {
					t.Errorf("after the repair:\n%s\nbefore:\n%s", n.dump(), want)
				}
				n.removeAll(t, -1, static)
				if strings.Contains(n.dump(), "EMR-STATIC-IP") || strings.Contains(n.dump(), static.String()) {
					t.Errorf("left after the removal:\n%s", n.dump())
				}
			})
		})
	}
}

// kind is the last part of the test's name.
func kind(t *testing.T) string { return t.Name()[strings.LastIndex(t.Name(), "/")+1:] }

func TestSettingsChange(t *testing.T) {
	eachKernel(t, func(t *testing.T, n *node) {
		n.ensure(t, config(), 2)
		c := config()
		c.Scope = netcfg.ScopeAll
		n.ensure(t, c, 1)
		c.Only = []netip.Prefix{netip.MustParsePrefix("192.168.50.0/24")}
		n.ensure(t, c, 1)
		c = config()
		c.Static, c.Former = former, []netip.Addr{static}
		r := n.ensure(t, c, 3) // the new address, the rules, the former address
		if last := r.Changes[2].Summary(); last != "ip addr del 10.0.1.20/32 dev eth0" {
			t.Errorf("the last change is %q", last)
		}
		n.removeAll(t, 2, static, former)
	})
}

func TestErrorsChangeNothing(t *testing.T) {
	eachKernel(t, func(t *testing.T, n *node) {
		before := n.dump()
		for name, c := range map[string]struct {
			set  func(*netcfg.Config)
			want string
		}{
			"no such link":                {func(c *netcfg.Config) { c.MAC = net.HardwareAddr{2, 9, 9, 9, 9, 9} }, "02:09:09:09:09:09"},
			"primary is not on the link":  {func(c *netcfg.Config) { c.Primary = netip.MustParseAddr("10.0.1.6") }, "10.0.1.5/24, 10.0.1.77/24"},
			"static is on another link":   {func(c *netcfg.Config) { c.Static = netip.MustParseAddr("10.0.2.5") }, "eth1"},
			"configuration without a VPC": {func(c *netcfg.Config) { c.VPC = nil }, "VPC"},
		} {
			conf := config()
			c.set(&conf)
			r, err := netcfg.Ensure(bounded(t), n, conf, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || len(r.Changes) > 0 {
				t.Errorf("%s: error %v, changes %v; want %q and none", name, err, r.Changes, c.want)
			}
			if name == "no such link" != errors.Is(err, netcfg.ErrNoLink) {
				t.Errorf("%s: errors.Is(%v, ErrNoLink)", name, err)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := netcfg.Ensure(ctx, n, config(), nil); !errors.Is(err, context.Canceled) {
			t.Errorf("with a cancelled context: %v", err)
		}
		if n.dump() != before {
			t.Errorf("changed:\n%s\nbefore:\n%s", n.dump(), before)
		}
	})
}
