package simulation

import (
	"slices"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// TestStrangersAddress checks that a node takes no address from a holder: neither from a stranger
// nor from a node whose address has no record. The node must use the next address and write no
// record of the first.
func TestStrangersAddress(t *testing.T) {
	for _, emr := range []bool{false, true} {
		inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
			pool := agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")}
			n := c.launch(1, 0, pool)[0]
			holder := c.stranger()
			if emr {
				holder = c.launch(1, 0, pool)[0].Node
			}
			if err := c.Take(t.Context(), holder, pool.Master[0]); err != nil {
				t.Fatal(err)
			}
			plan, err := n.Plan(t.Context())
			if err != nil || plan.Static != pool.Master[1] {
				t.Errorf("plan: static IP %s, error %v", plan.Static, err)
			}
			c.mustAll([]*Node{n})
			if n.Static() != pool.Master[1] {
				t.Errorf("the node uses %s", n.Static())
			}
			if h := c.Cloud.Holders(c.subnet, pool.Master[0]); !slices.Equal(h, []string{holder.ENI}) {
				t.Errorf("the holder's address is now on %v", h)
			}
			if r, there := c.record(pool.Master[0]); there {
				t.Errorf("the record of the holder's address is %+v", r)
			}
			if r, _ := c.record(pool.Master[1]); r.Instance != n.InstanceID {
				t.Errorf("the record of the node's address is %+v", r)
			}
		})
	}
}
