package agent

import (
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"math/rand/v2"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// A run makes no call to AWS that it could do without.
func TestCallsOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{Latency: promptly})
		is := func(what string, rep Report, want map[string]int) {
			t.Helper()
			if !maps.Equal(rep.Calls, want) {
				t.Errorf("%s: %v, want %v", what, rep.Calls, want)
			}
		}
		is("first run", n.apply(), map[string]int{"ec2:DescribeInstances": 1, "ssm:GetParameters": 1, "ec2:AssignPrivateIpAddresses": 1,
			"ec2:DescribePrefixLists": 1, "ec2:CreateTags": 1, "ssm:PutParameter": 1})
		time.Sleep(time.Minute)
		rep := n.apply()
		is("rerun", rep, map[string]int{"ec2:DescribeNetworkInterfaces": 1, "ssm:GetParameters": 1})
		if len(rep.Changes) > 0 {
			t.Errorf("a rerun changes %q", rep.Changes)
		}
		is("restore", n.restore(exit.OK), map[string]int{})
		rep, err := Release(t.Context(), n.cfg, n.env)
		if err != nil {
			t.Error(err)
		}
		is("release", rep, map[string]int{"ec2:DescribeNetworkInterfaces": 1, "ssm:GetParameters": 1, "ssm:DeleteParameter": 1, "ec2:UnassignPrivateIpAddresses": 1})
		if rep, err = Release(t.Context(), n.cfg, n.env); err != nil || len(rep.Calls) > 0 {
			t.Errorf("a second release: %v, %v", rep.Calls, err)
		}
	})
}

// What does not depend on each other is done at the same time: EC2 has given the address after two
// round trips, and the record follows after the kernel.
func TestRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{Latency: promptly})
		n.apply()
		at, first := map[string]time.Duration{}, time.Time{}
		for _, c := range n.cloud.Calls() {
			if c.Service == "imds" {
				continue
			}
			if first.IsZero() {
				first = c.Time
			}
			at[c.Action] = c.Time.Sub(first).Round(promptly(nil, cloud.Call{}))
		}
		const trip = 30 * time.Millisecond
		want := map[string]time.Duration{"DescribeInstances": 0, "DescribePrefixLists": 0, "GetParameters": 0, "AssignPrivateIpAddresses": trip, "CreateTags": 2 * trip, "PutParameter": 2 * trip}
		if !maps.Equal(at, want) {
			t.Errorf("calls at %v, want %v", at, want)
		}
	})
}

func promptly(*rand.Rand, cloud.Call) time.Duration { return 30 * time.Millisecond }

// A denied PutParameter is met after the assignment: the run takes everything back.
func TestRecordMayNotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.deny("ssm:PutParameter")
		rep, err := Apply(t.Context(), n.cfg, n.env)
		if exit.CodeOf(err) != exit.Permission || !strings.Contains(strings.Join(exit.Remedies(err), ""), "ssm:PutParameter") || rep.Static.IsValid() {
			t.Errorf("%v %q, %v", err, exit.Remedies(err), rep.Static)
		}
		left := n.cloud.Holders(n.SubnetID, n.cfg.Pools.Core[0])
		if len(n.uses()) > 0 || n.kernel.Rules() != "" || len(left) > 0 || len(n.cloud.Parameters()) > 0 || host.Exists(n.env.Path(systemd.Dir+"/"+systemd.Timer)) {
			t.Errorf("left: in use %v, on %v, records %v, rules %s", n.uses(), left, n.cloud.Parameters(), n.kernel.Rules())
		}
		n.cloud.Fault(nil)
		if rep := n.apply(); rep.Static != n.cfg.Pools.Core[0] {
			t.Errorf("then it has %s", rep.Static)
		}
		// A node that has its address keeps it.
		n.cloud.Fault(nil)
		time.Sleep(time.Minute)
		n.putRecord("10.0.1.21", strings.ReplaceAll(n.value("10.0.1.21"), n.InstanceID, "i-0dead"))
		n.deny("ssm:PutParameter")
		if _, err := Apply(t.Context(), n.cfg, n.env); exit.CodeOf(err) != exit.Permission || len(n.uses()) != 1 {
			t.Errorf("a node in use: %v, uses %v", err, n.uses())
		}
	})
}

