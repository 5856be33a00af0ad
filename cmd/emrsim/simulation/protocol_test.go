package simulation

import (
	"fmt"
	"go.uber.org/zap"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

func TestClaimIsWrittenOnceForEachNode(t *testing.T) {
	inBubble(t, cloud.Options{Quotas: cloud.DefaultQuotas()}, func(t *testing.T, c *cluster) {
		nodes := c.launch(1, 2, smallPools)
		c.mustAll(nodes)
		c.CheckTruth(testPrefix, nil)
		if puts := c.Cloud.Counts()["ssm:PutParameter"]; puts.Calls != 3 {
			t.Errorf("%d PutParameter calls for 3 nodes", puts.Calls)
		}
		if nodes[0].Static() != smallPools.Master[0] {
			t.Errorf("the master has %s", nodes[0].Static())
		}
	})
}

// TestWaitingForTheLiving has a cluster whose list is used by another, living cluster. The nodes
// must wait, log for whom they wait, and fail with a list of all holders.
func TestWaitingForTheLiving(t *testing.T) {
	inBubble(t, cloud.Options{Quotas: cloud.DefaultQuotas()}, func(t *testing.T, c *cluster) {
		logs := c.listen()
		old := c.launch(1, 2, smallPools)
		c.mustAll(old)
		second := c.launch(1, 2, smallPools)
		began := time.Now()
		errs := c.all(second)
		if d := time.Since(began); d > agent.DefaultTimeout {
			t.Errorf("the runs took %s", d)
		}
		for i, err := range errs {
			if exitCode(err) != agent.ExitNoAddress {
				t.Fatalf("%s: code %d, %v", second[i].InstanceID, exitCode(err), err)
			}
		}
		text := errs[1].Error()
		for _, n := range old[1:] {
			for _, want := range []string{n.Static().String(), n.InstanceID, n.ENI, n.ClusterID, "for 9m"} {
				if !strings.Contains(text, want) {
					t.Errorf("the error does not name %s:\n%s", want, text)
				}
			}
		}
		waiting := logs.FilterField(zap.String("event", string(ssmcoord.EventWaiting))).Len()
		if waiting < 2 || waiting > 30 {
			t.Errorf("%d progress lines of two nodes in ten minutes", waiting)
		}
		if puts := c.Cloud.Counts()["ssm:PutParameter"].Calls; puts != 3 {
			t.Errorf("nodes that wait wrote %d records", puts-3)
		}
		if c.retire(second...); len(c.living()) != 3 {
			t.Fatal("the scenario ended too early")
		}
		c.CheckTruth(testPrefix, nil)
	})
}

// TestCloneOfAClusterThatShutsDown launches a clone while the old cluster shuts down. It must get
// the addresses as soon as they are free.
func TestCloneOfAClusterThatShutsDown(t *testing.T) {
	inBubble(t, cloud.Options{Quotas: cloud.DefaultQuotas(), ShutdownTime: cloud.Exactly(2 * time.Minute)}, func(t *testing.T, c *cluster) {
		old := c.launch(1, 2, smallPools)
		c.mustAll(old)
		for _, n := range old {
			c.Cloud.Terminate(n.InstanceID)
			n.gone.Store(true) // nothing on it uses an address any more, but EC2 keeps its addresses
		}
		began := time.Now()
		clone := c.launch(1, 2, smallPools)
		c.mustAll(clone)
		if d := time.Since(began); d < 2*time.Minute || d > 3*time.Minute {
			t.Errorf("the runs took %s, and the addresses were free after 2m", d)
		}
		c.CheckTruth(testPrefix, nil)
	})
}

// TestReplacedCoreNode checks that a new core node takes over the address of a terminated one with
// one write.
func TestReplacedCoreNode(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		nodes := c.launch(1, 2, smallPools)
		c.mustAll(nodes)
		free := nodes[1].Static()
		c.retire(nodes[1])
		c.Cloud.ForgetCalls()
		cn, err := c.Cloud.AddNode(nodes[0].ClusterID, cloud.RoleCore)
		if err != nil {
			t.Fatal(err)
		}
		// Three addresses for two requested core nodes. A stranger has the spare one.
		pools := smallPools
		pools.Core = append(slices.Clone(pools.Core), netip.MustParseAddr("10.0.1.23"))
		if _, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet, PrimaryIP: pools.Core[2]}); err != nil {
			t.Fatal(err)
		}
		cfg := agent.DefaultConfig()
		cfg.Pools = pools
		n := c.newNode(cn, cfg, cloud.FilesMinimal)
		c.mustAll([]*Node{n})
		if n.Static() != free {
			t.Errorf("the new node uses %s, want the free address %s", n.Static(), free)
		}
		if puts := c.Cloud.Counts()["ssm:PutParameter"].Calls; puts != 1 {
			t.Errorf("%d writes", puts)
		}
		c.CheckTruth(testPrefix, nil)
	})
}

