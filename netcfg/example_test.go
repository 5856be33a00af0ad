package netcfg_test

import (
	"fmt"
	"net/netip"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// The rules follow from the configuration alone. Traffic inside the VPC keeps the primary IP.
func ExampleConfig_Desired() {
	c := netcfg.Config{
		Primary: netip.MustParseAddr("10.0.1.5"),
		Static:  netip.MustParseAddr("10.0.1.20"),
		VPC:     []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
		Scope:   netcfg.ScopeExternal,
	}
	for _, chain := range c.Desired("eth0").Chains {
		for _, rule := range chain.Rules {
			fmt.Println(rule)
		}
	}
	// Output:
	// -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN
	// -d 10.0.1.20/32 -j DNAT --to-destination 10.0.1.5
	// -d 10.0.0.0/16 -j RETURN
	// -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN
	// -d 224.0.0.0/4 -j RETURN
	// -d 169.254.0.0/16 -j RETURN
	// -d 255.255.255.255/32 -j RETURN
	// ! -s 10.0.1.5/32 -m addrtype --src-type LOCAL --limit-iface-out -j RETURN
	// -o eth0 -j SNAT --to-source 10.0.1.20
}
