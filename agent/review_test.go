package agent

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// Failing tests of the review of the claim protocol. Each says what should hold.

var (
	reviewA21 = netip.MustParseAddr("10.0.1.21")
	reviewA22 = netip.MustParseAddr("10.0.1.22")
)

func (n *testNode) throttle(actions ...string) {
	n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
		if !slices.Contains(actions, c.Key()) {
			return cloud.FaultAction{}
		}
		code := "ThrottlingException"
		if c.Service == "ec2" {
			code = "RequestLimitExceeded"
		}
		return cloud.FaultAction{Kind: cloud.FaultFail, Code: code, Message: "Rate exceeded", Status: 400}
	})
}

// other is another instance of the subnet, as node of the ledger.
func (n *testNode) other() *testNode {
	n.t.Helper()
	o, err := n.cloud.RunInstance(cloud.InstanceSpec{Subnet: n.SubnetID})
	if err != nil {
		n.t.Fatal(err)
	}
	other := n.as(o)
	other.env.HTTP = n.cloud.Transport(o.InstanceID)
	return other
}

func (n *testNode) ownRecord() string {
	return ssmcoord.Record{Instance: n.InstanceID, ENI: n.ENI, Role: "CORE", Time: time.Now()}.Render()
}

// A node does not fail for want of the networks of S3 and DynamoDB. The EC2 describe bucket is
// shared by the account.
func TestReviewThrottledPrefixLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.throttle("ec2:DescribePrefixLists")
		began := time.Now()
		_, err := Apply(t.Context(), n.cfg, n.env)
		if err != nil || len(n.uses()) == 0 {
			t.Errorf("after %s: uses %v, code %d, %v", time.Since(began), n.uses(), CodeOf(err), err)
		}
	})
}

// "The tag is a convenience: a node is not failed for it": run_name.go.
func TestReviewThrottledCreateTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.throttle("ec2:CreateTags")
		began := time.Now()
		_, err := Apply(t.Context(), n.cfg, n.env)
		if err != nil || len(n.cloud.Parameters()) == 0 {
			t.Errorf("after %s: uses %v, records %v, code %d, %v", time.Since(began), n.uses(), n.cloud.Parameters(), CodeOf(err), err)
		}
	})
}

// A run that fails has renamed the instance all the same, and says "nothing was changed".
func TestReviewFailedRunHidesNameTag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		o := n.other()
		o.assign(reviewA21)
		o.assign(reviewA22)
		rep, err := Apply(t.Context(), n.cfg, n.env)
		if CodeOf(err) != ExitNoAddress {
			t.Fatal(err)
		}
		for _, i := range n.cloud.Instances() {
			if i.InstanceID == n.InstanceID && i.Tags["Name"] != "test" && len(rep.Changes) == 0 {
				t.Errorf("the instance is named %q now, and the report has no change", i.Tags["Name"])
			}
		}
	})
}

// The address of an owner that is gone was taken over, the record is pending, and describe calls
// are late. A second run asks EC2 before it withdraws the address.
func TestReviewTakenOverAddressIsWithdrawnUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{RemapDelay: cloud.Exactly(20 * time.Second)}).withSystemd()
		n.cfg.Pools.Core = []netip.Addr{reviewA21}
		n.cfg.PutRate = 0.01
		n.putRecord("10.0.1.21", strings.ReplaceAll(n.ownRecord(), n.InstanceID, "i-0dead"))
		time.Sleep(time.Hour)
		n.apply()
		if !slices.Contains(n.uses(), reviewA21) || n.state().RecordDue.IsZero() {
			t.Fatal(n.uses(), n.state())
		}
		time.Sleep(5 * time.Second)
		plan, err := Plan(t.Context(), n.cfg, n.env)
		if err != nil {
			t.Error(err)
		}
		rep := n.apply()
		if !slices.Contains(n.uses(), reviewA21) || len(rep.Warnings) > 0 {
			t.Errorf("EC2 gives it, and was not asked:\nwarnings %q\nchanges %s\nplan said %s", rep.Warnings, strings.Join(rep.Changes, "\n"), strings.Join(plan.Changes, "\n"))
		}
	})
}

