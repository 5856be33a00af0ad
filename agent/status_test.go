package agent

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// inspect is the node's status, which must have changed nothing.
func (n *testNode) inspect() Status {
	n.t.Helper()
	files, rules, applied := n.snapshot(), n.kernel.Rules(), len(n.kernel.Applied())
	n.cloud.ForgetCalls()
	s, err := Inspect(n.t.Context(), DefaultConfig(), n.env)
	if err != nil {
		n.t.Fatal(err)
	}
	if !slices.Equal(n.snapshot(), files) || n.kernel.Rules() != rules || len(n.kernel.Applied()) != applied {
		n.t.Error("status changed the node")
	}
	for _, c := range n.cloud.Calls() {
		if c.Applied {
			n.t.Errorf("status changed the account: %s", c)
		}
	}
	return s
}

// TestStatus checks verdict and exit code of each case. The text is in testdata/status-*.txt.
func TestStatus(t *testing.T) {
	static := netip.MustParseAddr("10.0.1.21")
	tests := []struct {
		name    string
		before  func(n *testNode)
		verdict Verdict
		code    ExitCode
	}{
		{"in order", func(n *testNode) { n.withSystemd().apply() }, VerdictInOrder, ExitOK},
		{"never configured", func(*testNode) {}, VerdictNotConfigured, ExitNotGiven},
		{"address lost", func(n *testNode) { n.apply(); n.kernel.RemoveAddress(static) }, VerdictDrifted, ExitDrifted},
		{"rules flushed", func(n *testNode) { n.apply(); n.kernel.FlushNAT() }, VerdictDrifted, ExitDrifted},
		{"unit edited", func(n *testNode) { n.withSystemd().apply(); n.write(n.env.Path(systemd.Dir+"/"+systemd.Timer), "x") }, VerdictDrifted, ExitDrifted},
		{"timer stopped", func(n *testNode) { n.withSystemd().apply(); n.active[systemd.Timer] = false }, VerdictDrifted, ExitDrifted},
		{"moved by somebody", func(n *testNode) { n.apply(); time.Sleep(3 * time.Minute); n.unassign(static) }, VerdictDrifted, ExitDrifted},
		{"AWS and IMDS silent", func(n *testNode) { n.apply(); n.silent.Store(true) }, VerdictInOrder, ExitOK},
		{"AWS silent", func(n *testNode) {
			n.apply()
			n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
				if c.Service == "imds" {
					return cloud.FaultAction{}
				}
				return cloud.FaultAction{Kind: cloud.FaultHang}
			})
		}, VerdictInOrder, ExitOK},
		{"released", func(n *testNode) {
			n.apply()
			if _, err := Release(n.t.Context(), n.cfg, n.env); err != nil {
				n.t.Fatal(err)
			}
		}, VerdictNotConfigured, ExitNotGiven},
		{"taken out", func(n *testNode) {
			n.apply()
			s := n.state()
			s.Phase = PhaseWithdrawn
			if err := state.Save(n.env.Path(n.cfg.StateDir), s); err != nil {
				n.t.Fatal(err)
			}
		}, VerdictWithdrawn, ExitWithdrawn},
		{"of another instance", func(n *testNode) {
			n.apply()
			s := n.state()
			s.InstanceID = "i-0123456789abcdef0"
			if err := state.Save(n.env.Path(n.cfg.StateDir), s); err != nil {
				n.t.Fatal(err)
			}
		}, VerdictNotConfigured, ExitNotGiven},
		{"interrupted", func(n *testNode) {
			n.apply()
			s := n.state()
			s.Phase = PhaseAttached
			if err := state.Save(n.env.Path(n.cfg.StateDir), s); err != nil {
				n.t.Fatal(err)
			}
		}, VerdictDrifted, ExitDrifted},
		{"interrupted before the record", func(n *testNode) {
			n.apply()
			s := n.state()
			s.Unproven = []netip.Addr{s.Static}
			if err := state.Save(n.env.Path(n.cfg.StateDir), s); err != nil {
				n.t.Fatal(err)
			}
		}, VerdictDrifted, ExitDrifted},
		{"interrupted while it looked for another address", func(n *testNode) {
			n.apply()
			s := n.state()
			s.Intents = []netip.Addr{netip.MustParseAddr("10.0.1.24")}
			if err := state.Save(n.env.Path(n.cfg.StateDir), s); err != nil {
				n.t.Fatal(err)
			}
		}, VerdictDrifted, ExitDrifted},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{})
				test.before(n)
				s := n.inspect()
				var text, data bytes.Buffer
				if err := s.Render(&text, "text"); err != nil {
					t.Fatal(err)
				}
				if s.Verdict != test.verdict || s.ExitCode() != test.code {
					t.Errorf("%s (code %d), want %s (%d)", s.Verdict, s.ExitCode(), test.verdict, test.code)
				}
				golden.Is(t, "status-"+strings.ReplaceAll(test.name, " ", "-")+".txt", strings.ReplaceAll(text.String(), n.env.Root, ""))
				var back Status
				if err := s.Render(&data, "json"); err != nil || json.Unmarshal(data.Bytes(), &back) != nil || back.Verdict != s.Verdict || len(back.Kernel) != len(s.Kernel) {
					t.Errorf("%v\n%s", err, &data)
				}
			})
		})
	}
}
