package simulation

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// stranger starts an instance outside the ledger, which can take a node's address.
func (c *cluster) stranger() *cloud.Node {
	c.t.Helper()
	s, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// moved moves the address in use by a node to a stranger. From then on both use the address. The
// check after each step must not report this.
func (c *cluster) moved(n *Node) {
	c.t.Helper()
	c.Step = nil
	if err := c.Take(c.t.Context(), c.stranger(), n.Static()); err != nil {
		c.t.Fatal(err)
	}
}

// waitWithdrawn waits until the node has withdrawn its address. It fails the test if that takes
// longer than within.
func (c *cluster) waitWithdrawn(n *Node, within time.Duration, meanwhile func()) {
	c.t.Helper()
	began := time.Now()
	for n.Static().IsValid() && time.Since(began) < within {
		time.Sleep(5 * time.Second)
		meanwhile()
	}
	if n.Static().IsValid() {
		c.t.Errorf("%s is still in use after %s", n.Static(), time.Since(began).Round(time.Second))
		n.Kernel.Reboot(n.primaries()...)
	}
}

// TestMovedWhileLooksAreLate moves the address away just before a run whose first look is stale and
// still shows it. If the run then waits for another address, it must withdraw the old one first. If
// all looks of a run are stale, the run keeps the address, and restore notices that it is gone.
func TestMovedWhileLooksAreLate(t *testing.T) {
	waited := 0
	for s := uint64(1); s <= lateSeeds && !t.Failed(); s++ {
		o := cloud.Options{Seed: s, Latency: promptly, StaleEC2: cloud.Staleness{Probability: 0.5, MaxAge: 5 * time.Second}}
		inBubble(t, o, func(t *testing.T, c *cluster) {
			n := c.launch(1, 0, smallPools)[0]
			c.mustAll([]*Node{n})
			time.Sleep(time.Minute)
			c.moved(n)
			n.Config.Timeout = 3 * time.Minute
			done := make(chan error, 1)
			go func() { done <- n.Apply(t.Context(), Kill{}).Err }()
			time.Sleep(90 * time.Second)
			if len(done) == 0 {
				waited++
				c.waitWithdrawn(n, 0, nil)
			}
			n.Kernel.Reboot(n.primaries()...)
			<-done
		})
	}
	if waited == 0 {
		t.Error("no run waited")
	}
}

// TestMovedWhileTheRunWaits changes the list, so that the run waits for an address that another
// node holds. Meanwhile the node's old address is moved away. The node must withdraw it.
func TestMovedWhileTheRunWaits(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		holder := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.21")})[0]
		n := c.launch(1, 0, smallPools)[0]
		c.mustAll([]*Node{holder, n})
		time.Sleep(time.Minute)
		n.Config.Pools = agent.Pools{Master: addrs("10.0.1.21")}
		wait := beside(c, n)
		time.Sleep(time.Minute)
		c.moved(n)
		c.waitWithdrawn(n, time.Minute, func() {})
		wait()
	})
}

// TestMovedAfterAReleaseIsKilled kills a release, optionally lets a run with another list fail, and
// moves the address away. The node must withdraw everything that the release left in the kernel.
func TestMovedAfterAReleaseIsKilled(t *testing.T) {
	t.Parallel()
	for _, failedRun := range []bool{false, true} {
		killed := true
		for point := 1; killed; point++ {
			inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
				holder := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.21")})[0]
				n := c.launch(1, 0, smallPools)[0]
				c.mustAll([]*Node{holder, n})
				time.Sleep(time.Minute)
				if killed = n.Release(t.Context(), Kill{Point: point}).Killed; !killed {
					return
				}
				if failedRun {
					n.Config.Pools = agent.Pools{Master: addrs("10.0.1.21")}
					if err := n.Apply(t.Context(), Kill{}).Err; exitCode(err) != agent.ExitNoAddress {
						t.Error(err)
					}
				}
				if !n.Static().IsValid() {
					return
				}
				c.moved(n)
				c.waitWithdrawn(n, 10*time.Minute, func() {
					time.Sleep(55 * time.Second)
					n.run(t.Context(), Kill{}, agent.Restore)
				})
				if t.Failed() {
					t.Logf("point %d, failed run %t", point, failedRun)
				}
			})
		}
	}
}

// TestLostAtTheEnd frees an address right before the search ends, and somebody else takes it first.
// The error must still say who holds which address.
func TestLostAtTheEnd(t *testing.T) {
	wrong := map[string]int{}
	for early := 15 * time.Second; early < 45*time.Second; early += 3 * time.Second {
		inBubble(t, cloud.Options{Latency: promptly}, func(t *testing.T, c *cluster) {
			pool := agent.Pools{Master: addrs("10.0.1.20")}
			holder := c.launch(1, 0, pool)[0]
			c.mustAll([]*Node{holder})
			n, stranger := c.launch(1, 0, pool)[0], c.stranger()
			c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
				if x.Action == "AssignPrivateIpAddresses" && x.Caller == n.InstanceID && len(c.Cloud.Holders(c.subnet, pool.Master[0])) == 0 {
					if err := c.Take(t.Context(), stranger, pool.Master[0]); err != nil {
						t.Error(err)
					}
				}
				return cloud.FaultAction{}
			})
			var released sync.WaitGroup
			defer released.Wait()
			released.Go(func() {
				time.Sleep(agent.DefaultTimeout - early)
				holder.Release(t.Context(), Kill{})
			})
			if err := n.Apply(t.Context(), Kill{}).Err; exitCode(err) != agent.ExitNoAddress {
				wrong[fmt.Sprintf("code %d: %v", exitCode(err), err)]++
			}
		})
	}
	for text, n := range wrong {
		t.Errorf("%d times %s", n, text)
	}
}
