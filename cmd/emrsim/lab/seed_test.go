package lab

import (
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// seed is the seed of the cloud model of every lab, or 0 for another one in each lab. It decides
// about identifiers and primary IPs. The labs run in real time, so no seed repeats the order in
// which the calls of several nodes arrive.
var seed = flag.Uint64("seed", 0, "of the cloud model: repeats addresses and identifiers (0: another one each time)")

func newSeed() uint64 {
	if *seed != 0 {
		return *seed
	}
	return uint64(time.Now().UnixNano())
}

// expectReserved fails a test that offers a node an address which EC2 may give to a new instance as
// its primary IP: the test would depend on chance.
func expectReserved(t *testing.T, c *Cluster, args []string) {
	t.Helper()
	kept := slices.Clone(c.Reserved)
	for _, n := range c.Nodes() {
		kept = append(kept, n.Primary.Address) // no new instance gets it
	}
	for _, a := range unreserved(c.Plan().Subnet, kept, args) {
		t.Errorf("%s is offered to a node, and no reservation keeps it from new instances", a)
	}
}

// unreserved returns the addresses in args that EC2 may give to new instances of the subnet.
func unreserved(subnet netip.Prefix, reserved []netip.Addr, args []string) (found []netip.Addr) {
	for _, arg := range args {
		_, value, ok := strings.Cut(arg, "=")
		if !ok {
			value = arg
		}
		for part := range strings.SplitSeq(value, ",") {
			a, err := netip.ParseAddr(part)
			if err != nil || !subnet.Contains(a) || slices.Contains(reserved, a) {
				continue
			}
			// EC2 keeps the first four and the last address of a subnet.
			if last := a.As4()[3]; last > 3 && last < 255 {
				found = append(found, a)
			}
		}
	}
	return found
}

func TestUnreserved(t *testing.T) {
	subnet, reserved := netip.MustParsePrefix("10.0.1.0/24"), []netip.Addr{netip.MustParseAddr("10.0.1.10")}
	args := []string{"--verbose", "10.0.1.10", "10.0.1.11", "--core-ips=10.0.1.10,10.0.1.12", "10.0.1.2", "10.0.1.255", "192.168.1.9", "10.0.1.300"}
	if got := fmt.Sprint(unreserved(subnet, reserved, args)); got != "[10.0.1.11 10.0.1.12]" {
		t.Errorf("got %s", got)
	}
}

// TestSeed checks that a seed repeats what it claims: the nodes' identifiers and addresses.
func TestSeed(t *testing.T) {
	said := func(seed uint64) (text string) {
		c := cloud.New(cloud.Options{Seed: seed})
		subnet := c.CreateSubnet(c.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), netip.MustParsePrefix("10.0.1.0/24"))
		launched, err := c.LaunchCluster(cloud.ClusterSpec{Name: "x", Subnet: subnet, ReleaseLabel: "emr-7.5.0", Masters: 3, Cores: 5, Tasks: 2})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range launched.Nodes {
			text += fmt.Sprintln(n.Role, n.InstanceID, n.ENI, n.MAC, n.PrimaryIP)
		}
		return text
	}
	if one, again := said(1795973719051203649), said(1795973719051203649); one != again {
		t.Errorf("one seed, two clusters:\n%s%s", one, again)
	}
	if said(1) == said(2) {
		t.Error("two seeds, one cluster")
	}
}
