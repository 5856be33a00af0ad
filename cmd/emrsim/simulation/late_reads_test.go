package simulation

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// inLateLedgers runs a scenario in clouds in which half the reads of Parameter Store are up to
// three seconds old. At the end the ledger must be right.
func inLateLedgers(t *testing.T, seeds uint64, scenario func(c *cluster, seed uint64)) {
	for s := uint64(1); s <= seeds; s++ {
		o := cloud.Options{Seed: s, Latency: promptly, StaleSSM: cloud.Staleness{Probability: 0.5, MaxAge: 3 * time.Second}}
		inBubble(t, o, func(t *testing.T, c *cluster) {
			scenario(c, s)
			time.Sleep(time.Minute)
			c.CheckTruth(testPrefix, nil)
			if len(c.violations) > 0 {
				c.violations = append(c.violations, fmt.Sprintf("seed %d", s))
			}
		})
		if t.Failed() {
			return
		}
	}
}

func promptly(*rand.Rand, cloud.Call) time.Duration { return 30 * time.Millisecond }

// putDeadRecord writes the record of an instance that no longer exists.
func (c *cluster) putDeadRecord(address string) {
	c.t.Helper()
	if err := c.PutRecord(c.t.Context(), c.parameter(addrs(address)[0]), deadRecord); err != nil {
		c.t.Fatal(err)
	}
	time.Sleep(unseenGrace)
}

// mustRelease releases the node's address.
func (c *cluster) mustRelease(n *Node) {
	c.t.Helper()
	if o := n.Release(c.t.Context(), Kill{}); o.Err != nil {
		c.t.Fatal(o.Err)
	}
}

// TestReleaseThenApply checks that a stale read of the record that the node has just deleted does
// not keep the node from writing a new one.
func TestReleaseThenApply(t *testing.T) {
	inLateLedgers(t, 60, func(c *cluster, _ uint64) {
		n := c.launch(1, 0, smallPools)[0]
		c.mustAll([]*Node{n})
		time.Sleep(time.Minute)
		c.mustRelease(n)
		c.mustAll([]*Node{n})
	})
}

// TestCollidedWithItself loses the answer to a create. The read that follows may still show the
// former owner's record.
func TestCollidedWithItself(t *testing.T) {
	inLateLedgers(t, 60, func(c *cluster, _ uint64) {
		before := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		c.mustAll([]*Node{before})
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")})[0]
		time.Sleep(time.Minute)
		c.mustRelease(before)
		lost := false
		c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
			if x.Action == "PutParameter" && x.Caller == n.InstanceID && !lost {
				lost = true
				return cloud.FaultAction{Kind: cloud.FaultLose}
			}
			return cloud.FaultAction{}
		})
		c.mustAll([]*Node{n})
	})
}

// TestTakeOverThenRelease lets a node take an address over and release it while reads still show
// the former owner.
func TestTakeOverThenRelease(t *testing.T) {
	inLateLedgers(t, 30, func(c *cluster, _ uint64) {
		c.putDeadRecord("10.0.1.20")
		n := c.launch(1, 0, smallPools)[0]
		c.mustAll([]*Node{n})
		c.mustRelease(n)
	})
}

// TestTakeOverIsKilledThenRelease is the same with a run that is killed. The release must leave no
// record.
func TestTakeOverIsKilledThenRelease(t *testing.T) {
	took := 0
	for point := 18; point < 70 && !t.Failed(); point++ {
		inLateLedgers(t, 2, func(c *cluster, _ uint64) {
			c.putDeadRecord("10.0.1.20")
			n := c.launch(1, 0, smallPools)[0]
			if o := n.Apply(c.t.Context(), Kill{Point: point}); !o.Killed {
				return
			}
			for _, p := range c.Cloud.Parameters() {
				if strings.Contains(p.Value, n.InstanceID) {
					took++
				}
			}
			c.mustRelease(n)
		})
	}
	if took == 0 {
		t.Error("no run was killed after it had written its record")
	}
}

// TestReleaseIsResetAndReadsAreLate resets the connection of a release's DeleteParameter before it
// takes effect. The read that follows may be older than the record and show no record, or the
// former owner's. Neither means that the record is gone. When the node then uses another address,
// no record may name the node at the first address.
func TestReleaseIsResetAndReadsAreLate(t *testing.T) {
	t.Parallel()
	for _, buried := range []bool{false, true} {
		for _, resets := range []int{1, 2} {
			inLateLedgers(t, 60, func(c *cluster, _ uint64) {
				first := addrs("10.0.1.20")[0]
				if buried {
					c.putDeadRecord(first.String())
				}
				n := c.launch(1, 0, agent.Pools{Master: addrs(first.String())})[0]
				c.mustAll([]*Node{n})
				c.resetDeletions(n, resets)
				c.mustRelease(n)
				n.Config.Pools = agent.Pools{Master: addrs("10.0.1.21")}
				c.mustAll([]*Node{n})
				if r, there := c.record(first); there && r.Instance == n.InstanceID {
					c.violate("the record of %s names %s, which has released it", first, n.InstanceID)
				}
			})
		}
	}
}

// TestListChangeIsResetAndReadsAreLate is the same with a changed list: the run gives the first
// address back.
func TestListChangeIsResetAndReadsAreLate(t *testing.T) {
	inLateLedgers(t, 60, func(c *cluster, _ uint64) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		c.mustAll([]*Node{n})
		c.resetDeletions(n, 1)
		n.Config.Pools = agent.Pools{Master: addrs("10.0.1.21")}
		c.mustAll([]*Node{n})
		time.Sleep(time.Minute)
		c.mustAll([]*Node{n})
	})
}

// TestRefusalIsResetAndReadsAreLate lets a stranger take the node's first choice just before EC2 is
// asked for it, and resets the node's first DeleteParameter, if there is one. No record may name
// the node at the address that EC2 refused.
func TestRefusalIsResetAndReadsAreLate(t *testing.T) {
	inLateLedgers(t, 100, func(c *cluster, _ uint64) {
		pool := agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")}
		n, taken := c.launch(1, 0, pool)[0], false
		c.Cloud.Fault(both(reset(n, 1), func(x cloud.Call) cloud.FaultAction {
			if x.Caller == n.InstanceID && x.Action == "AssignPrivateIpAddresses" && !taken {
				taken = true
				if _, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet, PrimaryIP: pool.Master[0]}); err != nil {
					c.t.Error(err)
				}
			}
			return cloud.FaultAction{}
		}))
		c.mustAll([]*Node{n})
		time.Sleep(time.Minute)
		c.mustAll([]*Node{n})
		if n.Static() != pool.Master[1] {
			c.t.Errorf("the node uses %s", n.Static())
		}
	})
}

// reset returns a fault hook that resets a node's first deletions before they take effect.
func reset(n *Node, times int) func(cloud.Call) cloud.FaultAction {
	return func(x cloud.Call) cloud.FaultAction {
		if x.Caller != n.InstanceID || x.Action != "DeleteParameter" || times == 0 {
			return cloud.FaultAction{}
		}
		times--
		return cloud.FaultAction{Kind: cloud.FaultReset}
	}
}

func (c *cluster) resetDeletions(n *Node, times int) { c.Cloud.Fault(reset(n, times)) }

// both returns a fault hook that uses b where a has no fault.
func both(a, b func(cloud.Call) cloud.FaultAction) func(cloud.Call) cloud.FaultAction {
	return func(x cloud.Call) cloud.FaultAction {
		if f := a(x); f.Kind != cloud.FaultNone {
			return f
		}
		return b(x)
	}
}
