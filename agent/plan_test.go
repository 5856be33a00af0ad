package agent

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// A plan changes nothing, and the apply that follows does exactly that.
func TestPlanIsWhatApplyDoes(t *testing.T) {
	applied := func(n *testNode) { n.apply() }
	claim := func(n *testNode, a, instance string) {
		n.t.Helper()
		ledger := ssmcoord.NewLedger(n.on().Session().AWS.Config, n.cfg.Prefix, n.SubnetID)
		if _, err := ledger.Create(n.t.Context(), netip.MustParseAddr(a), ssmcoord.Record{Instance: instance, ENI: "eni-0dead", Role: "CORE", Time: time.Now()}); err != nil {
			n.t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		before func(n *testNode)
	}{
		{"first run", func(*testNode) {}},
		{"first run with units", func(n *testNode) { n.withSystemd() }},
		{"rerun", applied},
		{"rerun with units", func(n *testNode) { n.withSystemd().apply() }},
		{"the address is lost", func(n *testNode) { n.apply(); n.kernel.RemoveAddress(netip.MustParseAddr("10.0.1.21")) }},
		{"the rules are lost", func(n *testNode) { n.apply(); n.kernel.FlushNAT() }},
		{"the list has changed", func(n *testNode) { n.apply(); n.cfg.Pools.Core = netiptest.Addrs("10.0.1.24 10.0.1.25") }},
		{"the address was moved", func(n *testNode) { n.apply(); n.unassign(netip.MustParseAddr("10.0.1.21")) }},
		{"a release was interrupted before it changed anything", func(n *testNode) {
			n.apply()
			st := n.state()
			st.Phase = PhaseReleasing
			if err := state.Save(n.env.Path(n.cfg.StateDir), st); err != nil {
				n.t.Fatal(err)
			}
		}},
		{"claims of the dead", func(n *testNode) {
			claim(n, "10.0.1.21", "i-0dead")
			claim(n, "10.0.1.22", "i-0dead")
			time.Sleep(2 * ssmcoord.DescribeLag)
		}},
		{"a record that names this node, of an address that it does not have", func(n *testNode) { claim(n, "10.0.1.22", n.InstanceID) }},
		{"the record is lost", func(n *testNode) {
			n.apply()
			if _, err := ssmcoord.NewLedger(n.on().Session().AWS.Config, n.cfg.Prefix, n.SubnetID).Delete(n.t.Context(), netip.MustParseAddr("10.0.1.21"), func(ssmcoord.Entry) bool { return true }); err != nil {
				n.t.Fatal(err)
			}
		}},
	}
	plans := golden.Open(t, "plans.txt")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{})
				test.before(n)
				files, rules, addresses, kernelBefore := n.snapshot(), n.kernel.Rules(), n.kernel.Addresses(testLink), len(n.kernel.Applied())
				n.cloud.ForgetCalls()
				n.calls = nil
				plan, err := Plan(t.Context(), n.cfg, n.env)
				if err != nil {
					t.Fatal(err)
				}
				plans.Is(t, test.name, n.told(strings.Join(plan.Changes, "\n")))
				for _, c := range n.cloud.Calls() {
					if c.Applied {
						t.Errorf("a plan changed the account: %s", c)
					}
				}
				if !slices.Equal(n.snapshot(), files) || n.kernel.Rules() != rules || !slices.Equal(n.kernel.Addresses(testLink), addresses) {
					t.Error("a plan changed the node")
				}
				if slices.ContainsFunc(n.calls, func(c string) bool { return !strings.HasPrefix(c, "is-active") }) {
					t.Errorf("systemctl %q", n.calls)
				}

				rep := n.apply()
				if len(rep.Changes) != len(plan.Changes) || rep.Unchanged != plan.Unchanged || rep.Static != plan.Static {
					t.Errorf("apply: %s, %s\n%q\nplanned: %s, %s\n%q", rep.Static, rep.Summary(), rep.Changes, plan.Static, plan.Summary(), plan.Changes)
				}
				var done, planned []string
				for _, c := range n.kernel.Applied()[kernelBefore:] {
					done = append(done, c.String())
				}
				for _, c := range plan.Changes {
					if strings.HasPrefix(c, "ip ") || strings.HasPrefix(c, "iptables") {
						planned = append(planned, c)
					}
				}
				if !slices.Equal(done, planned) {
					t.Errorf("done to the kernel:\n%s\nplanned:\n%s", strings.Join(done, "\n"), strings.Join(planned, "\n"))
				}
			})
		})
	}
}

// Without a state directory and without the right to write anywhere, a plan works.
func TestPlanNeedsNoWritePermission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		if err := os.Chmod(n.env.Root, 0o555); err != nil {
			t.Fatal(err)
		}
		rep, err := Plan(t.Context(), n.cfg, n.env)
		if err != nil || host.Exists(n.env.Path(n.cfg.StateDir)) || !strings.HasPrefix(rep.Summary(), "to-change=7 ") {
			t.Errorf("%v, %s", err, rep.Summary())
		}
	})
}

func TestPlanOfAFullPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.cfg.Pools.Core = netiptest.Addrs("10.0.1.21")
		stranger, err := n.cloud.RunInstance(cloud.InstanceSpec{Subnet: n.SubnetID})
		if err != nil {
			t.Fatal(err)
		}
		other := testNode{Node: stranger, t: t, cloud: n.cloud}
		other.assign(netip.MustParseAddr("10.0.1.21"))
		time.Sleep(time.Minute)
		began := time.Now()
		_, err = Plan(t.Context(), n.cfg, n.env)
		if CodeOf(err) != ExitNoAddress || !strings.Contains(err.Error(), "10.0.1.21") || !strings.Contains(err.Error(), stranger.InstanceID) || time.Since(began) > time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// What plan prints, whole: testdata/plan-*.txt. -update writes the files anew.
func TestPlanGolden(t *testing.T) {
	stranger := func(n *testNode, addrs ...netip.Addr) {
		n.t.Helper()
		if _, err := n.cloud.RunInstance(cloud.InstanceSpec{Subnet: n.SubnetID, Name: "stranger", Secondary: addrs}); err != nil {
			n.t.Fatal(err)
		}
	}
	for name, before := range map[string]func(n *testNode){
		"first-run": func(*testNode) {},
		"rerun":     func(n *testNode) { n.apply() },
		"take-over": func(n *testNode) {
			n.claim(netip.MustParseAddr("10.0.1.21"), ssmcoord.Record{Instance: "i-0dead", ENI: "eni-0dead", Cluster: "j-GONE", Role: "CORE", Time: time.Now()}, 2*ssmcoord.DescribeLag)
		},
		"list-changed":     func(n *testNode) { n.apply(); n.cfg.Pools.Core = netiptest.Addrs("10.0.1.24 10.0.1.25") },
		"everything-taken": func(n *testNode) { stranger(n, n.cfg.Pools.Core...) },
	} {
		synctest.Test(t, func(t *testing.T) {
			n := newTestNode(t, cloud.Options{}).withSystemd()
			before(n)
			args := []string{"plan", "10.0.1.20"}
			for _, a := range n.cfg.Pools.Core {
				args = append(args, a.String())
			}
			_, stdout, stderr := n.program(t.Context(), args...)
			text := stdout
			if _, failure, found := strings.Cut(stderr, "emr-static-ip failed"); found {
				text += "--- stderr\nemr-static-ip failed" + failure
			}
			golden.Is(t, "plan-"+name+".txt", strings.ReplaceAll(text, Version(), "VERSION"))
		})
	}
}
