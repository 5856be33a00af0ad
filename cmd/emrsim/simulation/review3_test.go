package simulation

import (
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// R12: n created the claim, EC2 gave the address to m. n's deletion of its claim is throttled until m has made the record its own; then it goes
// through. n gets no address and never comes to Settle.
func TestReviewThrottledGiveUp(t *testing.T) {
	inBubble(t, cloud.Options{Latency: reviewLatency}, func(t *testing.T, c *cluster) {
		pool := agent.Pools{Master: addrs("10.0.1.20")}
		m, n := c.launch(1, 0, pool)[0], c.launch(1, 0, pool)[0]
		var wait func()
		began := time.Now()
		c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
			switch {
			case x.Action == "PutParameter" && x.Caller == n.InstanceID && wait == nil:
				return cloud.FaultAction{Then: func() {
					if err := c.Take(t.Context(), m.Node, pool.Master[0]); err != nil {
						t.Error(err)
					}
					wait = beside(c, m)
				}}
			case x.Action == "DeleteParameter" && x.Caller == n.InstanceID && time.Since(began) < time.Minute:
				return cloud.FaultAction{Kind: cloud.FaultFail, Code: "ThrottlingException", Message: "Rate exceeded", Status: 400}
			}
			return cloud.FaultAction{}
		})
		err := n.Apply(t.Context(), Kill{}).Err
		if exitCode(err) != agent.ExitNoAddress {
			t.Error(err)
		}
		wait()
		time.Sleep(time.Minute)
		c.CheckTruth(testPrefix, nil)
	})
}

// R4b: the run that takes over is killed at every point, and the shutdown action releases at once. Every release after a kill must leave no claim.
func TestReviewTakeOverKilledThenReleased(t *testing.T) {
	bad, took := 0, 0
	for p := 18; p < 50; p++ {
		for s := uint64(1); s <= 4; s++ {
			o := cloud.Options{Seed: s, Latency: reviewLatency, StaleSSM: cloud.Staleness{Probability: 0.5, MaxAge: 3 * time.Second}}
			inBubble(t, o, func(t *testing.T, c *cluster) {
				a := addrs("10.0.1.20")
				if _, _, err := c.Ledger(testPrefix, c.subnet).Create(t.Context(), a[0], ssmcoord.Record{Instance: "i-0dead", ENI: "eni-0dead", Time: time.Now()}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * ssmcoord.UnseenGrace)
				n := c.launch(1, 0, agent.Pools{Master: a})[0]
				if o := n.Apply(t.Context(), Kill{Point: p}); !o.Killed {
					return
				}
				for _, p := range c.Cloud.Parameters() {
					if strings.Contains(p.Value, n.InstanceID) {
						took++
					}
				}
				if o := n.Release(t.Context(), Kill{}); o.Err != nil {
					t.Error(o.Err)
				}
				time.Sleep(time.Minute)
				for _, q := range c.Cloud.Parameters() {
					if strings.Contains(q.Value, n.InstanceID) {
						bad++
					}
				}
			})
		}
	}
	t.Logf("%d leaks of %d runs killed after their record was written", bad, took)
	if bad > 0 {
		t.Fail()
	}
}

// R14: --prefix is changed and changed back at once.
func TestReviewPrefixThereAndBack(t *testing.T) {
	bad := 0
	for s := uint64(1); s <= 40; s++ {
		o := cloud.Options{Seed: s, Latency: reviewLatency, StaleSSM: cloud.Staleness{Probability: 0.5, MaxAge: 3 * time.Second}}
		inBubble(t, o, func(t *testing.T, c *cluster) {
			n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
			c.mustAll([]*Node{n})
			time.Sleep(time.Minute)
			n.Config.Prefix = "/elsewhere"
			c.mustAll([]*Node{n})
			n.Config.Prefix = testPrefix
			c.mustAll([]*Node{n})
			time.Sleep(time.Minute)
			if got := c.Cloud.Parameters(); len(got) != 1 {
				bad++
			}
		})
	}
	if bad > 0 {
		t.Errorf("%d of 40 have no record, or two", bad)
	}
}

// R15: the list is changed and the run waits for a living holder; the node's own old address is moved away meanwhile. How long is it in use?
func TestReviewOldAddressMovedWhileWaiting(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		holder := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.21")})[0]
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		c.mustAll([]*Node{holder, n})
		time.Sleep(time.Minute)
		stranger, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet})
		if err != nil {
			t.Fatal(err)
		}
		c.Step = nil
		n.Config.Timeout = 30 * time.Minute
		n.Config.Pools.Master = addrs("10.0.1.21")
		wait := beside(c, n)
		time.Sleep(time.Minute)
		if err := c.Take(t.Context(), stranger, n.Static()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range 25 {
			time.Sleep(time.Minute)
			r := n.run(t.Context(), Kill{}, agent.Restore)
			if !n.Static().IsValid() {
				t.Logf("out of use after %s: %v", time.Since(began), r.Err)
				break
			}
		}
		if n.Static().IsValid() {
			t.Errorf("in use for %s, with a restore every minute", time.Since(began))
		}
		n.Kernel.Reboot(n.primaries()...)
		holder.Kernel.Reboot(holder.primaries()...)
		c.Cloud.TerminateNow(holder.InstanceID)
		_ = wait
		c.Step = nil
		<-time.After(10 * time.Minute)
	})
}