// A denied or throttled AssignPrivateIpAddresses does not mean that another interface has the
// address.
func TestReviewUnansweredQuestionTakesAddressOutOfUse(t *testing.T) {
	for name, fault := range map[string]func(n *testNode){
		"denied":    func(n *testNode) { n.deny("ec2:AssignPrivateIpAddresses") },
		"throttled": func(n *testNode) { n.throttle("ec2:AssignPrivateIpAddresses") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{RemapDelay: cloud.Exactly(20 * time.Second)}).withSystemd()
				n.apply()
				n.cfg.Exclude = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} // why the operator runs it again
				n.cfg.NameTag = false
				n.cfg.Timeout = 2 * time.Minute
				fault(n)
				rep, err := Apply(t.Context(), n.cfg, n.env)
				if !slices.Contains(n.uses(), reviewA21) || len(rep.Warnings) > 0 {
					t.Errorf("EC2 has the address on %v, records %v; the node uses %v, phase %s; code %d, %v; warnings %q", n.cloud.Holders(n.SubnetID, reviewA21),
						len(n.cloud.Parameters()), n.uses(), n.state().Phase, CodeOf(err), err, rep.Warnings)
				}
			})
		})
	}
}

// An operator moved the address, by the command that the tool prints, and the other node has
// recorded it. A rerun, or a release, of the first node whose describe call is late leaves that
// record alone.
func TestReviewRecordOfTheNextHolder(t *testing.T) {
	for name, do := range map[string]operation{"apply": Apply, "release": Release, "list changed": func(ctx context.Context, cfg Config, env Environment) (Report, error) {
		cfg.Pools.Core = []netip.Addr{reviewA22}
		return Apply(ctx, cfg, env)
	}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{RemapDelay: cloud.Exactly(20 * time.Second)})
				n.apply()
				time.Sleep(time.Minute)
				o := n.other()
				n.unassign(reviewA21)
				o.assign(reviewA21)
				o.putRecord("10.0.1.21", o.ownRecord())
				rep, err := do(t.Context(), n.cfg, n.env)
				if !strings.Contains(n.value("10.0.1.21"), o.InstanceID) {
					t.Errorf("EC2 has the address on %v of %s (this is %s, %s), the record is %q; code %d, changes %q, uses %v", n.cloud.Holders(n.SubnetID, reviewA21), o.InstanceID,
						n.InstanceID, n.ENI, n.value("10.0.1.21"), CodeOf(err), rep.Changes, n.uses())
				}
			})
		})
	}
}

// A run with another list is killed after EC2's assignment. The timer programs the kernel; it
// writes the pending record too, or says that it does not.
func TestReviewTimerProgramsAndNeverRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.apply()
		time.Sleep(time.Minute)
		n.cfg.Pools.Core = []netip.Addr{reviewA22}
		save := n.env.SaveState
		n.env.SaveState = func(dir string, content []byte) error { // killed before PhaseProgrammed
			if text := string(content); strings.Contains(text, `"phase": "programmed"`) && strings.Contains(text, `"static": "10.0.1.22"`) {
				return context.Canceled
			}
			return state.Write(dir, content)
		}
		if _, err := Apply(t.Context(), n.cfg, n.env); err == nil {
			t.Fatal("not killed")
		}
		n.env.SaveState = save
		for range 10 {
			time.Sleep(time.Minute)
			n.restore(exit.OK)
		}
		if slices.Contains(n.uses(), reviewA22) && n.value("10.0.1.22") == "" {
			rep := n.restore(exit.OK)
			t.Errorf("%v in use for 10 minutes, no record, due since %s, phase %s; the restore says %q %q", n.uses(), n.state().RecordDue, n.state().Phase, rep.Warnings, rep.Notes)
		}
	})
}