// TestReplacedMasterOfThree checks that a new master, which gets the interface of its predecessor,
// works with and without the static IP on that interface.
func TestReplacedMasterOfThree(t *testing.T) {
	pools := agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21", "10.0.1.22"), Core: addrs("10.0.1.23")}
	for _, keeps := range []bool{true, false} {
		t.Run(fmt.Sprintf("secondaries kept %t", keeps), func(t *testing.T) {
			inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
				nodes := c.launch(3, 1, pools)
				c.mustAll(nodes)
				had := nodes[1].Static()
				nodes[1].gone.Store(true)
				cn, err := c.Cloud.ReplaceMaster(nodes[1].InstanceID, keeps)
				if err != nil {
					t.Fatal(err)
				}
				n := c.newNode(cn, nodes[0].Config, cloud.FilesFull)
				c.Cloud.ForgetCalls()
				c.mustAll([]*Node{n})
				if n.Static() != had {
					t.Errorf("the new master uses %s, its predecessor used %s", n.Static(), had)
				}
				if assigns := c.Cloud.Counts()["ec2:AssignPrivateIpAddresses"].Calls; keeps && assigns != 1 {
					t.Errorf("the new master asked EC2 %d times for the address that is already on its interface", assigns)
				}
				c.CheckTruth(testPrefix, nil)
			})
		})
	}
}

// TestTwoClustersAndAnotherSubnet checks that two clusters with overlapping lists in one subnet
// share the addresses, and that they do not affect a cluster in another subnet.
func TestTwoClustersAndAnotherSubnet(t *testing.T) {
	inBubble(t, cloud.Options{Quotas: cloud.DefaultQuotas()}, func(t *testing.T, c *cluster) {
		a := c.launch(1, 2, agent.Pools{Master: addrs("10.0.1.20"), Core: addrs("10.0.1.21", "10.0.1.22", "10.0.1.23", "10.0.1.24")})
		b := c.launch(1, 2, agent.Pools{Master: addrs("10.0.1.25"), Core: addrs("10.0.1.24", "10.0.1.23", "10.0.1.22", "10.0.1.21")})
		vpc := c.Cloud.CreateVPC(netip.MustParsePrefix("10.9.0.0/16"))
		elsewhere := c.launchIn(c.Cloud.CreateSubnet(vpc, testSubnetElsewhere), 1, 1, agent.Pools{Master: addrs("10.9.1.20"), Core: addrs("10.9.1.21")})
		c.mustAll(slices.Concat(a, b, elsewhere))
		c.CheckTruth(testPrefix, nil)
		for _, p := range c.Cloud.Parameters() {
			if !strings.Contains(p.Name, c.subnet) && !strings.Contains(p.Name, elsewhere[0].SubnetID) {
				t.Errorf("a record of an unknown subnet: %s", p.Name)
			}
		}
	})
}

var testSubnetElsewhere = netip.MustParsePrefix("10.9.1.0/24")

