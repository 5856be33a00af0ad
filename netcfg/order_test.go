package netcfg_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// autoOptions choose the backend by themselves.
var autoOptions = netcfg.Options{}

// masquerade makes a table of somebody else's that gives all that leaves by eth0 the primary IP.
func masquerade(family, table, priority string) string {
	return "nft -f - <<'END'\ntable " + family + " " + table + " {\n chain postrouting {\n  type nat hook postrouting priority " + priority +
		"; policy accept;\n  jump more\n }\n chain more {\n  oifname \"eth0\" counter masquerade\n }\n}\nEND\n"
}

// With auto the static IP wins, whoever programs first or later, at whatever priority.
func TestAutoWins(t *testing.T) {
	t.Parallel()
	others := map[string]string{
		"srcnat":                masquerade("inet", "gateway", "srcnat"),
		"before srcnat":         masquerade("ip", "docker-bridges", "srcnat - 5"),
		"priority 0":            masquerade("ip", "byhand", "0"),
		"before everybody else": masquerade("inet", "early", "-150"),
		"iptables-nft":          "iptables-nft -t nat -I POSTROUTING -o eth0 -j MASQUERADE",
		"iptables-legacy":       "iptables-legacy -w 5 -t nat -I POSTROUTING -o eth0 -j MASQUERADE",
		"in iptables' table":    masquerade("ip", "nat", "srcnat"),
	}
	for name, other := range others {
		for _, first := range []bool{true, false} {
			t.Run(name+map[bool]string{true: ", first", false: ", later"}[first], func(t *testing.T) {
				enter(t, "iptables-nft", "iptables-legacy")
				w := newNetwork(t, autoOptions, "iptables-nft")
				if first {
					sh(t, other)
				}
				w.node.ensure(t, config(), 2)
				if !first {
					sh(t, other)
				}
				rules := sh(t, "iptables-legacy-save; nft list ruleset")
				w.node.ensure(t, config(), 0)
				for what, got := range map[string]string{"node": talk("tcp", "", onPremises), "container": w.fromContainer(t, onPremises)} {
					if got != static.String() {
						t.Errorf("the %s is seen as %s", what, got)
					}
				}
				if v := w.node.judge(t); v.Condition != netcfg.InOrder {
					t.Error(v)
				}
				w.node.removeAll(t, -1, static)
				left := sh(t, "iptables-legacy-save; nft list ruleset")
				if lost := missingLines(withoutCounters(rules), withoutCounters(left)); lost != "" {
					t.Errorf("lost with the removal: %s", lost)
				}
			})
		}
	}
}

// missingLines lists the lines of a that are not in b and are not ours.
func missingLines(a, b string) string {
	var lost []string
	until := "" // the line that ends a block of ours
	for line := range strings.Lines(a) {
		switch {
		case until != "":
		case strings.HasPrefix(line, "table ip emr-static-ip {"):
			until = "}\n"
		case strings.HasPrefix(line, "\tchain EMR-STATIC-IP-"):
			until = "\t}\n"
		case !strings.Contains(line, "EMR-STATIC-IP") && !strings.Contains(b, line):
			lost = append(lost, line)
		}
		if line == until {
			until = ""
		}
	}
	return strings.Join(lost, "")
}

func (w *network) fromContainer(t *testing.T, to string) (got string) {
	w.container.do(t, func() { got = talk("tcp", "", to) })
	return got
}

func (n *node) judge(t *testing.T) netcfg.Verdict {
	t.Helper()
	o, err := n.Observe(bounded(t), mac)
	if err != nil {
		t.Fatal(err)
	}
	return config().Judge(o)
}

