package netcfg_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// eachTree runs f for both iptables variants, where conntrack is on.
func eachTree(t *testing.T, f func(t *testing.T, w *network)) {
	for _, v := range variants[:2] {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program, "iptables-nft", "iptables-legacy")
			f(t, newNetwork(t, v.options, v.program))
		})
	}
}

// between returns n networks of 192.168/16 on both sides of the places on-premises, which are in
// none of them.
func between(n int) (list []netip.Prefix) {
	for i := range n {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(i), byte(128 + i%64*2)}), 31))
	}
	return list
}

// A tree does with traffic what a list does: also for containers, whose traffic meets the rules of
// others afterwards if the tree leaves it alone.
func TestTreeTraffic(t *testing.T) {
	const p, s = "10.0.1.5", "10.0.1.20"
	first, second := netip.MustParsePrefix(onPremises+"/32"), netip.MustParsePrefix(onPremises2+"/32")
	eachTree(t, func(t *testing.T, w *network) {
		w.node.docker()
		for _, c := range []struct {
			name          string
			only, exclude []netip.Prefix
			first, second string
		}{
			{"one place is a target", append(between(200), first), nil, s, p},
			{"both are", append(between(200), first, second), nil, s, s},
			{"none is", between(200), nil, p, p},
			{"one is an exception", nil, append(between(200), second), s, p},
			{"both are exceptions", nil, append(between(200), first, second), p, p},
			{"one is an exception in a target", []netip.Prefix{netip.MustParsePrefix("192.168.0.0/18")}, append(between(60), first), p, s},
			{"exceptions in targets", append(between(100), first, second), append(between(200)[100:], second), s, p},
		} {
			conf := config()
			conf.Only, conf.Exclude = c.only, c.exclude
			w.node.ensure(t, conf, -1)
			for _, protocol := range []string{"tcp", "udp"} {
				for to, want := range map[string]string{onPremises: c.first, onPremises2: c.second, neighbour: p, metadata: p} {
					if got := talk(protocol, "", to); got != want {
						t.Errorf("%s: %s to %s is seen as %s, want %s", c.name, protocol, to, got, want)
					}
					w.container.do(t, func() {
						if got := talk(protocol, "", to); got != want {
							t.Errorf("%s: %s from a container to %s is seen as %s, want %s", c.name, protocol, to, got, want)
						}
					})
				}
				if got := talk(protocol, "10.0.1.77", onPremises); got != "10.0.1.77" {
					t.Errorf("%s: from the interface's other address: seen as %s", c.name, got)
				}
				if got := talk(protocol, "", secondENI); got != "10.0.2.5" {
					t.Errorf("%s: through the second interface: seen as %s", c.name, got)
				}
			}
		}
		w.node.removeAll(t, -1, static)
		if left := w.node.dump(); strings.Contains(left, "EMR-STATIC-IP") {
			t.Errorf("left:\n%s", left)
		}
	})
}

// formerRules returns rules as earlier versions wrote them: a list, and a comment in each rule.
func formerRules(c netcfg.Config) netcfg.RuleSet {
	s := c.Desired("eth0")
	for i := range s.Chains {
		s.Chains[i].Rules = slices.Clone(s.Chains[i].Rules)
		for k := range s.Chains[i].Rules {
			s.Chains[i].Rules[k].Comment = true
		}
	}
	return s
}

