package simulation

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// throttle refuses an action of an instance for a while, and tells how often it did.
func (c *cluster) throttle(action, instance string, while time.Duration) (refused *int) {
	refused = new(int)
	began := time.Now()
	c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
		if x.Action == action && x.Caller == instance && time.Since(began) < while {
			*refused++
			return cloud.FaultAction{Kind: cloud.FaultFail, Code: "ThrottlingException", Message: "Rate exceeded", Status: 400}
		}
		return cloud.FaultAction{}
	})
	return refused
}

// While ledger gc is throttled a node takes the stale address over: its record stays.
func TestLedgerGCIsThrottled(t *testing.T) {
	inBubble(t, cloud.Options{Latency: promptly}, func(t *testing.T, c *cluster) {
		c.bury("10.0.1.20")
		bastion, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet, Name: "bastion"})
		if err != nil {
			t.Fatal(err)
		}
		refused := c.throttle("DeleteParameter", bastion.InstanceID, 90*time.Second)
		done := make(chan error, 1)
		var report agent.LedgerReport
		go func() {
			cfg := agent.DefaultConfig()
			cfg.Yes = true
			env := agent.Environment{HTTP: c.Transport(bastion.InstanceID), Rand: rand.New(rand.NewPCG(1, 2)).Float64, LookupEnv: func(string) (string, bool) { return "", false }}
			var err error
			report, err = agent.InspectLedger(t.Context(), agent.LedgerGC, cfg, env)
			done <- err
		}()
		time.Sleep(10 * time.Second)
		n := c.launch(1, 0, smallPools)[0]
		c.mustAll([]*Node{n})
		if err := <-done; err != nil || report.Changed != 0 || *refused == 0 {
			t.Errorf("%d records changed after %d refusals: %v", report.Changed, *refused, err)
		}
		c.CheckTruth(testPrefix, nil)
	})
}

// n has claimed the address that EC2 gave to m. Its deletion of the claim is throttled until m has made the record its own, which stays.
func TestGiveUpIsThrottled(t *testing.T) {
	inBubble(t, cloud.Options{Latency: promptly}, func(t *testing.T, c *cluster) {
		pool := agent.Pools{Master: addrs("10.0.1.20")}
		m, n := c.launch(1, 0, pool)[0], c.launch(1, 0, pool)[0]
		var wait func()
		c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
			if x.Action != "PutParameter" || x.Caller != n.InstanceID || wait != nil {
				return cloud.FaultAction{}
			}
			return cloud.FaultAction{Then: func() {
				if err := c.Take(t.Context(), m.Node, pool.Master[0]); err != nil {
					t.Error(err)
				}
				wait = beside(c, m)
				c.throttle("DeleteParameter", n.InstanceID, time.Minute)
			}}
		})
		if err := n.Apply(t.Context(), Kill{}).Err; exitCode(err) != agent.ExitNoAddress {
			t.Error(err)
		}
		wait()
		time.Sleep(time.Minute)
		c.CheckTruth(testPrefix, nil)
	})
}

// The record that a node writes for another one, which has its former address, is throttled until that one has released it: it is taken back.
func TestMendingIsThrottled(t *testing.T) {
	inBubble(t, cloud.Options{Latency: promptly}, func(t *testing.T, c *cluster) {
		holder, n := c.unrecorded()
		refused := c.throttle("PutParameter", n.InstanceID, 3*time.Minute)
		wait := beside(c, n)
		time.Sleep(time.Minute)
		c.mustRelease(holder)
		wait()
		time.Sleep(time.Minute)
		if *refused == 0 {
			t.Error("nothing was mended")
		}
		c.CheckTruth(testPrefix, nil)
	})
}

// unrecorded is a node whose address has no record, and another one that would mend that: a killed run of it was about to claim the address.
func (c *cluster) unrecorded() (holder, n *Node) {
	c.t.Helper()
	a := smallPools.Master[0]
	holder = c.launch(1, 0, smallPools)[0]
	c.mustAll([]*Node{holder})
	if err := c.Delete(c.t.Context(), c.parameter(a)); err != nil {
		c.t.Fatal(err)
	}
	n = c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")})[0]
	c.mustAll([]*Node{n})
	dir := filepath.Join(n.root, agent.DefaultStateDir)
	s, _, err := agent.LoadState(dir, n.InstanceID)
	if err != nil {
		c.t.Fatal(err)
	}
	s.Intents = []netip.Addr{a}
	if err := agent.SaveState(dir, s); err != nil {
		c.t.Fatal(err)
	}
	return holder, n
}

// The holder in whose name a node has written a record releases the address, and another node takes it before the writer looks again: its record stays.
func TestMendedAndTakenByAnother(t *testing.T) {
	inBubble(t, cloud.Options{Latency: promptly}, func(t *testing.T, c *cluster) {
		holder, n := c.unrecorded()
		next := c.launch(1, 0, smallPools)[0]
		done := make(chan struct{})
		mended := false
		c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
			if mended || x.Action != "PutParameter" || x.Caller != n.InstanceID {
				return cloud.FaultAction{}
			}
			mended = true
			return cloud.FaultAction{Then: func() {
				go func() {
					defer close(done)
					if err := errors.Join(holder.Release(t.Context(), Kill{}).Err, next.Apply(t.Context(), Kill{}).Err); err != nil {
						t.Error(err)
					}
				}()
			}}
		})
		c.mustAll([]*Node{n})
		<-done
		time.Sleep(time.Minute)
		c.CheckTruth(testPrefix, nil)
	})
}

// A deletion is throttled for a moment, and the look before it is repeated is late: the claim does not stay for that.
func TestDeletionIsThrottledAndTheLookLate(t *testing.T) {
	inLateLedgers(t, 80, func(c *cluster, _ uint64) {
		n, stranger := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")})[0], c.stranger()
		taken := false
		c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
			if taken || x.Action != "PutParameter" || x.Caller != n.InstanceID {
				return cloud.FaultAction{}
			}
			taken = true
			return cloud.FaultAction{Then: func() {
				if err := c.Take(c.t.Context(), stranger, addrs("10.0.1.20")[0]); err != nil {
					c.t.Error(err)
				}
				c.throttle("DeleteParameter", n.InstanceID, 2500*time.Millisecond)
			}}
		})
		c.mustAll([]*Node{n})
	})
}
