package simulation

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// cluster is a world with a subnet, in which clusters are launched by hand.
type cluster struct {
	*World
	t      *testing.T
	subnet string
}

// inBubble runs a story in virtual time and checks at its end that nothing was violated.
func inBubble(t *testing.T, o cloud.Options, story func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.Seed, o.UniqueTimes = 11, true
		w, err := NewWorld(o)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		c := &cluster{World: w, t: t}
		c.subnet = w.Cloud.CreateSubnet(w.Cloud.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), testSubnet)
		w.Cloud.ReserveCIDR(c.subnet, netip.MustParsePrefix("10.0.1.16/28"), "explicit")
		w.Step = w.CheckSafety
		story(t, c)
		w.CheckSafety()
		for _, v := range w.violations {
			t.Error(v)
		}
	})
}

func (c *cluster) launch(masters, cores int, pools agent.Pools) []*Node {
	c.t.Helper()
	return c.launchIn(c.subnet, masters, cores, pools)
}

func (c *cluster) launchIn(subnet string, masters, cores int, pools agent.Pools) []*Node {
	c.t.Helper()
	cl, err := c.Cloud.LaunchCluster(cloud.ClusterSpec{Subnet: subnet, Masters: masters, Cores: cores, NameTag: "x"})
	if err != nil {
		c.t.Fatal(err)
	}
	cfg := agent.DefaultConfig()
	cfg.Pools = pools
	var nodes []*Node
	for _, cn := range cl.Nodes {
		nodes = append(nodes, c.newNode(cn, cfg, cloud.FilesFull))
	}
	return nodes
}

// all runs the agent on all nodes at once, and gives the errors in the nodes' order.
func (c *cluster) all(nodes []*Node) []error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * time.Microsecond)
			errs[i] = n.Apply(c.t.Context(), Kill{}).Err
		})
	}
	wg.Wait()
	return errs
}

func (c *cluster) mustAll(nodes []*Node) {
	c.t.Helper()
	if err := errors.Join(c.all(nodes)...); err != nil {
		c.t.Fatal(err)
	}
}

// retire ends a node's instance at once.
func (c *cluster) retire(nodes ...*Node) {
	for _, n := range nodes {
		n.gone = true
		c.Cloud.TerminateNow(n.InstanceID)
	}
}

// listen collects the agents' log lines.
func (c *cluster) listen() *observer.ObservedLogs {
	core, logs := observer.New(zapcore.InfoLevel)
	c.Log = zap.New(core)
	return logs
}

func exitCode(err error) agent.ExitCode { return agent.CodeOf(err) }

func remedy(err error) string {
	if e := (*agent.Error)(nil); errors.As(err, &e) {
		return e.Remedy
	}
	return ""
}

var smallPools = agent.Pools{Master: addrs("10.0.1.20"), Core: addrs("10.0.1.21", "10.0.1.22")}

func TestClaimIsWrittenOnceForEachNode(t *testing.T) {
	inBubble(t, cloud.Options{Quotas: cloud.DefaultQuotas()}, func(t *testing.T, c *cluster) {
		nodes := c.launch(1, 2, smallPools)
		c.mustAll(nodes)
		c.CheckTruth(testPrefix, nil)
		if puts := c.Cloud.Counts()["ssm:PutParameter"]; puts.Calls != 3 {
			t.Errorf("%d PutParameter calls for 3 nodes", puts.Calls)
		}
		if nodes[0].Static() != smallPools.Master[0] {
			t.Errorf("the master has %s", nodes[0].Static())
		}
	})
}

