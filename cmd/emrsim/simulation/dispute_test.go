package simulation

import (
	"fmt"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// TestRecordOfAnotherInstance has a node whose address has a record that names another instance.
// This happens if the ledger was lost and a node of the former version wrote its record first, or
// if an operator assigned the address. The node must replace the record with one write, whether or
// not the other instance is alive.
func TestRecordOfAnotherInstance(t *testing.T) {
	for _, lives := range []bool{true, false} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("it lives %t, first run %t", lives, first), func(t *testing.T) {
				inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
					pool := agent.Pools{Master: addrs("10.0.1.20")}
					n, other := c.launch(1, 0, pool)[0], c.launch(1, 0, pool)[0]
					a := pool.Master[0]
					if first {
						if err := c.Take(t.Context(), n.Node, a); err != nil {
							t.Fatal(err)
						}
					} else {
						c.mustAll([]*Node{n})
						c.Cloud.ForgetCalls()
					}
					r := ssmcoord.Record{Instance: other.InstanceID, ENI: other.ENI, Cluster: other.ClusterID, Role: other.Role}
					if err := c.PutRecord(t.Context(), c.parameter(a), r); err != nil {
						t.Fatal(err)
					}
					if !lives {
						c.retire(other)
					}
					began := time.Now()
					c.mustAll([]*Node{n})
					writes := 0
					for _, x := range c.Cloud.Calls() {
						if x.Caller == n.InstanceID && x.Action == "PutParameter" {
							writes++
						}
					}
					if took := time.Since(began); writes != 1 || n.Static() != a || took > time.Minute {
						t.Errorf("%d writes, address in use %s, after %s", writes, n.Static(), took)
					}
					c.CheckTruth(testPrefix, nil)
				})
			})
		}
	}
}
