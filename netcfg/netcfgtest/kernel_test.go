package netcfgtest_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/netcfg/netcfgtest"
)

// The accessors show what the changes did. The contract suite in netcfg tests the rest.
func TestOracles(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 5}
	primary, static := netip.MustParseAddr("10.0.1.5"), netip.MustParseAddr("10.0.1.20")
	k := netcfgtest.New(netcfgtest.Link("eth0", 2, mac, netip.MustParsePrefix("10.0.1.5/24")))
	c := netcfg.Config{MAC: mac, Primary: primary, Static: static, VPC: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}}
	want := func(what, list string, applied int) {
		t.Helper()
		s, named := k.RuleStatic()
		if got := fmt.Sprint(k.Uses(primary), k.Has(static), named && s == static); got != list || len(k.Applied()) != applied {
			t.Errorf("%s: %s, %d changes; want %s, %d", what, got, len(k.Applied()), list, applied)
		}
	}
	want("new", "[] false false", 0)
	if _, err := netcfg.Ensure(t.Context(), k, c, nil); err != nil {
		t.Fatal(err)
	}
	want("programmed", "[10.0.1.20] true true", 2)
	k.RemoveAddress(static)
	want("address lost", "[10.0.1.20] false true", 2)
	k.AddAddress("eth0", netip.PrefixFrom(static, 24))
	k.FlushNAT()
	want("rules lost", "[10.0.1.20] true false", 2)
	k.Reboot(primary)
	want("rebooted", "[] false false", 2)
	if got := fmt.Sprint(k.Addresses("eth0")); got != "[10.0.1.5/24]" {
		t.Errorf("addresses after the reboot: %s", got)
	}
	// Kernel refuses a transaction that was planned on another state, as a whole.
	o, err := k.Observe(t.Context(), mac)
	if err != nil {
		t.Fatal(err)
	}
	o.Rules = c.Desired("eth0")
	if err := k.Apply(t.Context(), netcfg.SetRules{Backend: netcfg.IptablesLegacy, Have: o.Rules}); err == nil || k.Rules() != "" {
		t.Errorf("%v\n%s", err, k.Rules())
	}
}