// A backend that was asked for stays, and the verdict names what comes first. Whenever the world
// does not see the static IP, the verdict is not "in order".
func TestOvertakenIsTold(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, do string
		want     netcfg.NATChain // that overtakes
		variants string          // that it overtakes; the others are in order
	}{
		{"srcnat", masquerade("inet", "gateway", "srcnat"), netcfg.NATChain{Table: "inet gateway", Chain: "postrouting", Priority: 100}, "legacy nft"},
		{"before srcnat", masquerade("ip", "gateway", "90"), netcfg.NATChain{Table: "ip gateway", Chain: "postrouting", Priority: 90}, "legacy nft"},
		{"the lowest priority", masquerade("ip", "gateway", "-199"), netcfg.NATChain{Table: "ip gateway", Chain: "postrouting", Priority: -199}, "legacy nft native"},
		{"after srcnat", masquerade("ip", "gateway", "101"), netcfg.NATChain{}, ""},
		{"dormant", strings.Replace(masquerade("ip", "gateway", "90"), "gateway {", "gateway {\n flags dormant", 1), netcfg.NATChain{}, ""},
		{"a filter only", "nft add table ip x; nft add chain ip x y '{ type nat hook postrouting priority 0; }'; nft add rule ip x y ip daddr 192.0.2.1 counter accept", netcfg.NATChain{}, ""},
		{"a rule for the way in", "nft add table ip x; nft add chain ip x y '{ type nat hook prerouting priority -150; }'; nft add rule ip x y ip daddr 192.0.2.1 dnat to 192.0.2.2", netcfg.NATChain{}, ""},
		{"the other variant, legacy", "iptables-legacy -w 5 -t nat -A POSTROUTING -o eth0 -j MASQUERADE", netcfg.NATChain{Table: "ip nat", Chain: "POSTROUTING", Priority: 100, Legacy: true}, "nft"},
		{"the other variant, nft", "iptables-nft -t nat -A POSTROUTING -o eth0 -j SNAT --to-source 10.0.1.77", netcfg.NATChain{Table: "ip nat", Chain: "POSTROUTING", Priority: 100}, "legacy"},
	}
	for _, v := range variants {
		for _, c := range cases {
			t.Run(v.name+"/"+c.name, func(t *testing.T) {
				enter(t, v.program, "iptables-nft", "iptables-legacy")
				w := newNetwork(t, v.options, v.program)
				w.node.ensure(t, config(), 2)
				if got := w.node.judge(t); got.Condition != netcfg.InOrder || len(got.Before) > 0 || got.String() != string(netcfg.InOrder) {
					t.Error(got)
				}
				sh(t, c.do)
				w.node.ensure(t, config(), 0)
				got := w.node.judge(t)
				switch overtaken := slices.Contains(strings.Fields(c.variants), v.name); {
				case !overtaken && got.Condition != netcfg.InOrder:
					t.Errorf("%s; want in order", got)
				case overtaken && (got.Condition != netcfg.Overtaken || len(got.Before) != 1 || got.Before[0] != c.want || !strings.Contains(got.Detail, c.want.Table)):
					t.Errorf("%s, %+v; want %+v", got, got.Before, c.want)
				}
				if seen := talk("tcp", "", onPremises); seen != static.String() && got.Condition == netcfg.InOrder {
					t.Errorf("seen as %s, and the verdict is %s", seen, got)
				}
			})
		}
	}
}

func TestVerdicts(t *testing.T) {
	eachKernel(t, func(t *testing.T, n *node) {
		if v := n.judge(t); v.Condition != netcfg.Missing || !strings.Contains(v.Detail, "10.0.1.20") {
			t.Error(v)
		}
		n.ensure(t, config(), 2)
		if v := n.judge(t); v.Condition != netcfg.InOrder {
			t.Error(v)
		}
		n.unjump()
		if v := n.judge(t); v.Condition != netcfg.Missing || !strings.Contains(v.Detail, "+ -A ") {
			t.Error(v)
		}
	})
}

// hidden puts into table `ip nat` what iptables cannot show, as programs do that use nft beside it.
var hidden = map[string]string{
	"a rule in iptables' chain": `iptables-nft -t nat -A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE; nft add chain ip nat mine; nft add rule ip nat POSTROUTING meta mark and 0xff0000 == 0x40000 jump mine; nft add rule ip nat mine numgen inc mod 2 0 counter accept`,
	"a base chain of its own":   `nft add table ip nat; nft add chain ip nat ts-postrouting '{ type nat hook postrouting priority 100; }'; nft add rule ip nat ts-postrouting meta mark and 0xff0000 == 0x40000 counter masquerade`,
}

