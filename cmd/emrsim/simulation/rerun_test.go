package simulation

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// TestRelease checks that a release gives everything back, and that a second release does nothing.
func TestRelease(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		empty := n.Kernel.Rules()
		c.mustAll([]*Node{n})
		out := n.Release(t.Context(), Kill{})
		if out.Err != nil || n.Static().IsValid() || len(c.Cloud.Parameters()) != 0 || n.Kernel.Rules() != empty {
			t.Errorf("error %v; address in use %s; records %v; rules:\n%s", out.Err, n.Static(), c.Cloud.Parameters(), n.Kernel.Rules())
		}
		if h := c.Cloud.Holders(c.subnet, netip.MustParseAddr("10.0.1.20")); len(h) != 0 {
			t.Errorf("the address is still on %v", h)
		}
		if out := n.Release(t.Context(), Kill{}); out.Err != nil || len(out.Report.Changes) != 0 {
			t.Errorf("second release: error %v, changes %q", out.Err, out.Report.Changes)
		}
		c.mustAll([]*Node{n}) // the node can get it again
		c.CheckTruth(testPrefix, nil)
	})
}

// TestLostStateFile has a node without its state file. A run must find its address on its
// interface, and a release must find it in the ledger.
func TestLostStateFile(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")})[0]
		c.mustAll([]*Node{n})
		state := filepath.Join(n.root, agent.DefaultStateDir, "state.json")
		if err := os.Remove(state); err != nil {
			t.Fatal(err)
		}
		had, calls := n.Static(), c.Cloud.Counts()
		c.mustAll([]*Node{n})
		now := c.Cloud.Counts()
		if assigns := "ec2:AssignPrivateIpAddresses"; n.Static() != had || now[assigns].Calls-calls[assigns].Calls > 1 {
			t.Errorf("the node used %s and uses %s; it asked EC2 %+v, before %+v", had, n.Static(), now[assigns], calls[assigns])
		}
		c.CheckTruth(testPrefix, nil)
		if err := os.Remove(state); err != nil {
			t.Fatal(err)
		}
		n.Config.Pools = agent.Pools{}
		if out := n.Release(t.Context(), Kill{}); out.Err != nil {
			t.Error(out.Err)
		}
		if len(c.Cloud.Parameters()) != 0 || n.Static().IsValid() {
			t.Errorf("after the release: records %v, address in use %s", c.Cloud.Parameters(), n.Static())
		}
	})
}

// TestInterruptedWhileWaiting checks that a signal ends a run at once, wherever the run waits.
func TestInterruptedWhileWaiting(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		c.mustAll(c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")}))
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		ctx, cancel := context.WithCancelCause(t.Context())
		signal := errors.New("interrupted by the test")
		time.AfterFunc(time.Minute, func() { cancel(signal) })
		began := time.Now()
		err := n.Apply(ctx, Kill{}).Err
		if err == nil || exitCode(err) == agent.ExitNoAddress || time.Since(began) != time.Minute {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

// TestMovedAddressIsWithdrawnWhileWaiting has an address that somebody moved away. The node must
// withdraw it before it waits for another one, even while IMDS still lists it.
func TestMovedAddressIsWithdrawnWhileWaiting(t *testing.T) {
	inBubble(t, cloud.Options{IMDSDelay: cloud.Exactly(30 * time.Second)}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		c.mustAll([]*Node{n})
		time.Sleep(time.Minute)
		stranger, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet})
		if err != nil {
			t.Fatal(err)
		}
		c.Step = nil // CheckSafety would report the move itself
		if err := c.Take(t.Context(), stranger, n.Static()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		time.AfterFunc(20*time.Second, func() {
			if n.Static().IsValid() {
				t.Errorf("20 s into the run the node still uses %s", n.Static())
			}
		})
		if err := n.Apply(t.Context(), Kill{}).Err; exitCode(err) != agent.ExitNoAddress || !strings.Contains(err.Error(), stranger.InstanceID) {
			t.Errorf("code %d, %v", exitCode(err), err)
		}
		// After the stranger's end the next run gets the address back.
		c.Cloud.TerminateNow(stranger.InstanceID)
		c.mustAll([]*Node{n})
		c.CheckTruth(testPrefix, nil)
	})
}

// TestRerunWritesNothing checks that another run does not even write its state file and reads the
// ledger once.
func TestRerunWritesNothing(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		c.mustAll([]*Node{n})
		state := filepath.Join(n.root, agent.DefaultStateDir, "state.json")
		before, err := os.ReadFile(state)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		c.Cloud.ForgetCalls()
		c.mustAll([]*Node{n})
		after, err := os.ReadFile(state)
		if err != nil || string(after) != string(before) {
			t.Errorf("%v; the state file was\n%s\nit is\n%s", err, before, after)
		}
		for action, count := range c.Cloud.Counts() {
			if reads := strings.Contains(action, ":Describe") || strings.Contains(action, ":Get") || strings.HasPrefix(action, "imds:"); !reads {
				t.Errorf("another run called %s", action)
			} else if action == "ssm:GetParameters" && count.Calls != 1 {
				t.Errorf("another run read the ledger %d times", count.Calls)
			}
		}
	})
}

