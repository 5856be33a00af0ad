package simulation

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// TestBootAfterAListChangeIsKilled kills a run with another list and reboots the node while IMDS
// does not answer. The address in use before must be in use again.
func TestBootAfterAListChangeIsKilled(t *testing.T) {
	killed := true
	for point := 1; killed; point++ {
		inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
			n := c.launch(1, 0, smallPools)[0]
			c.mustAll([]*Node{n})
			time.Sleep(time.Minute)
			n.Config.Pools = agent.Pools{Master: addrs("10.0.1.21")}
			if killed = n.Apply(t.Context(), Kill{Point: point}).Killed; !killed {
				return
			}
			used := n.Static()
			c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
				if x.Service == "imds" {
					return cloud.FaultAction{Kind: cloud.FaultReset}
				}
				return cloud.FaultAction{}
			})
			n.Kernel.Reboot(n.primaries()...)
			o := n.run(t.Context(), Kill{}, agent.Restore)
			if used.IsValid() && !n.Static().IsValid() {
				t.Errorf("point %d: %s was in use before the boot; restore: %v %q", point, used, o.Err, o.Report.LeftAlone)
			}
		})
	}
}

// TestWithdrawnByAClockThatWasAhead has an address that was withdrawn while the clock was ahead.
// After the clock was corrected, the node must trust IMDS soon, and not only when the recorded time
// has come.
func TestWithdrawnByAClockThatWasAhead(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, smallPools)[0]
		c.mustAll([]*Node{n})
		dir := filepath.Join(n.root, agent.DefaultStateDir)
		s, _, err := state.Load(dir, n.InstanceID)
		if err != nil {
			t.Fatal(err)
		}
		s.Phase, s.Written = agent.PhaseWithdrawn, time.Now().Add(24*time.Hour)
		if err := state.Save(dir, s); err != nil {
			t.Fatal(err)
		}
		n.Kernel.Reboot(n.primaries()...)
		for _, code := range []agent.ExitCode{agent.ExitWithdrawn, agent.ExitOK} {
			o := n.run(t.Context(), Kill{}, agent.Restore)
			if exitCode(o.Err) != code || n.Static().IsValid() != (code == agent.ExitOK) {
				t.Errorf("uses %v: %v", n.Static(), o.Err)
			}
			time.Sleep(3 * time.Minute)
		}
	})
}