// A table that iptables cannot show: auto does the work, a named backend says which one could, and
// a removal always works. What others have there stays.
func TestHiddenTable(t *testing.T) {
	nft := variants[1]
	for name, script := range hidden {
		for _, first := range []bool{true, false} {
			t.Run(name+map[bool]string{true: ", first", false: ", later"}[first], func(t *testing.T) {
				enter(t, "iptables-nft")
				n := realNode(t, nft.options, nft.program)
				auto, err := netcfg.Open(bounded(t), autoOptions)
				if err != nil {
					t.Fatal(err)
				}
				if !first {
					n.ensure(t, config(), 2)
				}
				sh(t, script)
				foreign := withoutCounters(sh(t, "nft list ruleset"))
				r, err := netcfg.Ensure(bounded(t), n, config(), nil)
				if !errors.Is(err, netcfg.ErrBackend) || !strings.Contains(err.Error(), "--nat-backend nftables") || len(r.Changes) > 0 {
					t.Errorf("by name: changes %v, error %v", r.Changes, err)
				}
				if err := netcfg.Preflight(bounded(t), n, config(), []netip.Addr{static}, true); !errors.Is(err, netcfg.ErrBackend) {
					t.Errorf("preflight: %v", err)
				}
				w := &node{Kernel: auto, dump: n.dump}
				w.ensure(t, config(), -1)
				if got := sh(t, "nft list ruleset"); strings.Count(got, "snat to 10.0.1.20") != 1 || !strings.Contains(got, "table ip emr-static-ip {") {
					t.Errorf("the rules are not in one place:\n%s", got)
				}
				by := auto
				if first {
					by = n // the named backend removes what the other one holds
				}
				if _, err := netcfg.Remove(bounded(t), by, mac, []netip.Addr{static}, nil); err != nil {
					t.Error(err)
				}
				left := withoutCounters(sh(t, "nft list ruleset; ip addr show dev eth0"))
				if strings.Contains(left, "EMR-STATIC-IP") || strings.Contains(left, static.String()) {
					t.Errorf("left:\n%s", left)
				}
				if lost := missingLines(foreign, left); lost != "" {
					t.Errorf("lost with the removal: %s", lost)
				}
			})
		}
	}
	// What the named backend programmed before can be removed by it, though it cannot show it.
	t.Run("removed by name", func(t *testing.T) {
		enter(t, "iptables-nft")
		n := realNode(t, nft.options, nft.program)
		n.ensure(t, config(), 2)
		sh(t, hidden["a base chain of its own"])
		if _, err := netcfg.Remove(bounded(t), n, mac, []netip.Addr{static}, nil); err != nil {
			t.Error(err)
		}
		if left := sh(t, "nft list ruleset; ip addr show dev eth0"); strings.Contains(left, "EMR") || !strings.Contains(left, "ts-postrouting") || strings.Contains(left, static.String()) {
			t.Errorf("left:\n%s", left)
		}
	})
}

// A dormant table has no effect, whatever is in it.
func TestDormantTable(t *testing.T) {
	t.Run("nft", func(t *testing.T) {
		enter(t, "iptables-nft")
		w := newNetwork(t, variants[1].options, "iptables-nft")
		w.node.ensure(t, config(), 2)
		sh(t, "nft add table ip nat '{ flags dormant; }'")
		if v := w.node.judge(t); v.Condition != netcfg.Dormant || !strings.Contains(v.Detail, "table ip nat has the flag dormant") {
			t.Error(v)
		}
		if r, err := netcfg.Ensure(bounded(t), w.node, config(), nil); !errors.Is(err, netcfg.ErrBackend) || len(r.Changes) > 0 {
			t.Errorf("changes %v, error %v", r.Changes, err)
		}
		auto, err := netcfg.Open(bounded(t), autoOptions)
		if err != nil {
			t.Fatal(err)
		}
		(&node{Kernel: auto, dump: w.node.dump}).ensure(t, config(), -1)
		if got := talk("tcp", "", onPremises); got != static.String() {
			t.Errorf("seen as %s", got)
		}
		if got := sh(t, "nft list table ip nat"); !strings.Contains(got, "dormant") || strings.Contains(got, "EMR") {
			t.Errorf("the table is somebody else's, and now:\n%s", got)
		}
	})
	t.Run("native", func(t *testing.T) {
		enter(t)
		n := realNode(t, variants[2].options, "iptables-nft")
		n.ensure(t, config(), 2)
		sh(t, "nft add table ip emr-static-ip '{ flags dormant; }'")
		if v := n.judge(t); v.Condition != netcfg.Dormant {
			t.Error(v)
		}
		n.ensure(t, config(), 1)
		if v := n.judge(t); v.Condition != netcfg.InOrder {
			t.Error(v)
		}
	})
}

