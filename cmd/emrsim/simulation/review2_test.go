package simulation

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

func TestReviewPhases(t *testing.T) {
	for p := 36; p < 110; p++ {
		inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
			n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
			c.mustAll([]*Node{n})
			time.Sleep(time.Minute)
			n.Config.Pools.Master = addrs("10.0.1.21")
			o := n.Apply(t.Context(), Kill{Point: p})
			s, _, _ := agent.LoadState(n.root+"/"+agent.DefaultStateDir, n.InstanceID)
			t.Log(p, o.Killed, s.Phase, s.Static, s.Former, s.Intents, n.Static(), o.Report.LeftAlone)
		})
	}
}

func TestReviewTraceLost(t *testing.T) {
	inBubble(t, cloud.Options{Latency: reviewLatency}, func(t *testing.T, c *cluster) {
		pool := agent.Pools{Master: addrs("10.0.1.20")}
		holder := c.launch(1, 0, pool)[0]
		c.mustAll([]*Node{holder})
		n := c.launch(1, 0, pool)[0]
		stranger, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		c.Log = zap.NewExample()
		c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
			if x.Caller == n.InstanceID && time.Since(began) > 570*time.Second {
				t.Log(time.Since(began), x.Action)
			}
			if x.Action == "PutParameter" && x.Caller == n.InstanceID {
				return cloud.FaultAction{Then: func() {
					if err := c.Take(t.Context(), stranger, pool.Master[0]); err != nil {
						t.Error(err)
					}
				}}
			}
			return cloud.FaultAction{}
		})
		time.AfterFunc(agent.DefaultTimeout-30*time.Second, func() { holder.Release(t.Context(), Kill{}) })
		err = n.Apply(t.Context(), Kill{}).Err
		t.Log(time.Since(began), err)
	})
}

// R9: the clock was ahead when the address was withdrawn, and has been set right since.
func TestReviewWithdrawnByAClockAhead(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		c.mustAll([]*Node{n})
		dir := n.root + "/" + agent.DefaultStateDir
		s, _, err := agent.LoadState(dir, n.InstanceID)
		if err != nil {
			t.Fatal(err)
		}
		s.Phase, s.Written = agent.PhaseWithdrawn, time.Now().Add(24*time.Hour)
		if err := agent.SaveState(dir, s); err != nil {
			t.Fatal(err)
		}
		n.Kernel.Reboot(n.primaries()...)
		time.Sleep(time.Hour)
		n.run(t.Context(), Kill{}, agent.Restore) // sees that the clock was wrong
		time.Sleep(3 * time.Minute)
		r := n.run(t.Context(), Kill{}, agent.Restore)
		if r.Err != nil || !n.Static().IsValid() {
			t.Errorf("an hour later: %v", r.Err)
		}
	})
}

// R10: a release is killed before it has changed the kernel; a run with another list fails; then the address is moved. Restore has five checks and more.
func TestReviewInterruptedReleaseThenFailedRun(t *testing.T) {
	for p := 1; p < 60; p++ {
		over := false
		inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
			holder := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.21")})[0]
			n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
			c.mustAll([]*Node{holder, n})
			time.Sleep(time.Minute)
			if o := n.Release(t.Context(), Kill{Point: p}); !o.Killed {
				over = true
				return
			}
			n.Config.Pools.Master = addrs("10.0.1.21")
			err := n.Apply(t.Context(), Kill{}).Err
			if exitCode(err) != agent.ExitNoAddress {
				t.Errorf("%v", err)
			}
			if !n.Static().IsValid() {
				return
			}
			s, _, _ := agent.LoadState(n.root+"/"+agent.DefaultStateDir, n.InstanceID)
			stranger, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet})
			if err != nil {
				t.Fatal(err)
			}
			c.Step = nil
			if err := c.Take(t.Context(), stranger, n.Static()); err != nil {
				t.Fatal(err)
			}
			var r Outcome
			for range 20 {
				time.Sleep(time.Minute)
				r = n.run(t.Context(), Kill{}, agent.Restore)
			}
			if n.Static().IsValid() {
				t.Errorf("point %d: 20 minutes and 20 restores after %s went to a stranger the node still uses it; state %s %s; restore: %v %q", p, n.Static(), s.Phase, s.Static, r.Err, r.Report.LeftAlone)
			}
			n.Kernel.Reboot(n.primaries()...)
		})
		if over {
			return
		}
	}
}

// R11: the record of an address that this node lost is missing, and the create in the holder's name is throttled until the holder has released it.
func TestReviewThrottledMend(t *testing.T) {
	inBubble(t, cloud.Options{Latency: reviewLatency}, func(t *testing.T, c *cluster) {
		a := netip.MustParseAddr("10.0.1.20")
		holder := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		c.mustAll([]*Node{holder})
		if _, err := c.Ledger(testPrefix, c.subnet).Delete(t.Context(), a, anyRecord); err != nil {
			t.Fatal(err)
		}
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")})[0]
		puts := 0
		began := time.Now()
		c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
			if x.Caller != n.InstanceID || time.Since(began) > 3*time.Minute {
				return cloud.FaultAction{}
			}
			switch {
			case x.Action == "DescribeNetworkInterfaces" && puts == 0 && strings.Contains(x.Params, a.String()):
				return cloud.FaultAction{}
			case x.Action == "PutParameter" && strings.Contains(x.Params, a.String()):
				puts++
				return cloud.FaultAction{Kind: cloud.FaultFail, Code: "ThrottlingException", Message: "Rate exceeded", Status: 400}
			}
			return cloud.FaultAction{}
		})
		// A killed run that had a in its intents.
		dir := n.root + "/" + agent.DefaultStateDir
		c.mustAll([]*Node{n})
		s, _, err := agent.LoadState(dir, n.InstanceID)
		if err != nil {
			t.Fatal(err)
		}
		s.Intents = addrs(a.String())
		if err := agent.SaveState(dir, s); err != nil {
			t.Fatal(err)
		}
		wait := beside(c, n)
		time.Sleep(time.Minute)
		if o := holder.Release(t.Context(), Kill{}); o.Err != nil {
			t.Error(o.Err)
		}
		wait()
		time.Sleep(time.Minute)
		if puts == 0 {
			t.Error("nothing was mended")
		}
		c.CheckTruth(testPrefix, nil)
		os.Stderr.Sync()
	})
}