// In a large launch the run ends before its turn to write the record, which the timer writes then.
func TestRecordPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.cfg.PutRate = 0.01 // so that the second member's turn is minutes away
		began := time.Now()
		rep := n.apply()
		due := n.state().RecordDue
		if took := time.Since(began); took > time.Second {
			t.Errorf("after %s: %q", took, rep.Warnings)
		}
		messages := golden.Open(t, "record-pending.txt")
		messages.Is(t, "the run", n.told(strings.Join(rep.Warnings, "\n")))
		if len(n.uses()) != 1 || len(n.cloud.Parameters()) > 0 || time.Until(due) < time.Minute {
			t.Fatalf("uses %v, records %v, due in %s", n.uses(), n.cloud.Parameters(), time.Until(due))
		}
		s := n.inspect()
		if s.Verdict != VerdictInOrder || s.Ledger.State != itemPending {
			t.Errorf("status %s: %+v, %q", s.Verdict, s.Ledger, s.Notes)
		}
		messages.Is(t, "status", n.told(strings.Join(s.Notes, "\n")))
		if rep := n.restore(exit.OK); len(rep.Calls) > 0 || len(rep.Changes) > 0 {
			t.Errorf("a restore before the turn: %v, %q", rep.Calls, rep.Changes)
		}
		time.Sleep(time.Until(due) - 20*time.Second)
		// The timer meets trouble, says so, and tries again.
		n.deny("ssm:PutParameter")
		rep = n.restore(exit.OK)
		if n.state().RecordDue.IsZero() {
			t.Errorf("denied: %q", rep.Warnings)
		}
		messages.Is(t, "a restore that is denied", n.told(strings.Join(rep.Warnings, "\n")))
		n.cloud.Fault(nil)
		if rep := n.restore(exit.OK); !maps.Equal(rep.Calls, map[string]int{"ssm:PutParameter": 1}) || len(rep.Changes) != 1 {
			t.Errorf("at the turn: %v, %q", rep.Calls, rep.Changes)
		}
		if got := n.cloud.Parameters(); len(got) != 1 || !strings.Contains(got[0].Value, n.InstanceID) || !n.state().RecordDue.IsZero() {
			t.Errorf("records %v", got)
		}
		if rep := n.restore(exit.OK); len(rep.Calls) > 0 {
			t.Errorf("afterwards: %v", rep.Calls)
		}
		if s := n.inspect(); s.Verdict != VerdictInOrder || s.Ledger.State != itemPresent {
			t.Errorf("status %s: %+v", s.Verdict, s.Ledger)
		}
	})
}

// A run by hand, and a release, do not wait for the timer.
func TestRecordPendingAndAnotherRun(t *testing.T) {
	for name, do := range map[string]operation{"apply": Apply, "release": Release} {
		synctest.Test(t, func(t *testing.T) {
			n := newTestNode(t, cloud.Options{}).withSystemd()
			n.cfg.PutRate = 0.01
			n.apply()
			if _, err := do(t.Context(), n.cfg, n.env); err != nil {
				t.Fatal(name, err)
			}
			if got := len(n.cloud.Parameters()); (got == 1) != (name == "apply") || !n.state().RecordDue.IsZero() {
				t.Errorf("%s: %d records, due %s", name, got, n.state().RecordDue)
			}
			n.cloud.ForgetCalls()
			n.restore(exit.OK)
			if got := len(n.cloud.Parameters()); (got == 1) != (name == "apply") {
				t.Errorf("a restore after %s: %d records", name, got)
			}
		})
	}
}

// Without a timer the run waits for its turn.
func TestRecordPendingWithoutATimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.cfg.PutRate = 0.01
		began := time.Now()
		if n.apply(); time.Since(began) < time.Minute || len(n.cloud.Parameters()) != 1 {
			t.Errorf("after %s: records %v", time.Since(began), n.cloud.Parameters())
		}
	})
}

// A record that Parameter Store does not take before the deadline is the timer's. Without a timer
// the run fails, and the state file says that the record is due.
func TestRecordNotTaken(t *testing.T) {
	messages := golden.Open(t, "record-not-taken.txt")
	for _, test := range []struct {
		name    string
		fault   cloud.FaultAction
		systemd bool
		code    exit.Code
	}{
		{"throttled", cloud.FaultAction{Kind: cloud.FaultFail, Code: "ThrottlingException", Message: "Rate exceeded", Status: 400}, true, exit.OK},
		{"unreachable", cloud.FaultAction{Kind: cloud.FaultHang}, true, exit.OK},
		{"throttled, without a timer", cloud.FaultAction{Kind: cloud.FaultFail, Code: "ThrottlingException", Message: "Rate exceeded", Status: 400}, false, exit.Deadline},
		{"refused", cloud.FaultAction{Kind: cloud.FaultFail, Code: "ParameterLimitExceeded", Message: "10000", Status: 400}, true, exit.Internal},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{})
				if test.systemd {
					n.withSystemd()
				}
				n.cfg.Timeout = 3 * time.Minute
				n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
					if c.Key() != "ssm:PutParameter" {
						return cloud.FaultAction{}
					}
					return test.fault
				})
				rep, err := Apply(t.Context(), n.cfg, n.env)
				if exit.CodeOf(err) != test.code || rep.Duration > n.cfg.Timeout {
					t.Fatalf("after %s: %v (code %d), want code %d", rep.Duration, err, exit.CodeOf(err), test.code)
				}
				s := n.state()
				if len(n.uses()) != 1 || s.Phase != state.Programmed || s.RecordDue.IsZero() || len(n.cloud.Parameters()) > 0 {
					t.Fatalf("uses %v, phase %s, record due %s, records %v", n.uses(), s.Phase, s.RecordDue, n.cloud.Parameters())
				}
				if n.active[systemd.Timer] != test.systemd {
					t.Errorf("timer active: %t; warnings %q", n.active[systemd.Timer], rep.Warnings)
				}
				messages.Is(t, test.name, n.told(strings.Join(rep.Warnings, "\n")))
				n.cloud.Fault(nil)
				n.restore(exit.OK)
				if got := n.cloud.Parameters(); len(got) != 1 || !strings.Contains(got[0].Value, n.InstanceID) || !n.state().RecordDue.IsZero() {
					t.Errorf("after a restore: records %v, due %s", got, n.state().RecordDue)
				}
			})
		})
	}
}
