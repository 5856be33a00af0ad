package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// lateSeeds is the number of clouds for each test in this file. In these clouds half the describe
// calls are up to five seconds old.
const lateSeeds = 40

// inLateClouds runs a scenario in lateSeeds clouds. It checks safety after each step and at the
// end.
func inLateClouds(t *testing.T, same cloud.Outcome, scenario func(c *cluster, seed uint64)) {
	for s := uint64(1); s <= lateSeeds; s++ {
		o := cloud.Options{
			Seed: s, UniqueTimes: true, AssignSameENI: same, StaleEC2: cloud.Staleness{Probability: 0.5, MaxAge: 5 * time.Second},
			Latency: func(*rand.Rand, cloud.Call) time.Duration { return 30 * time.Millisecond },
		}
		inBubble(t, o, func(t *testing.T, c *cluster) {
			scenario(c, s)
			c.CheckSafety()
			if len(c.violations) > 0 {
				c.violations = append(c.violations, fmt.Sprintf("seed %d", s))
			}
		})
		if t.Failed() {
			return
		}
	}
}

// beside runs another node's agent in the background. The returned function waits for its end.
func beside(c *cluster, n *Node) (wait func()) {
	done := make(chan error, 1)
	go func() { done <- n.Apply(c.t.Context(), Kill{}).Err }()
	return func() {
		// Of two nodes that want the same address, one gets none.
		if err := <-done; err != nil && (exitCode(err) != agent.ExitNoAddress || n.Static().IsValid()) {
			c.t.Errorf("%s: %v", n.InstanceID, err)
		}
	}
}

// TestReleasedAndTakenByAnother checks that a node does not use an address again that it has
// released and that another node has taken, however late EC2's describe calls are.
func TestReleasedAndTakenByAnother(t *testing.T) {
	for _, same := range []cloud.Outcome{cloud.OutcomeSuccess, cloud.OutcomeError} {
		inLateClouds(t, same, func(c *cluster, _ uint64) {
			n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")})[0]
			c.mustAll([]*Node{n})
			m := c.launch(1, 0, agent.Pools{Master: addrs(n.Static().String())})[0]
			time.Sleep(time.Minute)
			if o := n.Release(c.t.Context(), Kill{}); o.Err != nil {
				c.t.Error(o.Err)
			}
			wait := beside(c, m)
			time.Sleep(time.Second)
			c.mustAll([]*Node{n})
			wait()
		})
	}
}

// TestListChangedAndChangedBack changes a list and changes it back while EC2 still shows the former
// address.
func TestListChangedAndChangedBack(t *testing.T) {
	for _, waiting := range []bool{false, true} {
		inLateClouds(t, cloud.OutcomeSuccess, func(c *cluster, _ uint64) {
			n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
			m := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
			c.mustAll([]*Node{n})
			time.Sleep(time.Minute)
			n.Config.Pools.Master = addrs("10.0.1.21")
			c.mustAll([]*Node{n})
			wait := func() {}
			if waiting {
				wait = beside(c, m)
				time.Sleep(1500 * time.Millisecond)
			}
			n.Config.Pools.Master = addrs("10.0.1.20", "10.0.1.21")
			c.mustAll([]*Node{n})
			wait()
			c.CheckSafety()
		})
	}
}

// TestRunAfterAReleaseIsKilled runs the agent twice after a release was killed.
func TestRunAfterAReleaseIsKilled(t *testing.T) {
	for _, releasing := range []bool{false, true} {
		inLateClouds(t, cloud.OutcomeSuccess, func(c *cluster, seed uint64) {
			n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")})[0]
			c.mustAll([]*Node{n})
			time.Sleep(time.Minute)
			k := Kill{}
			if releasing {
				k.Point = 20 + int(seed)%20
			}
			n.Release(c.t.Context(), k)
			n.Apply(c.t.Context(), Kill{Point: 25 + int(seed)%25})
			n.run(c.t.Context(), Kill{}, agent.Restore)
			c.CheckSafety()
			c.mustAll([]*Node{n})
		})
	}
}

