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

// inLateLedgers runs a story in clouds of which half the reads of Parameter Store are up to three seconds old. At its end the ledger must be right.
func inLateLedgers(t *testing.T, seeds uint64, story func(c *cluster, seed uint64)) {
	for s := uint64(1); s <= seeds; s++ {
		o := cloud.Options{Seed: s, Latency: promptly, StaleSSM: cloud.Staleness{Probability: 0.5, MaxAge: 3 * time.Second}}
		inBubble(t, o, func(t *testing.T, c *cluster) {
			story(c, s)
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

// bury leaves the claim of an instance that is long gone.
func (c *cluster) bury(address string) {
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

// A read that shows the record which the node has just deleted does not keep it from writing a new one.
func TestReleaseThenApply(t *testing.T) {
	inLateLedgers(t, 60, func(c *cluster, _ uint64) {
		n := c.launch(1, 0, smallPools)[0]
		c.mustAll([]*Node{n})
		time.Sleep(time.Minute)
		c.mustRelease(n)
		c.mustAll([]*Node{n})
	})
}

// The same where --prefix is changed, and changed back.
func TestPrefixChangedAndChangedBack(t *testing.T) {
	inLateLedgers(t, 40, func(c *cluster, _ uint64) { prefixThereAndBack(c, 0) })
}

// The same where the run that changes it back is killed.
func TestPrefixChangedBackIsKilled(t *testing.T) {
	for point := 10; point < 60 && !t.Failed(); point += 3 {
		inLateLedgers(t, 2, func(c *cluster, _ uint64) { prefixThereAndBack(c, point) })
	}
}

// prefixThereAndBack kills the first run with the former prefix at a point, unless that is 0.
func prefixThereAndBack(c *cluster, point int) {
	n := c.launch(1, 0, smallPools)[0]
	c.mustAll([]*Node{n})
	time.Sleep(time.Minute)
	n.Config.Prefix = "/elsewhere"
	c.mustAll([]*Node{n})
	n.Config.Prefix = testPrefix
	if point > 0 {
		n.Apply(c.t.Context(), Kill{Point: point})
	}
	c.mustAll([]*Node{n})
	time.Sleep(time.Minute)
	if left := c.Cloud.Parameters(); len(left) != 1 {
		c.t.Errorf("killed at %d: the records are %v", point, left)
	}
}

// The answer to a create is lost, and the read that is to tell whose the record is shows the owner before.
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

// A node takes an address over and releases it while reads still show its former owner.
func TestTakeOverThenRelease(t *testing.T) {
	inLateLedgers(t, 30, func(c *cluster, _ uint64) {
		c.bury("10.0.1.20")
		n := c.launch(1, 0, smallPools)[0]
		c.mustAll([]*Node{n})
		c.mustRelease(n)
	})
}

// The same where the run is killed: no release leaves a claim.
func TestTakeOverIsKilledThenRelease(t *testing.T) {
	took := 0
	for point := 18; point < 50 && !t.Failed(); point++ {
		inLateLedgers(t, 2, func(c *cluster, _ uint64) {
			c.bury("10.0.1.20")
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
