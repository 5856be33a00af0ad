package simulation

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// stranger is an instance outside the ledger, which somebody gives a node's address.
func (c *cluster) stranger() *cloud.Node {
	c.t.Helper()
	s, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// moved gives the address in use by a node to a stranger. From here on it is in use by both, which no check after each step may call a violation.
func (c *cluster) moved(n *Node) {
	c.t.Helper()
	c.Step = nil
	if err := c.Take(c.t.Context(), c.stranger(), n.Static()); err != nil {
		c.t.Fatal(err)
	}
}

// outOfUse waits for the node to use no address any more.
func (c *cluster) outOfUse(n *Node, within time.Duration, meanwhile func()) {
	c.t.Helper()
	began := time.Now()
	for n.Static().IsValid() && time.Since(began) < within {
		time.Sleep(5 * time.Second)
		meanwhile()
	}
	if n.Static().IsValid() {
		c.t.Errorf("%s is in use for %s", n.Static(), time.Since(began).Round(time.Second))
		n.Kernel.Reboot(n.primaries()...)
	}
}

// The address is moved away a moment before a run, whose first look is late and shows it still. A run that then waits for another address does not keep
// somebody else's in use meanwhile. (Where all looks of a run are late it keeps the address, and restore finds that it is gone.)
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
				c.outOfUse(n, 0, nil)
			}
			n.Kernel.Reboot(n.primaries()...)
			<-done
		})
	}
	if waited == 0 {
		t.Error("no run waited")
	}
}

// The list is changed, and the run waits for the address's holder; meanwhile the node's own old address is moved away.
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
		c.outOfUse(n, time.Minute, func() {})
		wait()
	})
}

// A release is killed, and a run with another list fails after it; then the address is moved away. What the release had left in the kernel goes.
func TestMovedAfterAReleaseIsKilled(t *testing.T) {
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
				c.outOfUse(n, 10*time.Minute, func() {
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

// An address comes free right before the search ends, and somebody else is faster: the error still says who holds which address.
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
