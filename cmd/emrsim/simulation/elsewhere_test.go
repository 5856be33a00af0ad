package simulation

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// TestTwoVPCsWithTheSameRange has two VPCs in one account with the same address range, and clusters
// with the same list in both. They must not affect each other, whether the other VPC uses the
// addresses as secondary or as primary addresses.
func TestTwoVPCsWithTheSameRange(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		twin := c.Cloud.CreateSubnet(c.Cloud.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), testSubnet)
		c.Cloud.ReserveCIDR(twin, netip.MustParsePrefix("10.0.1.16/28"), "explicit")
		if _, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: twin, PrimaryIP: smallPools.Core[1]}); err != nil {
			t.Fatal(err)
		}
		theirs := c.launchIn(twin, 1, 1, smallPools)
		c.mustAll(theirs)
		began := time.Now()
		ours := c.launch(1, 2, smallPools)
		c.mustAll(ours)
		if d := time.Since(began); d > time.Minute {
			t.Errorf("the launch took %s although all addresses were free", d)
		}
		for _, n := range slices.Concat(theirs, ours) {
			if h := c.Cloud.Holders(n.SubnetID, n.Static()); !slices.Equal(h, []string{n.ENI}) {
				t.Errorf("%s uses %s, which EC2 has on %v", n.InstanceID, n.Static(), h)
			}
		}
		// A release in one VPC changes nothing in the other.
		if out := ours[0].Release(t.Context(), Kill{}); out.Err != nil {
			t.Error(out.Err)
		}
		if out := theirs[0].Apply(t.Context(), Kill{}); out.Err != nil || len(out.Report.Changes) > 0 {
			t.Errorf("another run in the other VPC: error %v, changes %q", out.Err, out.Report.Changes)
		}
		c.CheckTruth(testPrefix, nil)
	})
}

// TestAddressOnTheSecondInterface has an address of the pool on the second interface that EMR gives
// a master. The node must neither use that address nor wait for it.
func TestAddressOnTheSecondInterface(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		cl, err := c.Cloud.LaunchCluster(cloud.ClusterSpec{Subnet: c.subnet, Masters: 1, SecondENIOnMaster: true})
		if err != nil {
			t.Fatal(err)
		}
		cfg := agent.DefaultConfig()
		cfg.Pools = agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")}
		n := c.newNode(cl.Nodes[0], cfg, cloud.FilesFull)
		if err := c.Take(t.Context(), &cloud.Node{ENI: n.SecondENI.ID}, cfg.Pools.Master[0]); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		c.mustAll([]*Node{n})
		if d := time.Since(began); n.Static() != cfg.Pools.Master[1] || d > 15*time.Second {
			t.Errorf("the node uses %s after %s", n.Static(), d)
		}
		if h := c.Cloud.Holders(c.subnet, cfg.Pools.Master[0]); !slices.Equal(h, []string{n.SecondENI.ID}) {
			t.Errorf("the other address is on %v, want the second interface", h)
		}
		c.CheckTruth(testPrefix, nil)
	})
}