// A cluster whose list another, living cluster uses waits, says for whom, and fails with a list of all holders.
func TestWaitingForTheLiving(t *testing.T) {
	inBubble(t, cloud.Options{Quotas: cloud.DefaultQuotas()}, func(t *testing.T, c *cluster) {
		logs := c.listen()
		old := c.launch(1, 2, smallPools)
		c.mustAll(old)
		second := c.launch(1, 2, smallPools)
		began := time.Now()
		errs := c.all(second)
		if d := time.Since(began); d > agent.DefaultTimeout {
			t.Errorf("it took %s", d)
		}
		for i, err := range errs {
			if exitCode(err) != agent.ExitNoAddress {
				t.Fatalf("%s: code %d, %v", second[i].InstanceID, exitCode(err), err)
			}
		}
		text := errs[1].Error()
		for _, n := range old[1:] {
			for _, want := range []string{n.Static().String(), n.InstanceID, n.ENI, n.ClusterID, "for 9m"} {
				if !strings.Contains(text, want) {
					t.Errorf("the error does not name %s:\n%s", want, text)
				}
			}
		}
		waiting := logs.FilterMessageSnippet("waiting: all 2 addresses for role CORE are taken").Len()
		if waiting < 2 || waiting > 30 {
			t.Errorf("%d progress lines of two nodes in ten minutes", waiting)
		}
		if puts := c.Cloud.Counts()["ssm:PutParameter"].Calls; puts != 3 {
			t.Errorf("nodes that wait wrote %d records", puts-3)
		}
		if c.retire(second...); len(c.living()) != 3 {
			t.Fatal("the story is over too early")
		}
		c.CheckTruth(testPrefix, nil)
	})
}

// A clone launched while the old cluster is shutting down gets its addresses as soon as they are free.
func TestCloneOfAClusterThatShutsDown(t *testing.T) {
	inBubble(t, cloud.Options{Quotas: cloud.DefaultQuotas(), ShutdownTime: cloud.Exactly(2 * time.Minute)}, func(t *testing.T, c *cluster) {
		old := c.launch(1, 2, smallPools)
		c.mustAll(old)
		for _, n := range old {
			c.Cloud.Terminate(n.InstanceID)
			n.gone = true // nothing of it is in use any more, but EC2 keeps its addresses
		}
		began := time.Now()
		clone := c.launch(1, 2, smallPools)
		c.mustAll(clone)
		if d := time.Since(began); d < 2*time.Minute || d > 3*time.Minute {
			t.Errorf("it took %s, with addresses free after 2m", d)
		}
		c.CheckTruth(testPrefix, nil)
	})
}

// A replaced core node takes over the address of the one that is gone, with one write.
func TestReplacedCoreNode(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		nodes := c.launch(1, 2, smallPools)
		c.mustAll(nodes)
		free := nodes[1].Static()
		c.retire(nodes[1])
		c.Cloud.ForgetCalls()
		cn, err := c.Cloud.AddNode(nodes[0].ClusterID, cloud.RoleCore)
		if err != nil {
			t.Fatal(err)
		}
		// Three addresses for what is now asked for: the spare one is a stranger's.
		pools := smallPools
		pools.Core = append(slices.Clone(pools.Core), netip.MustParseAddr("10.0.1.23"))
		if _, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet, PrimaryIP: pools.Core[2]}); err != nil {
			t.Fatal(err)
		}
		cfg := agent.DefaultConfig()
		cfg.Pools = pools
		n := c.newNode(cn, cfg, cloud.FilesMinimal)
		c.mustAll([]*Node{n})
		if n.Static() != free {
			t.Errorf("it has %s, free was %s", n.Static(), free)
		}
		if puts := c.Cloud.Counts()["ssm:PutParameter"].Calls; puts != 1 {
			t.Errorf("%d writes", puts)
		}
		c.CheckTruth(testPrefix, nil)
	})
}

// A replaced master of three comes with the interface of the old one, the static IP on it or not.
func TestReplacedMasterOfThree(t *testing.T) {
	pools := agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21", "10.0.1.22"), Core: addrs("10.0.1.23")}
	for _, keeps := range []bool{true, false} {
		t.Run(fmt.Sprintf("secondaries kept %t", keeps), func(t *testing.T) {
			inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
				nodes := c.launch(3, 1, pools)
				c.mustAll(nodes)
				had := nodes[1].Static()
				nodes[1].gone = true
				cn, err := c.Cloud.ReplaceMaster(nodes[1].InstanceID, keeps)
				if err != nil {
					t.Fatal(err)
				}
				n := c.newNode(cn, nodes[0].Config, cloud.FilesFull)
				c.Cloud.ForgetCalls()
				c.mustAll([]*Node{n})
				if n.Static() != had {
					t.Errorf("it has %s, its predecessor had %s", n.Static(), had)
				}
				if assigns := c.Cloud.Counts()["ec2:AssignPrivateIpAddresses"].Calls; keeps && assigns != 0 {
					t.Errorf("%d assignments of an address that was there", assigns)
				}
				c.CheckTruth(testPrefix, nil)
			})
		})
	}
}

