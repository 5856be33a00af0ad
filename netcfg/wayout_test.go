package netcfg_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// TestSamples checks that each sample sees the static IP, and that the VPC has none.
func TestSamples(t *testing.T) {
	networks := func(list ...string) (prefixes []netip.Prefix) {
		for _, p := range list {
			prefixes = append(prefixes, netip.MustParsePrefix(p))
		}
		return prefixes
	}
	for name, tt := range map[string]struct {
		edit func(*netcfg.Config)
		want string
	}{
		"external":               {func(*netcfg.Config) {}, "10.1.0.1 172.16.0.1 192.168.0.1 203.0.113.1"},
		"a VPC of two networks":  {func(c *netcfg.Config) { c.VPC = networks("10.1.0.0/16", "10.0.0.0/16") }, "10.2.0.1 172.16.0.1 192.168.0.1 203.0.113.1"},
		"the VPC is all of 10/8": {func(c *netcfg.Config) { c.VPC = networks("10.0.0.0/8") }, "172.16.0.1 192.168.0.1 203.0.113.1"},
		"the VPC is everything":  {func(c *netcfg.Config) { c.VPC = networks("0.0.0.0/0") }, ""},
		"private":                {func(c *netcfg.Config) { c.Scope = netcfg.ScopePrivate }, "10.1.0.1 172.16.0.1 192.168.0.1"},
		"only":                   {func(c *netcfg.Config) { c.Only = networks("192.168.50.0/24", "10.9.9.9/32", "10.7.0.4/31") }, "192.168.50.1 10.9.9.9 10.7.0.4"},
		"only, round the VPC":    {func(c *netcfg.Config) { c.Only = networks("10.0.0.0/8") }, "10.1.0.1"},
		"exclude":                {func(c *netcfg.Config) { c.Exclude = networks("192.168.0.0/16", "203.0.113.0/24") }, "10.1.0.1 172.16.0.1"},
	} {
		c := config()
		c.VPC = networks("10.0.0.0/16")
		tt.edit(&c)
		var got []string
		for _, a := range c.Samples() {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", name, got, tt.want)
		}
	}
}

// TestWayOut checks what is said of routes that lead past the rules, and whether the other side
// sees the static IP then.
func TestWayOut(t *testing.T) {
	t.Parallel()
	notes := golden.Open(t, "way-out.txt")
	for _, test := range []struct {
		name, script string
		none         bool
		sees         string
	}{
		{"by the primary interface", "true", false, static.String()},
		{"the default route by another interface", "ip route replace default via 10.0.2.1 dev eth1", true, "10.0.2.5"},
		{"as a VPN sets it", "ip route add 0.0.0.0/1 via 10.0.2.1 dev eth1; ip route add 128.0.0.0/1 via 10.0.2.1 dev eth1", true, "10.0.2.5"},
		{"a rule of the routing policy", "ip route add default via 10.0.2.1 dev eth1 table 100; ip rule add to 192.168.0.0/16 lookup 100", false, "10.0.2.5"},
		{"a network by another interface", "ip route add 172.16.0.0/16 via 10.0.2.1 dev eth1", false, static.String()},
		{"no route", "ip route del default", false, ""},
		{"a blackhole", "ip route add blackhole 172.16.0.0/16", false, static.String()},
		{"containers", "ip link add br0 type bridge; ip addr add 192.168.0.9/20 dev br0; ip link set br0 up", false, static.String()},
		{"the static IP first in its subnet", "ip addr flush dev eth0; ip addr add 10.0.1.20/24 dev eth0; ip addr add 10.0.1.5/24 dev eth0; ip route add default via 10.0.1.1",
			false, static.String()},
		{"a route with the static IP as its source", "ip route replace default via 10.0.1.1 src 10.0.1.20", false, static.String()},
	} {
		t.Run(test.name, func(t *testing.T) {
			enter(t, "iptables-nft", "iptables-legacy")
			w := newNetwork(t, autoOptions, "iptables-nft")
			w.node.ensure(t, config(), 2)
			sh(t, test.script)
			if got := talk("tcp", "", onPremises); test.sees != "" && got != test.sees {
				t.Errorf("the world sees %s, want %s", got, test.sees)
			}
			out, err := netcfg.FindWayOut(bounded(t), w.node, config(), "eth0")
			if err != nil {
				t.Fatal(err)
			}
			if out.None != test.none {
				t.Errorf("none %t, want %t; notes %q", out.None, test.none, out.Notes)
			}
			notes.Is(t, test.name, strings.Join(out.Notes, "\n"))
		})
	}
}