// A release does not wait for the record. EMR gives the shutdown action 60 s, and the action gives
// the release 45 s.
func TestReviewReleaseWaitsForThrottledRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.cfg.PutRate = 0.01
		n.apply()
		time.Sleep(time.Until(n.state().RecordDue))
		n.throttle("ssm:PutParameter")
		done := make(chan error)
		go func() {
			cfg := DefaultConfig()
			cfg.Timeout = 50 * time.Second // as in the unit
			_, err := Restore(t.Context(), cfg, n.env)
			done <- err
		}()
		time.Sleep(time.Second)
		cfg := n.cfg
		cfg.Timeout = 45 * time.Second // as in the shutdown action
		began := time.Now()
		_, err := Release(t.Context(), cfg, n.env)
		t.Logf("the release took %s", time.Since(began))
		if err != nil {
			t.Errorf("code %d: %v; EC2 still has it on %v", CodeOf(err), err, n.cloud.Holders(n.SubnetID, reviewA21))
		}
		<-done
	})
}

// The clock was a day ahead when the run wrote the state file, as before the first synchronization.
func TestReviewRecordDueByAWrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.cfg.PutRate = 0.01
		n.apply()
		n.editState(func(v map[string]any) {
			for _, key := range []string{"written", "record_due"} {
				at, err := time.Parse(time.RFC3339Nano, v[key].(string))
				if err != nil {
					t.Fatal(err)
				}
				v[key] = at.Add(24 * time.Hour)
			}
		})
		time.Sleep(time.Hour)
		if rep := n.restore(exit.OK); len(n.cloud.Parameters()) == 0 {
			t.Errorf("an hour later there is no record, and the restore says %q", rep.Warnings)
		}
	})
}

// The run reached AWS by a setting of its environment. The timer that is to write its record does
// not have it.
func TestReviewTimerHasNoEnvironment(t *testing.T) {
	for variable, value := range map[string]string{"HTTPS_PROXY": "http://10.0.1.5:3128", "AWS_ENDPOINT_URL_SSM": "https://vpce-1.ssm.us-east-1.vpce.amazonaws.com"} {
		t.Run(variable, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{}).withSystemd()
				n.env.LookupEnv = func(name string) (string, bool) {
					if name == variable {
						return value, true
					}
					return "", false
				}
				n.cfg.PutRate = 0.01
				n.apply()
				if unit := n.read(systemd.Dir + "/" + systemd.Service); !n.state().RecordDue.IsZero() && !strings.Contains(unit, variable) {
					t.Errorf("the record is left to a unit without the run's %s", variable)
				}
			})
		})
	}
}

// The list is changed and PutParameter is denied. The node must not lose its working address.
func TestReviewDeniedRecordAfterListChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.apply()
		time.Sleep(time.Minute)
		n.cfg.Pools.Core = []netip.Addr{reviewA22}
		n.deny("ssm:PutParameter")
		rep, err := Apply(t.Context(), n.cfg, n.env)
		if len(n.uses()) == 0 {
			t.Errorf("code %d: the node had %s and uses nothing; changes %q", CodeOf(err), reviewA21, rep.Changes)
		}
	})
}

// A record cannot be read and a describe call is late. EC2 confirms the address in use, and the run
// keeps it.
func TestReviewConfirmedAddressIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{RemapDelay: cloud.Exactly(20 * time.Second)})
		n.apply()
		n.putRecord("10.0.1.21", "garbage")
		n.cfg.NameTag = false
		rep := n.apply()
		if rep.Static != reviewA21 {
			t.Errorf("it had %s, and has %s: %q", reviewA21, rep.Static, rep.Changes)
		}
	})
}

// A run is ended while its PutParameter is under way, and the release that follows is faster: no
// record names a node that has released its address, for as long as that node lives.
func TestReviewRecordAfterRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		ctx, kill := context.WithCancel(t.Context())
		n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
			if c.Action != "PutParameter" {
				return cloud.FaultAction{}
			}
			return cloud.FaultAction{Kind: cloud.FaultLate, Late: 5 * time.Second, Then: kill}
		})
		if _, err := Apply(ctx, n.cfg, n.env); err == nil || n.state().RecordDue.IsZero() {
			t.Fatal("not killed", err)
		}
		n.cloud.Fault(nil)
		if _, err := Release(t.Context(), n.cfg, n.env); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		for range 2 {
			rep, err := Release(t.Context(), n.cfg, n.env)
			if left := n.cloud.Parameters(); len(left) > 0 {
				t.Errorf("released, and the record is %v; another release: %q, %v", left, rep.Changes, err)
			}
		}
	})
}