// Two clusters with overlapping lists in one subnet share them; a cluster in another subnet does not meet them.
func TestTwoClustersAndAnotherSubnet(t *testing.T) {
	inBubble(t, cloud.Options{Quotas: cloud.DefaultQuotas()}, func(t *testing.T, c *cluster) {
		a := c.launch(1, 2, agent.Pools{Master: addrs("10.0.1.20"), Core: addrs("10.0.1.21", "10.0.1.22", "10.0.1.23", "10.0.1.24")})
		b := c.launch(1, 2, agent.Pools{Master: addrs("10.0.1.25"), Core: addrs("10.0.1.24", "10.0.1.23", "10.0.1.22", "10.0.1.21")})
		vpc := c.Cloud.CreateVPC(netip.MustParsePrefix("10.9.0.0/16"))
		elsewhere := c.launchIn(c.Cloud.CreateSubnet(vpc, testSubnetElsewhere), 1, 1, agent.Pools{Master: addrs("10.9.1.20"), Core: addrs("10.9.1.21")})
		c.mustAll(slices.Concat(a, b, elsewhere))
		c.CheckTruth(testPrefix, nil)
		for _, p := range c.Cloud.Parameters() {
			if !strings.Contains(p.Name, c.subnet) && !strings.Contains(p.Name, elsewhere[0].SubnetID) {
				t.Errorf("a record under no subnet of ours: %s", p.Name)
			}
		}
	})
}

var testSubnetElsewhere = netip.MustParsePrefix("10.9.1.0/24")

// An address that somebody outside the ledger has, and a record that nobody can read, are passed over and reported.
func TestObstaclesAreReported(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		logs := c.listen()
		stranger, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet, Secondary: addrs("10.0.1.21")})
		if err != nil {
			t.Fatal(err)
		}
		broken := c.Ledger(testPrefix, c.subnet).Name(netip.MustParseAddr("10.0.1.22"))
		if err := c.PutRaw(t.Context(), broken, "blank"); err != nil {
			t.Fatal(err)
		}
		nodes := c.launch(1, 1, agent.Pools{Master: addrs("10.0.1.20"), Core: addrs("10.0.1.21", "10.0.1.22", "10.0.1.23")})
		c.mustAll(nodes)
		if got := nodes[1].Static().String(); got != "10.0.1.23" {
			t.Errorf("it has %s", got)
		}
		for _, want := range []string{"skipped 10.0.1.21: in use by " + stranger.InstanceID, "aws ssm delete-parameter --name " + broken} {
			if logs.FilterMessageSnippet(want).Len() != 1 {
				t.Errorf("not said once: %s", want)
			}
		}
		if got := c.Cloud.Holders(c.subnet, netip.MustParseAddr("10.0.1.21")); !slices.Equal(got, []string{stranger.ENI}) {
			t.Errorf("the stranger's address is now on %v", got)
		}
	})
}

// A call that is denied ends the run with the missing action and the statement that grants it.
func TestEachDeniedAction(t *testing.T) {
	for _, action := range []string{"ssm:GetParameters", "ssm:PutParameter", "ec2:DescribeInstances", "ec2:DescribeNetworkInterfaces", "ec2:AssignPrivateIpAddresses"} {
		t.Run(action, func(t *testing.T) {
			o := cloud.Options{Authorize: func(r cloud.AccessRequest) error {
				if r.Action == action {
					return errors.New("denied by the test")
				}
				return nil
			}}
			inBubble(t, o, func(t *testing.T, c *cluster) {
				n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
				began := time.Now()
				err := n.Apply(t.Context(), Kill{}).Err
				if exitCode(err) != agent.ExitPermission || !strings.Contains(remedy(err), `"Action": "`+action+`"`) {
					t.Errorf("code %d, %v; remedy %s", exitCode(err), err, remedy(err))
				}
				if time.Since(began) > time.Minute {
					t.Errorf("it took %s to say so", time.Since(began))
				}
				if n.Static().IsValid() {
					t.Errorf("it uses %s", n.Static())
				}
			})
		})
	}
	t.Run("ec2:CreateTags", func(t *testing.T) { // the Name tag is no reason to end a node
		o := cloud.Options{Authorize: func(r cloud.AccessRequest) error {
			if r.Action == "ec2:CreateTags" {
				return errors.New("denied by the test")
			}
			return nil
		}}
		inBubble(t, o, func(t *testing.T, c *cluster) {
			n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
			out := n.Apply(t.Context(), Kill{})
			if out.Err != nil || !strings.Contains(strings.Join(out.Report.Warnings, "\n"), "ec2:CreateTags") {
				t.Errorf("%v, warnings %q", out.Err, out.Report.Warnings)
			}
		})
	})
}

