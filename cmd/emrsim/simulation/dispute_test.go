package simulation

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// A node has its address by EC2, and the record names another instance: where the ledger was lost and that one wrote its claim first, or where
// an operator attached the address. A claimant that lives is left the time to be refused and to delete its claim: what is written before that
// may be deleted with it. One that is gone deletes nothing, and one that keeps its claim has no right to it.
func TestRecordOfAnotherClaimant(t *testing.T) {
	const giveUp = 14 * time.Second
	for _, test := range []struct {
		name     string
		before   func(c *cluster, claimant *Node, a netip.Addr)
		min, max time.Duration // from the start of the run to the write of the record
	}{
		{"lives and gives up", func(c *cluster, _ *Node, a netip.Addr) {
			time.AfterFunc(giveUp, func() {
				if err := c.Delete(c.t.Context(), c.parameter(a)); err != nil {
					c.t.Error(err)
				}
			})
		}, giveUp, time.Minute},
		{"lives and does not", func(*cluster, *Node, netip.Addr) {}, 15 * time.Second, time.Minute},
		{"is terminated", func(c *cluster, claimant *Node, _ netip.Addr) { c.retire(claimant) }, 0, 12 * time.Second},
	} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, first run %t", test.name, first), func(t *testing.T) {
				inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
					pool := agent.Pools{Master: addrs("10.0.1.20")}
					n, claimant := c.launch(1, 0, pool)[0], c.launch(1, 0, pool)[0]
					a := pool.Master[0]
					if first {
						if err := c.Take(t.Context(), n.Node, a); err != nil {
							t.Fatal(err)
						}
					} else {
						c.mustAll([]*Node{n})
						c.Cloud.ForgetCalls()
					}
					r := ssmcoord.Record{Instance: claimant.InstanceID, ENI: claimant.ENI, Cluster: claimant.ClusterID, Role: claimant.Role}
					if err := c.PutRecord(t.Context(), c.parameter(a), r); err != nil {
						t.Fatal(err)
					}
					began := time.Now()
					test.before(c, claimant, a)
					c.mustAll([]*Node{n})
					writes := 0
					for _, x := range c.Cloud.Calls() {
						if x.Caller != n.InstanceID || x.Action != "PutParameter" {
							continue
						}
						writes++
						if after := x.Time.Sub(began); after < test.min || after > test.max {
							t.Errorf("it wrote after %s, want %s to %s: %s", after, test.min, test.max, x)
						}
					}
					if writes != 1 || n.Static() != a {
						t.Errorf("%d writes, %s in use", writes, n.Static())
					}
					c.CheckTruth(testPrefix, nil)
				})
			})
		}
	}
}
