package doctor

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// What doctor says of a run's steps in EC2 and the ledger is what plan prints and apply does.
func TestDoctorPlanAndApplyAgree(t *testing.T) {
	messages := golden.Open(t, "run.txt")
	a21 := netip.MustParseAddr("10.0.1.21")
	gone := func() ssmcoord.Record {
		return ssmcoord.Record{Instance: "i-0aaaaaaaaaaaaaaaa", ENI: "eni-0a", Cluster: "j-GONE", Role: "CORE", Time: time.Now()}
	}
	for _, test := range []struct {
		name   string
		skew   time.Duration
		before func(n *testNode)
		code   exit.Code
	}{
		{"first run", 0, func(*testNode) {}, exit.OK},
		{"rerun", 0, func(n *testNode) { n.apply() }, exit.OK},
		{"take-over", 0, func(n *testNode) { n.claim(a21, gone(), 2*ssmcoord.DescribeLag) }, exit.OK},
		{"list changed", 0, func(n *testNode) { n.apply(); n.cfg.Pools.Core = netiptest.Addrs("10.0.1.24 10.0.1.25") }, exit.OK},
		{"everything taken", 0, func(n *testNode) {
			if _, err := n.Cloud.RunInstance(cloud.InstanceSpec{Subnet: n.SubnetID, Secondary: n.cfg.Pools.Core}); err != nil {
				n.T.Fatal(err)
			}
		}, exit.NoAddress},
		{"clock 4 minutes behind, and a record of a minute ago", 4 * time.Minute, func(n *testNode) {
			n.cfg.Pools.Core = []netip.Addr{a21}
			n.claim(a21, gone(), time.Minute)
		}, exit.OK},
		{"clock 4 minutes behind, and a record of 10 seconds ago", 4 * time.Minute, func(n *testNode) {
			n.cfg.Pools.Core = []netip.Addr{a21}
			n.claim(a21, gone(), 10*time.Second)
		}, exit.NoAddress},
		{"unreadable record", 0, func(n *testNode) { n.scribble(a21) }, exit.OK},
		{"unreadable record of the address in use", 0, func(n *testNode) { n.apply(); n.scribble(a21) }, exit.OK},
		{"the state file is lost", 0, func(n *testNode) { n.apply(); n.loseState() }, exit.OK},
		{"an address of the list that somebody else assigned to the node", 0, func(n *testNode) { n.apply(); n.Assign(n.cfg.Pools.Core[1]) }, exit.OK},
		{"the address was taken away", 0, func(n *testNode) { n.apply(); n.Unassign(a21); time.Sleep(time.Minute) }, exit.OK},
		{"a record of this node for another address", 0, func(n *testNode) {
			own := gone()
			own.Instance, own.ENI = n.InstanceID, "eni-0b"
			n.claim(n.cfg.Pools.Core[1], own, time.Minute)
		}, exit.OK},
		{"another prefix", 0, func(n *testNode) { n.apply(); n.cfg.Prefix = "/other" }, exit.Usage},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, _ := newNode(t, cloud.Options{ClockSkew: test.skew})
				test.before(n)
				addresses := func() (names []string) {
					for _, a := range n.cfg.Pools.Core {
						names = append(names, "address "+a.String())
					}
					return names
				}
				d := n.doctor()
				plan, planErr := agent.Plan(t.Context(), n.cfg, n.Env)
				messages.Is(t, test.name, said(d, append(addresses(), "pool core", "prefix", "run")...))
				if exit.CodeOf(planErr) != test.code {
					t.Errorf("the plan ends with %v, want code %d", planErr, test.code)
				}
				if fails := d.runFails(); fails != (test.code != exit.OK) {
					t.Errorf("doctor says that a run fails: %v\n%s", fails, textOf(t, d))
				}
				n.cfg.Timeout = 15 * time.Second // shorter than it takes the record to become stale
				before := n.claims()
				report, err := agent.Apply(t.Context(), n.cfg, n.Env)
				if exit.CodeOf(err) != test.code {
					t.Errorf("apply ends with %v, want code %d", err, test.code)
				}
				if test.code != exit.OK {
					return
				}
				steps := d.steps()
				var planned []string
				for _, change := range plan.Changes {
					if isClaimStep(change) {
						planned = append(planned, change)
					}
				}
				if !slices.Equal(steps, planned) || plan.Static != report.Static {
					t.Errorf("doctor says %q\nplan says %q and %s, apply gave %s", steps, planned, plan.Static, report.Static)
				}
				// What was done is the difference that the steps describe.
				after := n.claims()
				if done := difference(before, after); done != len(steps) {
					t.Errorf("%d steps %q made %d changes: from %q to %q", len(steps), steps, done, before, after)
				}
			})
		})
	}
}