// The list of a former version becomes a tree in one transaction, and connections live on. A former
// version that is installed again takes the tree for its own chains with other rules, and for
// chains of somebody else's: that works too, and so does the way back.
func TestListBecomesTree(t *testing.T) {
	eachTree(t, func(t *testing.T, w *network) {
		backend := netcfg.IptablesLegacy
		if w.node.name == "iptables-nft" {
			backend = netcfg.IptablesNFT
		}
		c := onlyConfig(400)
		sh(t, "ip addr add 10.0.1.20/32 dev eth0\n"+netcfg.SetRules{Backend: backend, Want: formerRules(c)}.String())
		conn, err := net.DialTimeout("tcp", onPremises+":7000", 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		alive := func(when string) {
			t.Helper()
			if got := ask(conn); got != static.String() {
				t.Errorf("%s: the connection is seen as %s", when, got)
			}
			if got := talk("tcp", "", onPremises); got != static.String() {
				t.Errorf("%s: a new connection is seen as %s", when, got)
			}
		}
		alive("with a list")
		w.node.ensure(t, c, 1)
		alive("with a tree")
		tree := w.node.saved(t)

		o, err := w.node.Observe(bounded(t), mac)
		if err != nil {
			t.Fatal(err)
		}
		seen := o.Rules // by the former version: without the numbered chains
		seen.Chains = slices.DeleteFunc(slices.Clone(seen.Chains), func(c netcfg.Chain) bool { return c.Name != netcfg.ChainIn && c.Name != netcfg.ChainOut })
		sh(t, netcfg.SetRules{Backend: backend, Have: seen, Want: formerRules(c)}.String())
		alive("with a list again")
		if left := w.node.dump(); !strings.Contains(left, "EMR-STATIC-IP-OUT-1") {
			t.Error("the former version removed numbered chains")
		}
		w.node.ensure(t, c, 1)
		alive("with a tree again")
		if got := w.node.saved(t); got != tree {
			t.Error("another tree")
		}

		// Released by the former version: what it leaves goes with the next run or release.
		sh(t, netcfg.SetRules{Backend: backend, Have: seen}.String())
		if left := w.node.dump(); !strings.Contains(left, "EMR-STATIC-IP-OUT-1") {
			t.Error("the former version removed numbered chains")
		}
		w.node.removeAll(t, -1, static)
		if left := w.node.dump(); strings.Contains(left, "EMR-STATIC-IP") {
			t.Errorf("left:\n%s", left)
		}
	})
}

// Whatever is done to the numbered chains is found, and put back in one transaction.
func TestTreeIsRepaired(t *testing.T) {
	t.Parallel()
	eachTree(t, func(t *testing.T, w *network) {
		n := w.node
		c := onlyConfig(400)
		c.Exclude = []netip.Prefix{netip.MustParsePrefix("192.168.50.64/32")}
		n.ensure(t, c, 2)
		want := n.saved(t)
		p := n.name + " -w 5 -t nat "
		for _, do := range []string{
			p + "-F EMR-STATIC-IP-OUT-2",
			p + "-D EMR-STATIC-IP-OUT-3 1",
			p + "-A EMR-STATIC-IP-OUT-2 -j SNAT --to-source 10.0.1.77",
			p + "-I EMR-STATIC-IP-OUT-2 -d 192.168.50.10 -j RETURN",
			p + "-A POSTROUTING -j EMR-STATIC-IP-OUT-2",
			p + "-A POSTROUTING -o eth1 -g EMR-STATIC-IP-OUT-2",
			p + "-N EMR-STATIC-IP-OUT-9999",
			p + "-N EMR-STATIC-IP-OUT-9999; " + p + "-A EMR-STATIC-IP-OUT-9999 -j EMR-STATIC-IP-OUT-2; " + p + "-A POSTROUTING -j EMR-STATIC-IP-OUT-9999",
			p + "-F EMR-STATIC-IP-OUT",
			p + "-F EMR-STATIC-IP-OUT; for n in $(" + p + "-S | sed -n 's/^-N EMR-STATIC-IP-OUT-//p'); do " + p + "-F EMR-STATIC-IP-OUT-$n; done; " + p + "-X EMR-STATIC-IP-OUT-2",
			p + "-F; " + p + "-X",
		} {
			sh(t, do)
			if v := judge(t, n, c); v.Condition != netcfg.Missing || len(v.Detail) > 8000 {
				t.Errorf("%s: %v", do, v)
			}
			r := n.ensure(t, c, 1)
			if n.saved(t) != want && !strings.Contains(do, "-X") { // chains made anew have another order
				t.Errorf("%s: another table after the repair, %d changes", do, len(r.Changes))
			}
			if got := talk("tcp", "", onPremises); got != static.String() {
				t.Errorf("%s: seen as %s", do, got)
			}
		}
		n.ensure(t, onlyConfig(12), 1) // the surplus chains go in the same transaction
		n.ensure(t, config(), 1)
		if left := n.dump(); strings.Contains(left, "EMR-STATIC-IP-OUT-") {
			t.Errorf("left:\n%s", left)
		}
	})
}

// saved returns the nat table as iptables-save prints it.
func (n *node) saved(t testing.TB) string {
	t.Helper()
	return withoutCounters(sh(t, n.name+"-save -t nat"))
}

func judge(t testing.TB, n *node, c netcfg.Config) netcfg.Verdict {
	t.Helper()
	o, err := n.Observe(bounded(t), mac)
	if err != nil {
		t.Fatal(err)
	}
	return c.Judge(o)
}

// A tree moves to another backend, and is removed by any.
func TestTreeMoves(t *testing.T) {
	t.Parallel()
	for _, from := range variants {
		for _, to := range variants {
			t.Run(from.name+" to "+to.name, func(t *testing.T) {
				enter(t, "iptables-nft", "iptables-legacy")
				a := realNode(t, from.options, from.program)
				before := a.dump()
				c := onlyConfig(300)
				c.Exclude = between(50)
				a.ensure(t, c, 2)
				k, err := netcfg.Open(bounded(t), to.options)
				if err != nil {
					t.Fatal(err)
				}
				b := &node{Kernel: k, dump: a.dump}
				if from.name != to.name {
					b.ensure(t, c, 2)
					a.ensure(t, c, 2)
				}
				if _, err := netcfg.Remove(bounded(t), b, mac, []netip.Addr{static}, nil); err != nil {
					t.Fatal(err)
				}
				if got := a.dump(); from.name == to.name && got != before || strings.Contains(got, "EMR-STATIC-IP") {
					t.Errorf("after:\n%s\nbefore:\n%s", got, before)
				}
			})
		}
	}
}

// A run that ends while conntrack watches leaves rules that translate nothing. The next run goes on
// from there.
func TestTreeAfterAnEndInTheMiddle(t *testing.T) {
	for _, v := range variants[:2] {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program)
			n := realNode(t, v.options, v.program)
			c := onlyConfig(100)
			restore := netcfg.Settle(time.Minute)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := netcfg.Ensure(ctx, n, c, nil)
			restore()
			if err == nil {
				t.Fatal("no error")
			}
			o, err := n.Observe(bounded(t), mac)
			if err != nil || o.Rules.Empty() {
				t.Fatalf("nothing was written: %v", err)
			}
			for _, p := range c.Only {
				if source, _ := evaluate(t, o.Rules, packet{source: primary, destination: p.Addr(), sourceHere: true, out: "eth0"}); source.IsValid() {
					t.Fatalf("a packet to %s leaves as %s", p, source)
				}
			}
			n.ensure(t, c, 1)
			n.removeAll(t, 2, static)
		})
	}
}