// TestObstaclesAreReported checks that an address held by somebody outside the ledger, and an
// unreadable record, are skipped and reported.
func TestObstaclesAreReported(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		logs := c.listen()
		stranger, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet, Secondary: addrs("10.0.1.21")})
		if err != nil {
			t.Fatal(err)
		}
		broken := c.parameter(netip.MustParseAddr("10.0.1.22"))
		if err := c.PutRaw(t.Context(), broken, "blank"); err != nil {
			t.Fatal(err)
		}
		nodes := c.launch(1, 1, agent.Pools{Master: addrs("10.0.1.20"), Core: addrs("10.0.1.21", "10.0.1.22", "10.0.1.23")})
		c.mustAll(nodes)
		if got := nodes[1].Static().String(); got != "10.0.1.23" {
			t.Errorf("the node uses %s", got)
		}
		skipped := logs.FilterField(zap.String("event", string(ssmcoord.EventSkipped)))
		for address, want := range map[string]string{"10.0.1.21": stranger.InstanceID, "10.0.1.22": "emr-static-ip ledger repair --prefix /emr-static-ip --subnet " + c.subnet + " 10.0.1.22"} {
			if said := skipped.FilterField(zap.Stringer("address", netip.MustParseAddr(address))).FilterMessageSnippet(want); said.Len() != 1 {
				t.Errorf("not logged exactly once that %s is skipped, with %s: %v", address, want, skipped.All())
			}
		}
		if got := c.Cloud.Holders(c.subnet, netip.MustParseAddr("10.0.1.21")); !slices.Equal(got, []string{stranger.ENI}) {
			t.Errorf("the stranger's address is now on %v", got)
		}
	})
}

// TestConcurrentTakeOver lets several nodes find the same stale record. One must get the address,
// and the record must name it.
func TestConcurrentTakeOver(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		pools := agent.Pools{Master: addrs("10.0.1.20"), Core: addrs("10.0.1.21", "10.0.1.22", "10.0.1.23")}
		for _, a := range slices.Concat(pools.Master, pools.Core) {
			if err := c.PutRecord(t.Context(), c.parameter(a), deadRecord); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(unseenGrace)
		// The nodes belong to three clusters and do not know each other.
		var nodes []*Node
		for range 3 {
			nodes = append(nodes, c.launch(1, 1, pools)[1])
		}
		c.mustAll(nodes)
		c.CheckTruth(testPrefix, nil)
	})
}

// TestRefusedWithoutAHolder has an address that EC2 refuses although no holder can be seen. The
// node must ask for it only now and then, and the error must name it.
func TestRefusedWithoutAHolder(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
			if x.Action == "AssignPrivateIpAddresses" {
				return cloud.FaultAction{Kind: cloud.FaultFail, Code: "InvalidParameterValue", Message: "[10.0.1.20] assigned, but move is not allowed.", Status: 400}
			}
			return cloud.FaultAction{}
		})
		err := n.Apply(t.Context(), Kill{}).Err
		if exitCode(err) != agent.ExitNoAddress || !strings.Contains(err.Error(), "move is not allowed") || remedy(err) == "" {
			t.Errorf("code %d, %v", exitCode(err), err)
		}
		if puts := c.Cloud.Counts()["ssm:PutParameter"].Calls; puts > 12 {
			t.Errorf("%d PutParameter calls in ten minutes", puts)
		}
		if left := c.Cloud.Parameters(); len(left) != 0 {
			t.Errorf("records left: %v", left)
		}
	})
}

// TestImpossibleAddressLeavesNoRecord checks that a node leaves no record of an address that it can
// never have.
func TestImpossibleAddressLeavesNoRecord(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
			if x.Action == "AssignPrivateIpAddresses" {
				return cloud.FaultAction{Kind: cloud.FaultFail, Code: "PrivateIpAddressLimitExceeded", Message: "full", Status: 400}
			}
			return cloud.FaultAction{}
		})
		if err := n.Apply(t.Context(), Kill{}).Err; exitCode(err) != agent.ExitUsage || !strings.Contains(remedy(err), n.InstanceType) {
			t.Errorf("code %d, %v, remedy %s", exitCode(err), err, remedy(err))
		}
		if left := c.Cloud.Parameters(); len(left) != 0 {
			t.Errorf("records left: %v", left)
		}
	})
}