// TestDeletionIsRepeated loses the answer of a release's DeleteParameter. A waiting node takes the
// address before the SDK repeats the call. That node's record must stay.
func TestDeletionIsRepeated(t *testing.T) {
	for s := 1; s <= 60; s++ {
		inBubble(t, cloud.Options{Seed: uint64(s), UniqueTimes: true, Latency: func(*rand.Rand, cloud.Call) time.Duration { return 30 * time.Millisecond }}, func(t *testing.T, c *cluster) {
			pool := agent.Pools{Master: addrs("10.0.1.20")}
			n, m := c.launch(1, 0, pool)[0], c.launch(1, 0, pool)[0]
			c.mustAll([]*Node{n})
			lost := 0
			c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
				if x.Action == "DeleteParameter" && x.Caller == n.InstanceID && lost < 2 {
					lost++
					return cloud.FaultAction{Kind: cloud.FaultLose}
				}
				return cloud.FaultAction{}
			})
			wait := beside(c, m)
			time.Sleep(time.Duration(20+s) * time.Second)
			if o := n.Release(t.Context(), Kill{}); o.Err != nil {
				t.Error(o.Err)
			}
			wait()
			if lost == 0 {
				t.Error("no answer was lost")
			}
			c.CheckTruth(testPrefix, nil)
		})
	}
}

// TestRestoreAfterAWithdrawalByEC2 has an address that somebody moved away. apply learns this from
// EC2 and then fails. While IMDS still lists the address, restore must not put it back.
func TestRestoreAfterAWithdrawalByEC2(t *testing.T) {
	inBubble(t, cloud.Options{IMDSDelay: cloud.Exactly(30 * time.Second)}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")})[0]
		c.mustAll([]*Node{n})
		time.Sleep(time.Minute)
		stranger, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet})
		if err != nil {
			t.Fatal(err)
		}
		c.Step = nil // the node cannot know of the move yet
		if err := c.Take(t.Context(), stranger, n.Static()); err != nil {
			t.Fatal(err)
		}
		for _, denied := range []string{"PutParameter", "GetParameters"} { // after and before the intent is saved
			c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
				if x.Action == denied && x.Caller == n.InstanceID {
					return cloud.FaultAction{Kind: cloud.FaultFail, Code: "AccessDeniedException", Status: 400}
				}
				return cloud.FaultAction{}
			})
			if code := exitCode(n.Apply(t.Context(), Kill{}).Err); code != agent.ExitPermission {
				t.Errorf("%s: exit code %d", denied, code)
			}
			n.run(t.Context(), Kill{}, agent.Restore)
			c.CheckSafety()
		}
		c.Cloud.Fault(nil)
		c.mustAll([]*Node{n})
	})
}

// TestExhaustedBehindSlowEndpoints checks that the error lists all addresses of an exhausted pool,
// even if the time runs out during the last look.
func TestExhaustedBehindSlowEndpoints(t *testing.T) {
	t.Parallel()
	for s := 1; s <= lateSeeds; s++ {
		slow := false
		o := cloud.Options{Seed: uint64(s), Latency: func(r *rand.Rand, _ cloud.Call) time.Duration {
			if !slow {
				return 0
			}
			return time.Second + time.Duration(r.ExpFloat64()*float64(time.Second))
		}}
		inBubble(t, o, func(t *testing.T, c *cluster) {
			pool := agent.Pools{Master: addrs("10.0.1.20")}
			holder := c.launch(1, 0, pool)
			c.mustAll(holder)
			slow = true
			err := c.launch(1, 0, pool)[0].Apply(t.Context(), Kill{}).Err
			if exitCode(err) != agent.ExitNoAddress || !strings.Contains(err.Error(), holder[0].InstanceID) {
				t.Errorf("seed %d: %v", s, err)
			}
		})
	}
}

// TestLostStateFileAndAnotherList has a node that lost its state file and gets a new list. Nothing
// of the old address may stay, not even after a release.
func TestLostStateFileAndAnotherList(t *testing.T) {
	for _, release := range []bool{false, true} {
		inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
			n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
			c.mustAll([]*Node{n})
			time.Sleep(time.Minute)
			n.Config.StateDir = "/var/lib/elsewhere"
			n.Config.Pools.Master = addrs("10.0.1.21")
			c.mustAll([]*Node{n})
			c.CheckTruth(testPrefix, nil)
			if used := n.Kernel.Uses(n.primaries()...); !slices.Equal(used, addrs("10.0.1.21")) {
				t.Errorf("addresses in use: %v", used)
			}
			if release {
				if o := n.Release(t.Context(), Kill{}); o.Err != nil || n.Static().IsValid() || len(c.Cloud.Parameters()) > 0 {
					t.Errorf("error %v, address in use %v, records %v", o.Err, n.Static(), c.Cloud.Parameters())
				}
			}
		})
	}
}