// The kernel takes the deepest trees, one after the other, and checks them before.
func TestDeepTrees(t *testing.T) {
	for _, v := range variants[:2] {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program)
			n := realNode(t, v.options, v.program)
			r := rand.New(rand.NewPCG(4, 4))
			c := config()
			c.VPC = append(halves(r.Uint32()), randomNetworks(r, 290)...)
			c.Exclude = append(halves(r.Uint32()), randomNetworks(r, 290)...)
			c.Only = []netip.Prefix{}
			for _, p := range append(halves(r.Uint32()), randomNetworks(r, 290)...) {
				one := c
				if one.Only = []netip.Prefix{p}; one.Validate() == nil {
					c.Only = append(c.Only, p)
				}
			}
			if err := netcfg.Preflight(bounded(t), n, c, []netip.Addr{static}, true); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			n.ensure(t, c, 2)
			s := c.Desired("eth0").For(netcfg.IptablesNFT)
			t.Logf("%d chains, up to %d follow each other: %v", len(s.Chains), levels(s)[netcfg.ChainOut], time.Since(began))
			n.removeAll(t, 2, static)
		})
	}
}

// A run that looked before another one changed the tree writes its own tree, and not a mixture.
func TestRunsDoNotMixTrees(t *testing.T) {
	eachTree(t, func(t *testing.T, w *network) {
		mine, theirs := config(), config()
		mine.Only, theirs.Exclude = between(120), between(120)
		w.node.ensure(t, mine, 2)
		o, err := w.node.Observe(bounded(t), mac)
		if err != nil {
			t.Fatal(err)
		}
		mine.Only = mine.Only[:119]
		changes, _, err := netcfg.Plan(mine, o)
		if err != nil || len(changes) != 1 {
			t.Fatal(changes, err)
		}
		w.node.ensure(t, theirs, 1)
		if err := w.node.Apply(bounded(t), changes[0]); err != nil {
			t.Fatal(err)
		}
		if o, err = w.node.Observe(bounded(t), mac); err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(5, 5))
		for _, to := range destinations(r, mine, 500) {
			p := packet{source: primary, sourceHere: true, destination: to, out: "eth0"}
			if got, _ := evaluate(t, o.Rules, p); got.IsValid() != meant(mine, p) {
				t.Fatalf("%s is seen as %v", to, got)
			}
		}
		if _, err := netcfg.Ensure(bounded(t), w.node, mine, nil); err != nil { // chains of the other run may be left
			t.Fatal(err)
		}
		w.node.ensure(t, mine, 0)
	})
}