// A service that keeps failing in whatever way ends in a clear error by the deadline, with nothing in use; when it recovers, the next
// run succeeds.
func TestServicesThatFail(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fault  cloud.FaultAction
		only   func(cloud.Call) bool
		code   agent.ExitCode
		within time.Duration
		says   string
	}{
		{"SSM throttles for ever", cloud.FaultAction{Kind: cloud.FaultFail, Code: "ThrottlingException", Message: "Rate exceeded", Status: 400},
			service("ssm"), agent.ExitDeadline, agent.DefaultTimeout, "Rate exceeded"},
		{"SSM answers 500", cloud.FaultAction{Kind: cloud.FaultFail}, service("ssm"), agent.ExitDeadline, agent.DefaultTimeout, "StatusCode: 500"},
		{"writes meet TooManyUpdates", cloud.FaultAction{Kind: cloud.FaultFail, Code: "TooManyUpdates", Status: 400}, call("ssm", "PutParameter"),
			agent.ExitDeadline, agent.DefaultTimeout, "TooManyUpdates"},
		{"the SSM endpoint is a black hole", cloud.FaultAction{Kind: cloud.FaultHang}, service("ssm"), agent.ExitUnreachable, 3 * time.Minute, "ssm endpoint"},
		{"the EC2 endpoint resets connections", cloud.FaultAction{Kind: cloud.FaultReset}, service("ec2"), agent.ExitUnreachable, 3 * time.Minute, "ec2 endpoint"},
		{"answers to assignments are lost", cloud.FaultAction{Kind: cloud.FaultLose}, call("ec2", "AssignPrivateIpAddresses"),
			agent.ExitDeadline, agent.DefaultTimeout, "AssignPrivateIpAddresses"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
				n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
				c.Cloud.Fault(func(call cloud.Call) cloud.FaultAction {
					if tt.only(call) {
						return tt.fault
					}
					return cloud.FaultAction{}
				})
				began := time.Now()
				err := n.Apply(t.Context(), Kill{}).Err
				if exitCode(err) != tt.code || !strings.Contains(err.Error(), tt.says) || remedy(err) == "" {
					t.Errorf("code %d, want %d; remedy %q; %v", exitCode(err), tt.code, remedy(err), err)
				}
				if d := time.Since(began); d > tt.within+time.Second {
					t.Errorf("it took %s", d)
				}
				if n.Static().IsValid() {
					t.Errorf("it uses %s", n.Static())
				}
				c.Cloud.Fault(nil)
				c.mustAll([]*Node{n})
				c.CheckTruth(testPrefix, nil)
			})
		})
	}
}

func service(name string) func(cloud.Call) bool {
	return func(c cloud.Call) bool { return c.Service == name && c.Caller != "" }
}

func call(name, action string) func(cloud.Call) bool {
	return func(c cloud.Call) bool { return c.Service == name && c.Action == action && c.Caller != "" }
}

// The operator's retry settings win: with two attempts allowed, two are made.
func TestOperatorsRetrySettings(t *testing.T) {
	t.Setenv("AWS_MAX_ATTEMPTS", "2")
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
			if x.Service == "ssm" {
				return cloud.FaultAction{Kind: cloud.FaultFail}
			}
			return cloud.FaultAction{}
		})
		if err := n.Apply(t.Context(), Kill{}).Err; err == nil {
			t.Error("it succeeded")
		}
		if calls := c.Cloud.Counts()["ssm:GetParameters"].Calls; calls != 2 {
			t.Errorf("%d attempts", calls)
		}
	})
}