// The same outside EMR, where members of the launch are found by the Auto Scaling group.
func TestDoctorPlanAndApplyAgreeOutsideEMR(t *testing.T) {
	messages := golden.Open(t, "run-outside-emr.txt")
	synctest.Test(t, func(t *testing.T) {
		nodes := agenttest.NewPlain(t, cloud.Options{}, 2, map[string]string{"aws:autoscaling:groupName": "web"})
		for i, name := range []string{"the first of a group outside EMR", "the second of a group outside EMR"} {
			n := &testNode{nodes[i], agent.DefaultConfig()}
			n.cfg.Pools = agent.Pools{Any: netiptest.Addrs("10.0.1.21 10.0.1.22")}
			agenttest.NewNetwork(n.PrimaryIP).Install(&n.Env)
			d := n.doctor()
			plan, err := agent.Plan(t.Context(), n.cfg, n.Env)
			if err != nil {
				t.Fatal(err)
			}
			var planned []string
			for _, change := range plan.Changes {
				if isClaimStep(change) {
					planned = append(planned, change)
				}
			}
			report := n.apply()
			if !slices.Equal(d.steps(), planned) || len(planned) == 0 || plan.Static != report.Static {
				t.Errorf("%s: doctor says %q\nplan says %q and %s, apply gave %s", name, d.steps(), planned, plan.Static, report.Static)
			}
			messages.Is(t, name, said(d, "address 10.0.1.21", "address 10.0.1.22", "pool --ips", "run"))
		}
	})
}

// runFails reports whether doctor says that a run would fail.
func (d Diagnosis) runFails() bool {
	return slices.ContainsFunc(d.Findings, func(f Finding) bool {
		return f.Result == resultFailed && slices.Contains([]string{"run", "prefix", "addresses", "pool"}, f.Check)
	})
}

var claimVerbs = []string{"assign ", "write the record ", "delete the record ", "unassign "}

func isClaimStep(s string) bool {
	return slices.ContainsFunc(claimVerbs, func(v string) bool { return strings.HasPrefix(s, v) })
}

// steps returns the steps in the finding "run".
func (d Diagnosis) steps() (list []string) {
	for _, f := range d.Findings {
		if f.Check == "run" {
			for _, s := range strings.Split(f.Detail, "; ") {
				for _, v := range claimVerbs {
					if i := strings.Index(s, v); i >= 0 && (i == 0 || strings.HasSuffix(s[:i], "would ")) {
						list = append(list, s[i:])
						break
					}
				}
			}
		}
	}
	return list
}

// claims returns what the node has in EC2 and the ledger.
func (n *testNode) claims() (list []string) {
	for _, e := range n.Cloud.ENIs() {
		for _, a := range e.Addresses {
			if e.ID == n.ENI && a != n.PrimaryIP {
				list = append(list, "assigned "+a.String())
			}
		}
	}
	for _, p := range n.Cloud.Parameters() {
		list = append(list, "record "+p.Name+" "+p.Value)
	}
	slices.Sort(list)
	return list
}

// difference counts the changes between two lists. A record that has another value is one change.
func difference(before, after []string) (changes int) {
	key := func(s string) string { return strings.Join(strings.Fields(s)[:2], " ") }
	keys := map[string]bool{}
	for _, s := range append(slices.Clone(before), after...) {
		if slices.Contains(before, s) != slices.Contains(after, s) && !keys[key(s)] {
			keys[key(s)] = true
			changes++
		}
	}
	return changes
}

// scribble makes the record of a one that cannot be read.
func (n *testNode) scribble(a netip.Addr) {
	n.T.Helper()
	name := ssmcoord.OpenLedger(nil, n.cfg.Prefix, n.SubnetID).Name(a)
	_, err := ssm.NewFromConfig(n.Session().AWS.Config).PutParameter(n.T.Context(), &ssm.PutParameterInput{
		Name: aws.String(name), Value: aws.String("{"), Type: types.ParameterTypeString, Overwrite: aws.Bool(true),
	})
	if err != nil {
		n.T.Fatal(err)
	}
	time.Sleep(time.Minute)
}

// loseState removes the state file.
func (n *testNode) loseState() {
	n.T.Helper()
	if err := os.Remove(n.Env.Path(filepath.Join(agent.DefaultStateDir, state.File))); err != nil {
		n.T.Fatal(err)
	}
}