// countedRule is a line of `iptables -S -v`, with its counter.
var countedRule = regexp.MustCompile(`(?m)^-A (\S+) (.*)-c (\d+) \d+(?: (.*))?$`)

// In both variants a packet meets few rules, however many networks there are: as many as a model of
// iptables counts.
func TestIptablesMeetsFewRules(t *testing.T) {
	for _, networks := range []int{0, 20, 400, 900} {
		eachTree(t, func(t *testing.T, w *network) {
			c := onlyConfig(networks)
			w.node.ensure(t, c, -1)
			type rule struct {
				chain, text string
				packets     int
			}
			read := func() (list []rule) {
				for _, m := range countedRule.FindAllStringSubmatch(sh(t, w.node.name+" -w 5 -t nat -S -v"), -1) {
					var n int
					fmt.Sscan(m[3], &n)
					list = append(list, rule{m[1], m[2] + m[4], n})
				}
				return list
			}
			// The rule that matched in a chain, and those in front of it, were met.
			for to, most := range map[string]int{onPremises: 32, neighbour: 2} {
				before := read()
				talk("udp", "", to)
				after := read()
				if len(after) != len(before) || len(after) < 8 {
					t.Fatalf("%d rules, %d before", len(after), len(before))
				}
				met, place, chain := 0, map[string]int{}, "POSTROUTING"
				for chain != "" {
					next := ""
					for i, r := range after {
						if r.chain != chain {
							continue
						}
						met++
						place[chain]++
						if r.packets > before[i].packets {
							if m := regexp.MustCompile(`-[jg] (EMR-\S+)`).FindStringSubmatch(r.text); m != nil {
								next = m[1]
							}
							break
						}
					}
					chain = next
				}
				_, want := evaluate(t, c.Desired("eth0").For(netcfg.IptablesNFT), packet{source: primary, sourceHere: true, destination: netip.MustParseAddr(to), out: "eth0"})
				if met != want+1 || met > most {
					t.Errorf("%d networks: a packet to %s meets %d rules (%v), want %d and at most %d", networks, to, met, place, want+1, most)
				}
			}
		})
	}
}