// Of several nodes that find the same stale claim, one gets the address and the record comes to name it.
func TestConcurrentTakeOver(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		pools := agent.Pools{Master: addrs("10.0.1.20"), Core: addrs("10.0.1.21", "10.0.1.22", "10.0.1.23")}
		for _, a := range slices.Concat(pools.Master, pools.Core) {
			if _, err := c.Ledger(testPrefix, c.subnet).Create(t.Context(), a, ssmcoord.Record{Instance: "i-0dead", ENI: "eni-0dead", Time: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * ssmcoord.UnseenGrace)
		// Nodes of three clusters: none knows of the others.
		var nodes []*Node
		for range 3 {
			nodes = append(nodes, c.launch(1, 1, pools)[1])
		}
		c.mustAll(nodes)
		c.CheckTruth(testPrefix, nil)
	})
}

// A release gives everything back, and the same again does nothing.
func TestRelease(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		empty := n.Kernel.Rules()
		c.mustAll([]*Node{n})
		out := n.Release(t.Context(), Kill{})
		if out.Err != nil || n.Static().IsValid() || len(c.Cloud.Parameters()) != 0 || n.Kernel.Rules() != empty {
			t.Errorf("%v; uses %s; records %v; rules:\n%s", out.Err, n.Static(), c.Cloud.Parameters(), n.Kernel.Rules())
		}
		if h := c.Cloud.Holders(c.subnet, netip.MustParseAddr("10.0.1.20")); len(h) != 0 {
			t.Errorf("the address is still on %v", h)
		}
		if out := n.Release(t.Context(), Kill{}); out.Err != nil || len(out.Report.Changes) != 0 {
			t.Errorf("again: %v, %q", out.Err, out.Report.Changes)
		}
		c.mustAll([]*Node{n}) // and it can be had back
		c.CheckTruth(testPrefix, nil)
	})
}

// Without its state file a node finds what it has: by its interface when it is run, by the ledger when it releases.
func TestLostStateFile(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")})[0]
		c.mustAll([]*Node{n})
		state := filepath.Join(n.root, agent.DefaultStateDir, "state.json")
		if err := os.Remove(state); err != nil {
			t.Fatal(err)
		}
		if out := n.Apply(t.Context(), Kill{}); out.Err != nil || len(out.Report.Changes) != 0 {
			t.Errorf("%v, %q", out.Err, out.Report.Changes)
		}
		if err := os.Remove(state); err != nil {
			t.Fatal(err)
		}
		n.Config.Pools = agent.Pools{}
		if out := n.Release(t.Context(), Kill{}); out.Err != nil {
			t.Error(out.Err)
		}
		if len(c.Cloud.Parameters()) != 0 || n.Static().IsValid() {
			t.Errorf("left: %v, %s", c.Cloud.Parameters(), n.Static())
		}
	})
}

// A signal ends a run at once, wherever it waits.
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

// An address that somebody moved away is out of use before the node waits for another one, also while IMDS still lists it.
func TestMovedAddressIsOutOfUseWhileWaiting(t *testing.T) {
	inBubble(t, cloud.Options{IMDSDelay: cloud.Exactly(30 * time.Second)}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		c.mustAll([]*Node{n})
		time.Sleep(time.Minute)
		stranger, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet})
		if err != nil {
			t.Fatal(err)
		}
		c.Step = nil // the move itself is what must not be
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
		for _, p := range c.Cloud.Parameters() {
			t.Errorf("the claim is not given up: %s %s", p.Name, p.Value)
		}
	})
}

// An address that EC2 refuses, though nobody can be seen who has it, is asked for now and then, not all the time, and is named at the end.
func TestRefusedWithoutAHolder(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
			if x.Action == "AssignPrivateIpAddresses" {
				return cloud.FaultAction{Kind: cloud.FaultFail, Code: "InvalidParameterValue", Message: "[10.0.1.20] assigned, but move is not allowed.", Status: 400}
			}
			return cloud.FaultAction{}
		})
		err := n.Apply(t.Context(), Kill{}).Err
		if exitCode(err) != agent.ExitNoAddress || !strings.Contains(err.Error(), "move is not allowed") || remedy(err) == "" {
			t.Errorf("code %d, %v", exitCode(err), err)
		}
		if puts := c.Cloud.Counts()["ssm:PutParameter"].Calls; puts > 12 {
			t.Errorf("%d claims in ten minutes", puts)
		}
		if left := c.Cloud.Parameters(); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// An address that this node can never have leaves no claim behind.
