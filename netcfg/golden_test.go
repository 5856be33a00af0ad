package netcfg_test

import (
	"net/netip"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// What the kernel shows for each backend and scope, counters aside.
func TestGoldenRules(t *testing.T) {
	scopes := []struct {
		name   string
		change func(*netcfg.Config)
	}{
		{"external", func(*netcfg.Config) {}},
		{"all", func(c *netcfg.Config) { c.Scope = netcfg.ScopeAll }},
		{"private", func(c *netcfg.Config) { c.Scope = netcfg.ScopePrivate }},
		{"only", func(c *netcfg.Config) {
			c.Only = []netip.Prefix{netip.MustParsePrefix("192.168.50.0/24"), netip.MustParsePrefix("172.30.0.0/17")}
		}},
		{"many", func(c *netcfg.Config) { // more than a chain has: a tree in iptables
			for i := range 20 {
				c.Only = append(c.Only, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(8 * i), 0}), 22))
			}
			c.Only = append(c.Only, netip.MustParsePrefix("172.30.0.0/17"))
			for i := range 10 {
				c.Exclude = append(c.Exclude, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(16 * i), 0}), 24))
			}
		}},
		{"exclude", func(c *netcfg.Config) { c.Exclude = []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")} }},
	}
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program)
			n := realNode(t, v.options, v.program)
			for _, s := range scopes {
				c := config()
				s.change(&c)
				n.ensure(t, c, -1)
				dump := "nft list table ip emr-static-ip"
				if v.name != "native" {
					dump = v.program + "-save -t nat"
				}
				golden.Is(t, v.name+"-"+s.name+".golden", withoutCounters(sh(t, dump)))
			}
		})
	}
}
