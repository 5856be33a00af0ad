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

	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
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

func TestStatus(t *testing.T) {
	static := netip.MustParseAddr("10.0.1.21")
	tests := []struct {
		name    string
		before  func(n *testNode)
		verdict Verdict
		code    ExitCode
		lines   []string // of the human form
	}{
		{"in order", func(n *testNode) { n.withSystemd().apply() }, VerdictInOrder, ExitOK,
			[]string{"present  address 10.0.1.21/32", "present  5 of 5 chains and jumps", "present  EC2 gives 10.0.1.21", "present  record /emr-static-ip/", "active", "status     in order"}},
		{"never configured", func(*testNode) {}, VerdictNotConfigured, ExitNotGiven, []string{"status     not configured"}},
		{"address lost", func(n *testNode) { n.apply(); n.kernel.RemoveAddress(static) }, VerdictDrifted, ExitDrifted, []string{"missing  address 10.0.1.21"}},
		{"rules flushed", func(n *testNode) { n.apply(); n.kernel.FlushNAT() }, VerdictDrifted, ExitDrifted, []string{"missing  -N EMR-STATIC-IP-IN", "missing  -A POSTROUTING"}},
		{"unit edited", func(n *testNode) { n.withSystemd().apply(); n.write(n.env.Path(systemd.Dir+"/"+systemd.Timer), "x") }, VerdictDrifted, ExitDrifted,
			[]string{"differs  /etc/systemd/system/emr-static-ip-restore.timer"}},
		{"timer stopped", func(n *testNode) { n.withSystemd().apply(); n.active[systemd.Timer] = false }, VerdictDrifted, ExitDrifted, []string{"missing  emr-static-ip-restore.timer active"}},
		{"moved by somebody", func(n *testNode) { n.apply(); time.Sleep(3 * time.Minute); n.unassign(static) }, VerdictDrifted, ExitDrifted, []string{"missing  IMDS lists", "missing  EC2 gives"}},
		{"AWS and IMDS silent", func(n *testNode) { n.apply(); n.silent.Store(true) }, VerdictInOrder, ExitOK, []string{"unknown  EC2 gives", "unknown  record", "status     in order"}},
		{"AWS silent", func(n *testNode) {
			n.apply()
			n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
				if c.Service == "imds" {
					return cloud.FaultAction{}
				}
				return cloud.FaultAction{Kind: cloud.FaultHang}
			})
		}, VerdictInOrder, ExitOK, []string{"present  IMDS lists", "unknown  EC2 gives", "unknown  record"}},
		{"released", func(n *testNode) {
			n.apply()
			if _, err := Release(n.t.Context(), n.cfg, n.env); err != nil {
				n.t.Fatal(err)
			}
		}, VerdictNotConfigured, ExitNotGiven, []string{"last run   released"}},
		{"taken out", func(n *testNode) {
			n.apply()
			s := n.state()
			s.Phase = PhaseWithdrawn
			if err := SaveState(n.env.Path(n.cfg.StateDir), s); err != nil {
				n.t.Fatal(err)
			}
		}, VerdictWithdrawn, ExitWithdrawn, []string{"foreign  address 10.0.1.21", "foreign  -N EMR-STATIC-IP-IN"}},
		{"of another instance", func(n *testNode) {
			n.apply()
			s := n.state()
			s.InstanceID = "i-0123456789abcdef0"
			if err := SaveState(n.env.Path(n.cfg.StateDir), s); err != nil {
				n.t.Fatal(err)
			}
		}, VerdictNotConfigured, ExitNotGiven, []string{"another instance"}},
		{"interrupted", func(n *testNode) {
			n.apply()
			s := n.state()
			s.Phase = PhaseAttached
			if err := SaveState(n.env.Path(n.cfg.StateDir), s); err != nil {
				n.t.Fatal(err)
			}
		}, VerdictDrifted, ExitDrifted, []string{"did not finish"}},
		{"interrupted while it looked for another address", func(n *testNode) {
			n.apply()
			s := n.state()
			s.Intents = []netip.Addr{netip.MustParseAddr("10.0.1.24")}
			if err := SaveState(n.env.Path(n.cfg.StateDir), s); err != nil {
				n.t.Fatal(err)
			}
		}, VerdictDrifted, ExitDrifted, []string{"may have claimed [10.0.1.24]"}},
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
				for _, line := range test.lines {
					if !strings.Contains(text.String(), line) {
						t.Errorf("does not say %q", line)
					}
				}
				if t.Failed() {
					t.Log("\n" + text.String())
				}
				var back Status
				if err := s.Render(&data, "json"); err != nil || json.Unmarshal(data.Bytes(), &back) != nil || back.Verdict != s.Verdict || len(back.Kernel) != len(s.Kernel) {
					t.Errorf("%v\n%s", err, &data)
				}
			})
		})
	}
}