func TestImpossibleAddressLeavesNoClaim(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
			if x.Action == "AssignPrivateIpAddresses" {
				return cloud.FaultAction{Kind: cloud.FaultFail, Code: "PrivateIpAddressLimitExceeded", Message: "full", Status: 400}
			}
			return cloud.FaultAction{}
		})
		if err := n.Apply(t.Context(), Kill{}).Err; exitCode(err) != agent.ExitUsage || !strings.Contains(remedy(err), n.InstanceType) {
			t.Errorf("code %d, %v, remedy %s", exitCode(err), err, remedy(err))
		}
		if left := c.Cloud.Parameters(); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// A rerun does not even write its state file, and reads the ledger once.
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
				t.Errorf("a rerun calls %s", action)
			} else if action == "ssm:GetParameters" && count.Calls != 1 {
				t.Errorf("a rerun reads the ledger %d times", count.Calls)
			}
		}
	})
}

// Of two addresses of the pool on one interface, the one in use stays. The other is given back where this node's claims name it, and is left alone, and
// reported, where nothing says that this tool attached it.
func TestSurplusAddresses(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.21", "10.0.1.20")})[0]
		c.mustAll([]*Node{n})
		static, extra := n.Static(), netip.MustParseAddr("10.0.1.20")
		if static == extra {
			t.Fatalf("it has %s", static)
		}
		if err := c.Take(t.Context(), n.Node, extra); err != nil {
			t.Fatal(err)
		}
		out := n.Apply(t.Context(), Kill{})
		if out.Err != nil || len(out.Report.Changes) != 0 || !strings.Contains(strings.Join(out.Report.Warnings, "\n"), extra.String()) {
			t.Errorf("%v, changes %q, warnings %q", out.Err, out.Report.Changes, out.Report.Warnings)
		}
		if h := c.Cloud.Holders(c.subnet, extra); !slices.Equal(h, []string{n.ENI}) || n.Static() != static {
			t.Errorf("somebody else's %s is on %v, in use is %s", extra, h, n.Static())
		}
		record := ssmcoord.Record{Instance: n.InstanceID, ENI: n.ENI, Cluster: n.ClusterID, Role: n.Role, Time: time.Now()}
		if _, err := c.Ledger(testPrefix, c.subnet).Create(t.Context(), extra, record); err != nil {
			t.Fatal(err)
		}
		c.mustAll([]*Node{n})
		if h := c.Cloud.Holders(c.subnet, extra); len(h) != 0 || n.Static() != static {
			t.Errorf("%s is still on %v, in use is %s", extra, h, n.Static())
		}
		c.CheckTruth(testPrefix, nil)
	})
}

// A record that has come to name another node is not deleted with the claim that it was.
func TestGivingUpSparesTheWinnersRecord(t *testing.T) {
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")})[0]
		winner, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet})
		if err != nil {
			t.Fatal(err)
		}
		a, moved := netip.MustParseAddr("10.0.1.20"), false
		c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
			if x.Action != "PutParameter" || x.Caller != n.InstanceID || moved {
				return cloud.FaultAction{}
			}
			moved = true
			return cloud.FaultAction{Then: func() { // the winner has the address, and its record
				if err := c.Take(t.Context(), winner, a); err != nil {
					t.Error(err)
				}
				record := ssmcoord.Record{Instance: winner.InstanceID, ENI: winner.ENI, Role: "MASTER", Time: time.Now()}
				if err := c.Ledger(testPrefix, c.subnet).Overwrite(t.Context(), a, record); err != nil {
					t.Error(err)
				}
			}}
		})
		c.mustAll([]*Node{n})
		if got := n.Static().String(); got != "10.0.1.21" || !moved {
			t.Errorf("it has %s", got)
		}
		for _, p := range c.Cloud.Parameters() {
			if strings.HasSuffix(p.Name, a.String()) && strings.Contains(p.Value, winner.InstanceID) {
				return
			}
		}
		t.Errorf("the winner's record is gone: %v", c.Cloud.Parameters())
	})
}
