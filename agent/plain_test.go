package agent

import (
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	cloudiam "github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

const scalingTag = "aws:autoscaling:groupName"

// newPlainNodes returns instances outside EMR, with --ips 10.0.1.20-29.
func newPlainNodes(t *testing.T, o cloud.Options, count int, group string) (list []*testNode) {
	t.Helper()
	tags := map[string]string{}
	if group != "" {
		tags[scalingTag] = group
	}
	for _, m := range agenttest.NewPlain(t, o, count, tags) {
		n := testNodeOf(m)
		n.cfg.Pools = Pools{Any: netiptest.Range("10.0.1.20", 10)}
		list = append(list, n)
	}
	return list
}

// called counts the node's calls of one action.
func (n *testNode) called(action string) (count int) {
	for _, c := range n.cloud.Calls() {
		if c.Caller == n.InstanceID && c.Action == action {
			count++
		}
	}
	return count
}

// An instance outside EMR lives as EMR's nodes do, with a policy that does not name EMR: it gets an
// address, keeps it, has it restored, and gives it back.
func TestPlainLife(t *testing.T) {
	policy, err := cloudiam.ParsePolicy([]byte(iam.Place{Region: "us-east-1", Account: "123456789012", Subnet: "*"}.Policy(iam.PlainProfile)))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		n := newPlainNodes(t, cloud.Options{Authorize: cloudiam.Policies{policy}.OnInstances}, 1, "web")[0].withSystemd()
		plan, err := Plan(t.Context(), n.cfg, n.env)
		if err != nil || plan.Static != netip.MustParseAddr("10.0.1.20") {
			t.Fatalf("plan: %v, %v", plan.Static, err)
		}
		rep := n.apply()
		golden.Open(t, "plain-life.txt").Is(t, "the first run", n.told(strings.Join(append(rep.Changes, rep.Notes...), "\n")))
		if rep.Static != plan.Static || rep.Role != "" || len(rep.Warnings) > 0 || !slices.Equal(n.uses(), []netip.Addr{rep.Static}) {
			t.Errorf("%+v, in use %v", rep, n.uses())
		}
		if got := n.called("CreateTags"); got > 0 {
			t.Errorf("%d calls of CreateTags: there is no role to append to the name", got)
		}
		if !host.Exists(n.env.Path(filepath.Join(systemd.Dir, systemd.ReleaseService))) || !n.active[systemd.ReleaseService] {
			t.Error("nothing releases the address at shutdown")
		}
		n.cfg.Pools = Pools{} // as the last time
		if rep := n.apply(); len(rep.Changes) > 0 || rep.Static != plan.Static || rep.CallCount() > 2 {
			t.Errorf("again: %+v", rep)
		}
		if s, err := Inspect(t.Context(), n.cfg, n.env); err != nil || s.ExitCode() != ExitOK {
			t.Errorf("status: %v %v %v", s.Verdict, s.Reasons, err)
		}
		n.kernel.FlushNAT()
		if n.restore(ExitOK); !slices.Equal(n.uses(), []netip.Addr{rep.Static}) {
			t.Errorf("restored: %v", n.uses())
		}
		n.cfg.NoShutdownAction, n.cfg.Given.NoShutdownAction = true, true
		if rep := n.apply(); !slices.Contains(rep.Changes, "removed "+systemd.ReleaseService) {
			t.Errorf("--no-shutdown-action: %q", rep.Changes)
		}
		n.cfg.NoShutdownAction, n.cfg.Given.NoShutdownAction = false, true
		n.apply()
		Suppress(t.Context(), n.cfg, n.env, Failed{Code: ExitNoAddress, Err: errors.New("no address"), Args: []string{"x"}})
		if got := n.tag(); got == "" {
			t.Error("no tag with the error")
		}
		n.calls = nil
		rep, err = Release(t.Context(), n.cfg, n.env)
		if err != nil || len(rep.Warnings) > 0 || len(n.uses()) > 0 || len(n.cloud.Parameters()) > 0 || n.tag() != "" {
			t.Errorf("release: %v, %+v, in use %v", err, rep, n.uses())
		}
		if host.Exists(n.env.Path(filepath.Join(systemd.Dir, systemd.ReleaseService))) || slices.Contains(n.calls, "stop "+systemd.ReleaseService) {
			t.Errorf("the release unit must be removed, and not stopped: its stop may run the release. systemctl %q", n.calls)
		}
	})
}

// Instances that start together choose different addresses at once if EC2 says which they are:
// those of an Auto Scaling group, or of one launch. Others begin at a place of their own in the
// list.
func TestPlainTogether(t *testing.T) {
	for _, test := range []struct {
		name, group string
		refused     int // assignments that EC2 may refuse
	}{
		{"an Auto Scaling group", "web", 0},
		{"instances by themselves", "", 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nodes := newPlainNodes(t, cloud.Options{}, 5, test.group)
				var all sync.WaitGroup
				statics := make([]netip.Addr, len(nodes))
				for i, n := range nodes {
					all.Go(func() {
						rep, err := Apply(t.Context(), n.cfg, n.env)
						if err != nil {
							t.Error(err)
						}
						statics[i] = rep.Static
					})
				}
				all.Wait()
				calls := 0
				for _, n := range nodes {
					calls += n.called("AssignPrivateIpAddresses")
				}
				slices.SortFunc(statics, netip.Addr.Compare)
				if len(slices.Compact(statics)) != len(nodes) || calls > len(nodes)+test.refused {
					t.Errorf("addresses %v, with %d calls", statics, calls)
				}
			})
		})
	}
}

// Lists for EMR and for other instances are not exchanged without a word.
func TestPlainRefused(t *testing.T) {
	messages := golden.Open(t, "plain.txt")
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.cfg.Pools = Pools{Any: netiptest.Range("10.0.1.20", 10)}
		rep, err := Apply(t.Context(), n.cfg, n.env)
		if CodeOf(err) != ExitUsage || len(n.cloud.Parameters())+len(n.uses()) > 0 {
			t.Errorf("%v", err)
		}
		messages.Is(t, "--ips on a node of EMR", n.told(ending(rep, err)))
	})
	synctest.Test(t, func(t *testing.T) {
		n := newPlainNodes(t, cloud.Options{}, 1, "")[0]
		n.cfg.Pools = Pools{Master: netiptest.Addrs("10.0.1.20"), Core: netiptest.Addrs("10.0.1.21")}
		rep, err := Apply(t.Context(), n.cfg, n.env)
		if CodeOf(err) != ExitIdentity {
			t.Errorf("%v", err)
		}
		messages.Is(t, "a list for EMR outside EMR", n.told(ending(rep, err)))
	})
	synctest.Test(t, func(t *testing.T) {
		n := newPlainNodes(t, cloud.Options{}, 1, "")[0]
		n.cfg.Pools = Pools{Any: netiptest.Addrs("10.0.1.1 10.0.2.20 10.9.0.1")}
		rep, err := Apply(t.Context(), n.cfg, n.env)
		if CodeOf(err) != ExitUsage {
			t.Errorf("%v", err)
		}
		messages.Is(t, "addresses that do not fit", n.told(ending(rep, err)))
	})
}
