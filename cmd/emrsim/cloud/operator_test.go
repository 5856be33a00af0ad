package cloud

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestOperator moves an address by force, takes it away, and writes records by hand.
func TestOperator(t *testing.T) {
	c := New(Options{Seed: 1})
	subnet := c.CreateSubnet(c.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), netip.MustParsePrefix("10.0.1.0/24"))
	static := netip.MustParseAddr("10.0.1.11")
	first, err := c.RunInstance(InstanceSpec{Subnet: subnet, Secondary: []netip.Addr{static}})
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.RunInstance(InstanceSpec{Subnet: subnet})
	if err != nil {
		t.Fatal(err)
	}
	holders := func(want ...string) {
		t.Helper()
		if got := c.Holders(subnet, static); !slices.Equal(got, want) {
			t.Errorf("%s is on %v, want %v", static, got, want)
		}
	}
	holders(first.ENI)
	if err := c.Move(static, second.ENI); err != nil {
		t.Error(err)
	}
	holders(second.ENI)
	if err := c.Move(first.PrimaryIP, second.ENI); err == nil {
		t.Error("a primary address was moved")
	}
	if err := c.Move(static, "eni-none"); err == nil {
		t.Error("an address was moved to an interface that does not exist")
	}
	if err := c.Unassign(first.PrimaryIP); err == nil || !strings.Contains(err.Error(), "primary address") {
		t.Errorf("unassigning a primary address: %v", err)
	}
	if err := c.Unassign(static); err != nil {
		t.Error(err)
	}
	holders()
	if err := c.Unassign(static); err == nil {
		t.Error("an address that nobody has was unassigned")
	}
	for range 2 {
		if err := c.SetParameter("/a/b", "text"); err != nil {
			t.Error(err)
		}
	}
	if p := c.Parameters(); len(p) != 1 || p[0].Name != "/a/b" || p[0].Value != "text" || p[0].Version != 2 {
		t.Errorf("parameters %+v", p)
	}
	if c.SetParameter("/a/b", "") == nil {
		t.Error("an empty value was written")
	}
	if !c.DeleteParameter("/a/b") || c.DeleteParameter("/a/b") {
		t.Error("the parameter was not deleted once")
	}
}
