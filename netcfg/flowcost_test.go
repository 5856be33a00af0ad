package netcfg_test

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// rulesMet returns how many rules the first packet to a destination meets in the node's own nat
// chains. Each rule has a counter of what it matched: the rules in front of a match were met too.
func rulesMet(t *testing.T, to string) (met int) {
	t.Helper()
	before := nativeCounters(t)
	c, err := net.Dial("udp", to+":9")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	after := nativeCounters(t)
	for chain, rules := range after {
		if chain == "PREROUTING" || chain == netcfg.ChainIn {
			continue
		}
		met += len(rules) // all, unless one that ends the chain matches
		for i, packets := range rules {
			if packets > before[chain][i] {
				met -= len(rules) - i - 1
				break
			}
		}
	}
	return met
}

var counted = regexp.MustCompile(`counter packets (\d+) `)

// nativeCounters returns the counter of each rule of the native table, by chain.
func nativeCounters(t *testing.T) map[string][]int {
	t.Helper()
	chains, chain := map[string][]int{}, ""
	for line := range strings.Lines(sh(t, "nft list table ip emr-static-ip")) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "chain "); ok {
			chain = strings.TrimSuffix(name, " {")
		}
		if m := counted.FindStringSubmatch(line); m != nil {
			var n int
			fmt.Sscan(m[1], &n)
			chains[chain] = append(chains[chain], n)
		}
	}
	return chains
}

// With native nftables the first packet of a flow meets as many rules with 400 networks as with 20.
// Flows inside the VPC leave at the first rule.
func TestFlowMeetsFewRules(t *testing.T) {
	for _, networks := range []int{0, 20, 400, 900} {
		t.Run(fmt.Sprint(networks), func(t *testing.T) {
			enter(t)
			w := newNetwork(t, variants[2].options, variants[2].program)
			w.node.ensure(t, onlyConfig(networks), -1)
			outside := 9
			if networks > 0 {
				outside = 7 // one for the large networks, one for the place's own; no exception matters
			}
			if met := rulesMet(t, onPremises); met != outside {
				t.Errorf("a packet to %s meets %d rules, want %d", onPremises, met, outside)
			}
			if met := rulesMet(t, neighbour); met != 2 { // OUTPUT, VPC
				t.Errorf("a packet inside the VPC meets %d rules, want 2", met)
			}
		})
	}
}

// oneByOne is the native table with one rule for each network.
const oneByOne = `nft -f - <<'END'
table ip emr-static-ip {
	chain EMR-STATIC-IP-IN {
		tcp flags & (fin | syn | rst | ack) != syn counter return comment "emr-static-ip"
		ip daddr 10.0.1.20 counter dnat to 10.0.1.5 comment "emr-static-ip"
	}
	chain EMR-STATIC-IP-OUT {
%s	}
	chain PREROUTING {
		type nat hook prerouting priority -99; policy accept;
		%[2]scounter jump EMR-STATIC-IP-IN comment "emr-static-ip"
	}
	chain OUTPUT {
		type nat hook output priority -99; policy accept;
		%[2]scounter jump EMR-STATIC-IP-IN comment "emr-static-ip"
	}
	chain POSTROUTING {
		type nat hook postrouting priority -199; policy accept;
		counter jump EMR-STATIC-IP-OUT comment "emr-static-ip"
	}
}
END`

// A table with a rule for each network is replaced, once. Connections through it live on.
func TestRuleForEachNetworkBecomesOne(t *testing.T) {
	const comment = " counter return comment \"emr-static-ip\"\n"
	const midStream = "tcp flags & (fin | syn | rst | ack) != syn" + comment
	const vpc = "ip daddr 10.0.0.0/16" + comment + "ip daddr 100.64.0.0/16" + comment
	const special = "ip daddr 224.0.0.0/4" + comment + "ip daddr 169.254.0.0/16" + comment + "ip daddr 255.255.255.255" + comment
	const others = "ip saddr != 10.0.1.5 fib saddr . oif type local" + comment
	t.Run("of 0.9.0 and before", func(t *testing.T) {
		becomesOne(t, "", midStream+special+vpc+"fib daddr type local"+comment+others)
	})
	t.Run("in today's order", func(t *testing.T) {
		becomesOne(t, "ip daddr 10.0.1.20 ", vpc+midStream+special+others)
	})
}

func becomesOne(t *testing.T, jump, first string) {
	enter(t)
	w := newNetwork(t, variants[2].options, variants[2].program)
	c := onlyConfig(20)
	var rules strings.Builder
	rules.WriteString(first)
	for _, r := range c.Desired("eth0").Chains[1].Rules {
		if r.Action == netcfg.SNAT {
			fmt.Fprintf(&rules, "\t\tip daddr %s oifname \"eth0\" counter snat to 10.0.1.20 comment \"emr-static-ip\"\n", r.Destination)
		}
	}
	sh(t, "ip addr add 10.0.1.20/32 dev eth0\n"+fmt.Sprintf(oneByOne, rules.String(), jump))
	conn, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr(onPremises), testPort).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	seen := func() string {
		t.Helper()
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		var got string
		if _, err := fmt.Fscanln(conn, &got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := seen(); got != static.String() {
		t.Fatalf("seen as %s before", got)
	}
	w.node.ensure(t, c, 1)
	w.node.ensure(t, c, 0)
	if got := seen(); got != static.String() {
		t.Errorf("seen as %s after", got)
	}
	if n := strings.Count(sh(t, "nft list chain ip emr-static-ip EMR-STATIC-IP-OUT"), "snat to"); n != 2 {
		t.Errorf("%d rules for networks, want 2", n)
	}
}

// What somebody changed in a set of ours is seen and put back.
func TestSetsAreRead(t *testing.T) {
	for what, set := range map[string]string{
		"less":         "{ 11.0.0.0, 11.0.1.0, 11.0.2.0, 11.0.3.0, 11.0.4.0, 11.0.5.0, 11.0.6.0, 11.0.7.0 }",
		"other bits":   "{ 11.0.0.0, 11.0.1.0, 11.0.2.0, 11.0.3.0, 11.0.4.0, 11.0.5.0, 11.0.6.0, 11.0.7.0, 11.0.8.1 }",
		"the contrary": "!= { 11.0.0.0, 11.0.1.0, 11.0.2.0, 11.0.3.0, 11.0.4.0, 11.0.5.0, 11.0.6.0, 11.0.7.0, 11.0.8.0 }",
		"one":          "11.0.0.0",
		"another map":  "vmap { 11.0.0.0 : return, 11.0.1.0 : return }",
	} {
		t.Run(what, func(t *testing.T) {
			enter(t)
			n := realNode(t, variants[2].options, variants[2].program)
			c := config()
			c.Only = networks(9)
			n.ensure(t, c, -1)
			want := withoutCounters(sh(t, "nft list table ip emr-static-ip"))
			handle := regexp.MustCompile(`snat to .* # handle (\d+)`).FindStringSubmatch(sh(t, "nft -a list chain ip emr-static-ip EMR-STATIC-IP-OUT"))
			action := ` oifname "eth0" counter snat to 10.0.1.20`
			if strings.HasPrefix(set, "vmap") {
				action = ""
			}
			sh(t, "nft replace rule ip emr-static-ip EMR-STATIC-IP-OUT handle "+handle[1]+" 'ip daddr and 255.255.255.128 "+set+action+"'")
			n.ensure(t, c, 1)
			n.ensure(t, c, 0)
			if got := withoutCounters(sh(t, "nft list table ip emr-static-ip")); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}