// TestSurplusAddresses has two addresses of the pool on one interface. The node must keep the one
// in use. It must give the other back if a record names this node. Otherwise nothing shows that
// this program assigned it; then the node must leave it alone and report it.
func TestSurplusAddresses(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.21", "10.0.1.20")})[0]
		c.mustAll([]*Node{n})
		static, extra := n.Static(), netip.MustParseAddr("10.0.1.20")
		if static == extra {
			t.Fatalf("the node uses %s", static)
		}
		if err := c.Take(t.Context(), n.Node, extra); err != nil {
			t.Fatal(err)
		}
		out := n.Apply(t.Context(), Kill{})
		if out.Err != nil || len(out.Report.Changes) != 0 || !strings.Contains(strings.Join(out.Report.Warnings, "\n"), extra.String()) {
			t.Errorf("error %v, changes %q, warnings %q", out.Err, out.Report.Changes, out.Report.Warnings)
		}
		if h := c.Cloud.Holders(c.subnet, extra); !slices.Equal(h, []string{n.ENI}) || n.Static() != static {
			t.Errorf("the foreign address %s is on %v, and the node uses %s", extra, h, n.Static())
		}
		record := ssmcoord.Record{Instance: n.InstanceID, ENI: n.ENI, Cluster: n.ClusterID, Role: n.Role}
		if err := c.PutRecord(t.Context(), c.parameter(extra), record); err != nil {
			t.Fatal(err)
		}
		c.mustAll([]*Node{n})
		if h := c.Cloud.Holders(c.subnet, extra); len(h) != 0 || n.Static() != static {
			t.Errorf("%s is still on %v, and the node uses %s", extra, h, n.Static())
		}
		c.CheckTruth(testPrefix, nil)
	})
}

// TestAnotherPrefix checks that a node with an address in one ledger refuses to use another ledger
// before it has released the address.
func TestAnotherPrefix(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		c.mustAll([]*Node{n})
		n.Config.Prefix = "/elsewhere"
		if o := n.Apply(t.Context(), Kill{}); exitCode(o.Err) != agent.ExitUsage || !strings.Contains(remedy(o.Err), "release") {
			t.Errorf("code %d, %v; remedy %s", exitCode(o.Err), o.Err, remedy(o.Err))
		}
		c.CheckTruth(testPrefix, nil)
		c.mustRelease(n)
		c.mustAll([]*Node{n})
		c.CheckTruth("/elsewhere", nil)
		if left := c.Cloud.Parameters(); len(left) != 1 {
			t.Errorf("the records are %v", left)
		}
		c.mustRelease(n)
		if left := c.Cloud.Parameters(); len(left) != 0 {
			t.Errorf("a release leaves %v", left)
		}
	})
}
