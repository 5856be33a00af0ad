package simulation

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

func reviewLatency(*rand.Rand, cloud.Call) time.Duration { return 30 * time.Millisecond }

// R1: the address is moved away a moment before a rerun. The first look of the run is late and shows it still; the next ones do not. The node then
// waits, with the address of somebody else in its kernel.
func TestReviewMovedWhileLooksAreLate(t *testing.T) {
	bad, waited := 0, 0
	for s := uint64(1); s <= 40; s++ {
		o := cloud.Options{Seed: s, Latency: reviewLatency, StaleEC2: cloud.Staleness{Probability: 0.5, MaxAge: 5 * time.Second}}
		inBubble(t, o, func(t *testing.T, c *cluster) {
			n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
			c.mustAll([]*Node{n})
			time.Sleep(time.Minute)
			stranger, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			c.Step = nil
			x := n.Static()
			if err := c.Take(t.Context(), stranger, x); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
			began := time.Now()
			var last time.Duration
			done := make(chan struct{})
			go func() {
				for {
					select {
					case <-done:
						return
					case <-time.After(5 * time.Second):
						if n.Static() == x {
							last = time.Since(began)
						}
					}
				}
			}()
			err = n.Apply(t.Context(), Kill{}).Err
			close(done)
			if err != nil {
				waited++
				if last > time.Minute {
					bad++
					t.Logf("seed %d: the kernel used %s for %s of a run that ended after %s with code %d", s, x, last, time.Since(began), exitCode(err))
				}
			}
			n.Kernel.Reboot(n.primaries()...)
		})
	}
	if bad > 0 {
		t.Errorf("%d of 40 (%d waited)", bad, waited)
	}
}

// R2: the answer to a create is lost, and the read that is to tell whose the record is shows the owner before.
func TestReviewCollidedWithItself(t *testing.T) {
	bad := 0
	for s := uint64(1); s <= 60; s++ {
		o := cloud.Options{Seed: s, Latency: reviewLatency, StaleSSM: cloud.Staleness{Probability: 0.5, MaxAge: 3 * time.Second}}
		inBubble(t, o, func(t *testing.T, c *cluster) {
			n1 := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
			c.mustAll([]*Node{n1})
			n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")})[0]
			time.Sleep(time.Minute)
			if o := n1.Release(t.Context(), Kill{}); o.Err != nil {
				t.Fatal(o.Err)
			}
			lost := false
			c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
				if x.Action == "PutParameter" && x.Caller == n.InstanceID && !lost {
					lost = true
					return cloud.FaultAction{Kind: cloud.FaultLose}
				}
				return cloud.FaultAction{}
			})
			c.mustAll([]*Node{n})
			c.Cloud.Fault(nil)
			time.Sleep(time.Minute)
			c.mustAll([]*Node{n}) // a clean run does not see it either
			mine := 0
			for _, p := range c.Cloud.Parameters() {
				if strings.Contains(p.Value, n.InstanceID) {
					mine++
				}
			}
			if mine != 1 {
				bad++
				t.Logf("seed %d: %d records name %s, which uses %s: %v", s, mine, n.InstanceID, n.Static(), c.Cloud.Parameters())
			}
		})
	}
	if bad > 0 {
		t.Errorf("%d of 60", bad)
	}
}

// R3: release and apply, one right after the other.
func TestReviewReleaseThenApply(t *testing.T) {
	bad := 0
	for s := uint64(1); s <= 60; s++ {
		o := cloud.Options{Seed: s, Latency: reviewLatency, StaleSSM: cloud.Staleness{Probability: 0.5, MaxAge: 3 * time.Second}}
		inBubble(t, o, func(t *testing.T, c *cluster) {
			n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
			c.mustAll([]*Node{n})
			time.Sleep(time.Minute)
			if o := n.Release(t.Context(), Kill{}); o.Err != nil {
				t.Fatal(o.Err)
			}
			c.mustAll([]*Node{n})
			time.Sleep(time.Minute)
			if len(c.Cloud.Parameters()) != 1 {
				bad++
				t.Logf("seed %d: the node uses %s, records %v", s, n.Static(), c.Cloud.Parameters())
			}
		})
	}
	if bad > 0 {
		t.Errorf("%d of 60", bad)
	}
}

// R4: a node takes a dead owner's address over and releases it at once.
func TestReviewTakeOverThenRelease(t *testing.T) {
	for _, killed := range []bool{false, true} {
		bad, took := 0, 0
		for s := uint64(1); s <= 60; s++ {
			o := cloud.Options{Seed: s, Latency: reviewLatency, StaleSSM: cloud.Staleness{Probability: 0.5, MaxAge: 3 * time.Second}}
			inBubble(t, o, func(t *testing.T, c *cluster) {
				a := netip.MustParseAddr("10.0.1.20")
				if _, _, err := c.Ledger(testPrefix, c.subnet).Create(t.Context(), a, ssmcoord.Record{Instance: "i-0dead", ENI: "eni-0dead", Time: time.Now()}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * ssmcoord.UnseenGrace)
				n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
				k := Kill{}
				if killed { // after the record is written
					k.Point = 40
				}
				n.Apply(t.Context(), k)
				for _, p := range c.Cloud.Parameters() {
					if strings.Contains(p.Value, n.InstanceID) {
						took++
					}
				}
				if o := n.Release(t.Context(), Kill{}); o.Err != nil {
					t.Fatal(o.Err)
				}
				time.Sleep(time.Minute)
				if o := n.Release(t.Context(), Kill{}); o.Err != nil {
					t.Fatal(o.Err)
				}
				for _, p := range c.Cloud.Parameters() {
					if strings.Contains(p.Value, n.InstanceID) {
						bad++
						t.Logf("killed %t, seed %d: after a release, and another: %v", killed, s, p)
					}
				}
			})
		}
		t.Logf("killed %t: %d of %d", killed, bad, took)
		if bad > 0 {
			t.Errorf("killed %t: %d of %d", killed, bad, took)
		}
	}
}