// A base chain that was changed is told as it is, and its rules still tell the static IP.
func TestChangedBaseChain(t *testing.T) {
	messages := golden.Open(t, "changed-chains.txt")
	const postrouting = "ip emr-static-ip POSTROUTING '{ type nat hook postrouting priority "
	for name, chain := range map[string]string{
		"drop":    "ip emr-static-ip EMR-STATIC-IP-OUT '{ policy drop; }'",
		"former":  postrouting + "-199; }'",
		"foreign": postrouting + "100; }'",
	} {
		t.Run(name, func(t *testing.T) {
			enter(t)
			n := realNode(t, variants[2].options, "iptables-nft")
			n.ensure(t, config(), 2)
			sh(t, "nft add chain "+chain)
			v := n.judge(t)
			if v.Condition != netcfg.Missing {
				t.Error(v)
			}
			messages.Is(t, name, strings.ReplaceAll(v.Detail, "; ", "\n"))
			o, err := n.Observe(bounded(t), mac)
			if got, ok := o.Rules.Static(); err != nil || !ok || got != static {
				t.Errorf("static IP %v, error %v", got, err)
			}
			n.ensure(t, config(), 1)
		})
	}
}

// Chains and tables of others that merely begin like ours stay, with their rules and the jumps to
// them.
func TestNamesLikeOurs(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program)
			n := realNode(t, v.options, v.program)
			p := v.program + " -w 5 -t nat "
			sh(t, p+"-N EMR-STATIC-IP-LOCAL; "+p+"-A EMR-STATIC-IP-LOCAL -d 192.0.2.1 -j ACCEPT; "+p+"-A OUTPUT -j EMR-STATIC-IP-LOCAL; "+p+"-N EMR-STATIC-IP-; "+
				p+"-N EMR-STATIC-IP-OUT-0; "+p+"-A EMR-STATIC-IP-OUT-0 -d 192.0.2.1 -j ACCEPT; "+p+"-A OUTPUT -j EMR-STATIC-IP-OUT-0; "+
				p+"-N EMR-STATIC-IP-OUT-10000; "+p+"-N EMR-STATIC-IP-OUT-01; "+p+"-N EMR-STATIC-IP-IN-1; "+
				p+"-N EMR-STATIC-IP-IN2; "+p+"-A PREROUTING -m comment --comment emr-static-ip -j EMR-STATIC-IP-IN2; "+
				"nft add table ip emr-static-ip-2; nft add table inet emr-static-ip")
			before := n.dump()
			for range 2 {
				n.ensure(t, config(), 2)
				n.removeAll(t, 2, static)
				if got := n.dump(); got != before {
					t.Fatalf("after the removal:\n%s\nbefore:\n%s", got, before)
				}
			}
			for _, other := range variants {
				k, err := netcfg.Open(bounded(t), other.options)
				if err != nil {
					t.Fatal(err)
				}
				if r, err := netcfg.Remove(bounded(t), k, mac, []netip.Addr{static}, nil); err != nil || len(r.Changes) > 0 {
					t.Errorf("removal by %s: %v, %v", other.name, r.Changes, err)
				}
			}
		})
	}
}

// A chain of an earlier version goes, and what that version noted in it.
func TestChainOfAnEarlierVersion(t *testing.T) {
	enter(t, "iptables-nft")
	n := realNode(t, variants[1].options, "iptables-nft")
	before := n.dump()
	const note = "iptables-nft -t nat -N EMR-STATIC-IP-NEW; iptables-nft -t nat -A EMR-STATIC-IP-NEW -m comment --comment emr-static-ip:TABLE"
	n.ensure(t, config(), 2)
	sh(t, note)
	n.ensure(t, config(), 1)
	sh(t, note)
	n.removeAll(t, 2, static)
	if got := n.dump(); got != before {
		t.Errorf("after the removal:\n%s\nbefore:\n%s", got, before)
	}
}