// R5: a run is killed in Settle, where it discards the address of the former list; then the node boots, and IMDS is silent.
func TestReviewKilledWhileSettling(t *testing.T) {
	for p := 1; p < 120; p++ {
		over := false
		inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
			n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
			c.mustAll([]*Node{n})
			time.Sleep(time.Minute)
			n.Config.Pools.Master = addrs("10.0.1.21")
			o := n.Apply(t.Context(), Kill{Point: p})
			if !o.Killed {
				over = true
				return
			}
			want := n.Static()
			s, _, err := agent.LoadState(n.root+"/"+agent.DefaultStateDir, n.InstanceID)
			if err != nil {
				t.Fatal(err)
			}
			c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
				if x.Service == "imds" {
					return cloud.FaultAction{Kind: cloud.FaultReset}
				}
				return cloud.FaultAction{}
			})
			n.Kernel.Reboot(n.primaries()...)
			r := n.run(t.Context(), Kill{}, agent.Restore)
			if want.IsValid() && !n.Static().IsValid() {
				t.Errorf("point %d, phase %s, static %s: was in use before the boot: %s; restore: %v %q", p, s.Phase, s.Static, want, r.Err, r.Report.LeftAlone)
			}
		})
		if over {
			return
		}
	}
}

// R6: ledger gc is throttled for a while, and a node takes the stale address over meanwhile.
func TestReviewThrottledGC(t *testing.T) {
	inBubble(t, cloud.Options{Latency: reviewLatency}, func(t *testing.T, c *cluster) {
		a := netip.MustParseAddr("10.0.1.20")
		if _, _, err := c.Ledger(testPrefix, c.subnet).Create(t.Context(), a, ssmcoord.Record{Instance: "i-0dead", ENI: "eni-0dead", Time: time.Now()}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * ssmcoord.UnseenGrace)
		bastion, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet, Name: "bastion"})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
			if x.Action == "DeleteParameter" && x.Caller == bastion.InstanceID && time.Since(began) < 90*time.Second {
				return cloud.FaultAction{Kind: cloud.FaultFail, Code: "ThrottlingException", Message: "Rate exceeded", Status: 400}
			}
			return cloud.FaultAction{}
		})
		done := make(chan error, 1)
		go func() {
			cfg := agent.DefaultConfig()
			cfg.Yes = true
			env := agent.Environment{HTTP: c.Transport(bastion.InstanceID), Rand: rand.New(rand.NewPCG(1, 2)).Float64, LookupEnv: func(string) (string, bool) { return "", false }}
			_, err := agent.InspectLedger(t.Context(), agent.LedgerGC, cfg, env)
			done <- err
		}()
		time.Sleep(10 * time.Second)
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		c.mustAll([]*Node{n})
		if err := <-done; err != nil {
			t.Error(err)
		}
		c.CheckTruth(testPrefix, nil)
	})
}

// R7: somebody unassigns an address between EC2's yes and its appearance. Nobody has it then.
func TestReviewUnassignedBeforeItWasShown(t *testing.T) {
	inBubble(t, cloud.Options{RemapDelay: cloud.Exactly(2 * time.Second)}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")})[0]
		stranger, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet})
		if err != nil {
			t.Fatal(err)
		}
		taken := false
		c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
			if taken || x.Action != "AssignPrivateIpAddresses" || x.Caller != n.InstanceID {
				return cloud.FaultAction{}
			}
			taken = true
			return cloud.FaultAction{Then: func() {
				if err := c.Take(t.Context(), stranger, netip.MustParseAddr("10.0.1.20")); err != nil {
					t.Error(err)
				}
				time.AfterFunc(10*time.Second, func() { c.Cloud.TerminateNow(stranger.InstanceID) })
			}}
		})
		began := time.Now()
		err = n.Apply(t.Context(), Kill{}).Err
		if err != nil || time.Since(began) > 2*time.Minute {
			t.Errorf("after %s: code %d, %v, remedy %s; %v", time.Since(began), exitCode(err), err, remedy(err), c.Cloud.Parameters())
		}
	})
}

// R8: an address comes free right before the search ends, and another node is faster.
func TestReviewLostAtTheEnd(t *testing.T) {
	bad := map[string]int{}
	for ms := 0; ms < 30000; ms += 500 {
		inBubble(t, cloud.Options{Latency: reviewLatency}, func(t *testing.T, c *cluster) {
			pool := agent.Pools{Master: addrs("10.0.1.20")}
			holder := c.launch(1, 0, pool)[0]
			c.mustAll([]*Node{holder})
			n := c.launch(1, 0, pool)[0]
			stranger, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet})
			if err != nil {
				t.Fatal(err)
			}
			c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
				if x.Action == "PutParameter" && x.Caller == n.InstanceID {
					return cloud.FaultAction{Then: func() {
						if err := c.Take(t.Context(), stranger, pool.Master[0]); err != nil {
							t.Error(err)
						}
					}}
				}
				return cloud.FaultAction{}
			})
			began := time.Now()
			time.AfterFunc(agent.DefaultTimeout-45*time.Second+time.Duration(ms)*time.Millisecond, func() { holder.Release(t.Context(), Kill{}) })
			err = n.Apply(t.Context(), Kill{}).Err
			if exitCode(err) != agent.ExitNoAddress {
				bad[fmt.Sprintf("after %s: code %d: %.300v; %s", time.Since(began).Round(time.Second), exitCode(err), err, remedy(err))]++
			}
		})
	}
	for k, v := range bad {
		t.Errorf("%d times: %s", v, k)
	}
}
