package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// failing makes the node one whose run has failed, and is tried again.
func (n *testNode) failing(args ...string) {
	n.t.Helper()
	n.deny("ssm:GetParameters", "ssm:GetParametersByPath", "ssm:PutParameter")
	code, _, stderr := n.program(n.t.Context(), append([]string{"--on-error=continue"}, args...)...)
	if code != ExitOK || !systemd.RetryPending(n.env) || n.tag() == "" {
		n.t.Fatalf("exit code %d, tag %q\n%s", code, n.tag(), stderr)
	}
	n.cloud.Fault(nil)
}

// Where no timer retries, a retry by hand does not say that another run has succeeded.
func TestRetryByHandWithoutATimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.deny("ec2:AssignPrivateIpAddresses")
		if code, _, stderr := n.program(t.Context(), "--on-error=continue", "--no-units", "10.0.1.20", "10.0.1.21"); code != ExitOK || systemd.RetryPending(n.env) {
			t.Fatalf("exit code %d\n%s", code, stderr)
		}
		code, stdout, _ := n.program(t.Context(), "retry", "--on-error=continue", "--no-units", "--", "10.0.1.20", "10.0.1.21")
		if code != ExitOK {
			t.Errorf("exit code %d\n%s", code, stdout)
		}
		golden.Is(t, "retry-without-a-timer.txt", n.told(stdout))
	})
}

// A release ends the timer first: one that fails, or is killed or timed out in the middle, is not
// followed by a retry that gives the node an address again.
func TestReleaseThatFailsEndsRetries(t *testing.T) {
	messages := golden.Open(t, "release-with-retries.txt")
	for _, test := range []struct {
		name    string
		prepare func(n *testNode)
		args    []string
		code    ExitCode
		phase   Phase
	}{
		{"denied", func(n *testNode) { n.deny("ec2:UnassignPrivateIpAddresses") }, nil, ExitPermission, PhaseReleasing},
		{"out of time", func(n *testNode) {
			n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
				if c.Key() == "ec2:UnassignPrivateIpAddresses" {
					return cloud.FaultAction{Kind: cloud.FaultHang}
				}
				return cloud.FaultAction{}
			})
		}, []string{"--timeout", "20s"}, ExitDeadline, PhaseReleasing},
		{"no IMDS", func(n *testNode) { n.silent.Store(true) }, []string{"--imds-timeout", "5s"}, ExitUnreachable, PhaseProgrammed},
		{"the timer cannot be stopped", func(n *testNode) { n.failed = "stop"; n.deny("ec2:UnassignPrivateIpAddresses") }, nil, ExitPermission, PhaseReleasing},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{}).withSystemd()
				n.apply()
				n.failing("10.0.1.20", "10.0.1.25")
				args := n.unitArgs()
				time.Sleep(time.Second)
				test.prepare(n)
				code, _, stderr := n.program(t.Context(), append([]string{"release"}, test.args...)...)
				if code != test.code || n.state().Phase != test.phase {
					t.Errorf("release: exit code %d, phase %s\n%s", code, n.state().Phase, stderr)
				}
				if pending := systemd.RetryPending(n.env); pending != (n.failed == "stop") || n.active[systemd.RetryTimer] != pending {
					t.Errorf("retries are pending: %v, the timer is active: %v\n%s", pending, n.active[systemd.RetryTimer], stderr)
				}
				messages.Is(t, "release, "+test.name, n.told(stderr))
				// The service was started just before, or its timer is still there.
				n.cloud.Fault(nil)
				n.silent.Store(false)
				n.failed = ""
				time.Sleep(3 * time.Minute)
				uses := n.uses()
				code, stdout, stderr := n.program(t.Context(), args...)
				messages.Is(t, "retry, "+test.name, n.told(stdout))
				if code != ExitOK || n.state().Phase != test.phase || len(n.uses()) != len(uses) || systemd.RetryPending(n.env) {
					t.Errorf("retry: exit code %d, phase %s, uses %v, pending %v\n%s%s", code, n.state().Phase, n.uses(), systemd.RetryPending(n.env), stdout, stderr)
				}
				if code, stdout, stderr := n.program(t.Context(), "release"); code != ExitOK || n.state().Phase != PhaseReleased {
					t.Errorf("release again: exit code %d\n%s%s", code, stdout, stderr)
				}
				n.expectNoFailure()
			})
		})
	}
}

// A systemd that does not answer does not use up the time that EMR allows a release at the node's
// end.
func TestReleaseWithAHangingSystemd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.apply()
		n.failing("10.0.1.20", "10.0.1.25")
		n.env.Systemctl = func(ctx context.Context, args ...string) error {
			<-ctx.Done()
			return ctx.Err()
		}
		args := n.unitArgs()
		time.Sleep(time.Second)
		code, _, stderr := n.program(t.Context(), "release", "--timeout", "45s")
		if n.state().Phase != PhaseReleasing || len(n.uses()) > 0 || len(n.cloud.Parameters()) > 0 {
			t.Errorf("exit code %d, phase %s, uses %v\n%s", code, n.state().Phase, n.uses(), stderr)
		}
		n.env.Systemctl = n.systemctl
		code, stdout, _ := n.program(t.Context(), args...)
		if code != ExitOK || systemd.RetryPending(n.env) {
			t.Errorf("retry: exit code %d\n%s", code, stdout)
		}
		golden.Is(t, "retry-after-a-release.txt", n.told(stdout))
	})
}

// A failure after a release is tried again like any other.
func TestOnErrorAfterRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.apply()
		if code, _, stderr := n.program(t.Context(), "release"); code != ExitOK {
			t.Fatal(stderr)
		}
		n.failing(onErrorList...)
		n.silent.Store(true) // one attempt that gets nowhere
		if code, _, _ := n.program(t.Context(), append(n.unitArgs()[:1:1], append([]string{"--imds-timeout=5s"}, n.unitArgs()[1:]...)...)...); code != ExitUnreachable {
			t.Errorf("exit code %d", code)
		}
		n.silent.Store(false)
		if code, stdout, stderr := n.program(t.Context(), n.unitArgs()...); code != ExitOK || n.state().Phase != PhaseProgrammed {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
		n.expectNoFailure()
	})
}

// A run that fails while a release waits for it does not bring its timer back after the release.
func TestReleaseWhileARunFails(t *testing.T) {
	for _, retrying := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := newTestNode(t, cloud.Options{}).withSystemd()
			n.apply()
			args := append([]string{"--on-error=continue"}, "10.0.1.20", "10.0.1.25")
			if retrying {
				n.failing("10.0.1.20", "10.0.1.25")
				args = n.unitArgs()
			}
			_, _, stderr := n.programApplying(t.Context(), func(ctx context.Context, cfg Config, env Environment) (Report, error) {
				n.deny("ssm:GetParameters", "ssm:GetParametersByPath", "ssm:PutParameter")
				rep, err := Apply(ctx, cfg, env)
				if err == nil {
					t.Error("the run did not fail")
				}
				n.cloud.Fault(nil)
				time.Sleep(time.Second)
				if code, _, stderr := n.program(t.Context(), "release"); code != ExitOK {
					t.Errorf("release: exit code %d\n%s", code, stderr)
				}
				return rep, err
			}, args...)
			if !strings.Contains(stderr, "released") {
				t.Errorf("stderr does not tell of the release:\n%s", stderr)
			}
			n.expectNoFailure()
		})
	}
}

// A tag that could not be set is set by a later attempt.
func TestOnErrorTagIsSetLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.deny("ssm:PutParameter", "ec2:CreateTags")
		n.program(t.Context(), append([]string{"--on-error=continue"}, onErrorList...)...)
		if n.tag() != "" || !systemd.RetryPending(n.env) {
			t.Fatalf("tag %q, pending %v", n.tag(), systemd.RetryPending(n.env))
		}
		n.deny("ssm:PutParameter")
		messages := golden.Open(t, "onerror-tag-later.txt")
		for attempt := range 2 {
			time.Sleep(3 * time.Minute)
			calls := n.cloud.Counts()["ec2:CreateTags"].Calls
			code, _, stderr := n.program(t.Context(), n.unitArgs()...)
			if calls = n.cloud.Counts()["ec2:CreateTags"].Calls - calls; code != ExitPermission || calls != 2-2*attempt || n.tag() == "" {
				t.Errorf("attempt %d: exit code %d, %d CreateTags, tag %q\n%s", attempt, code, calls, n.tag(), stderr)
			}
			messages.Is(t, fmt.Sprint("attempt ", attempt+1), n.told(stderr))
		}
		n.cloud.Fault(nil)
		if code, _, stderr := n.program(t.Context(), n.unitArgs()...); code != ExitOK {
			t.Errorf("exit code %d\n%s", code, stderr)
		}
		n.expectNoFailure()
	})
}

// What is said about later attempts is true where the timer of an earlier run is there.
func TestOnErrorWithAnEarlierTimer(t *testing.T) {
	messages := golden.Open(t, "onerror-earlier-timer.txt")
	for _, test := range []struct {
		name    string
		prepare func(n *testNode)
		args    []string
		code    ExitCode
		stays   bool
	}{
		{"its own command line, of another version", nil, []string{"retry", "--on-error=continue", "--flag-of-another-version=1", "--", "10.0.1.20", "10.0.1.21", "10.0.1.22"}, ExitUsage, true},
		{"a wrong command line by hand", nil, []string{"--on-error=continue", "10.0.1.300"}, ExitOK, true},
		{"no units", nil, append([]string{"--on-error=continue", "--no-units"}, onErrorList...), ExitOK, false},
		{"no units, and the timer cannot be stopped", func(n *testNode) { n.failed = "stop" }, append([]string{"--on-error=continue", "--no-units"}, onErrorList...), ExitOK, true},
		{"the units cannot be brought up to date", func(n *testNode) { n.failed = "daemon-reload" }, append([]string{"--on-error=continue", "--snat-scope=all"}, onErrorList...), ExitOK, true},
		{"systemd is gone", func(n *testNode) { os.Remove(n.env.Path(systemd.RunDir)) }, append([]string{"--on-error=continue"}, onErrorList...), ExitOK, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{}).withSystemd()
				n.failing(onErrorList...)
				n.deny("ssm:PutParameter")
				if test.prepare != nil {
					test.prepare(n)
				}
				code, _, stderr := n.program(t.Context(), test.args...)
				if code != test.code || systemd.RetryPending(n.env) != test.stays || n.active[systemd.RetryTimer] != test.stays {
					t.Errorf("exit code %d, pending %v, active %v\n%s", code, systemd.RetryPending(n.env), n.active[systemd.RetryTimer], stderr)
				}
				if last, _, err := state.ReadLastError(n.env.Path(DefaultStateDir)); err != nil || last.List == "" || last.Count != 2 {
					t.Errorf("record %+v, %v", last, err)
				}
				messages.Is(t, test.name, n.told(stderr))
			})
		})
	}
}

// What an image brought along of another instance's failure is removed with the first attempt.
func TestOnErrorImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.failing(onErrorList...)
		args := n.unitArgs()
		n.rename("i-0123456789abcdef0")
		calls := n.cloud.Counts()["ec2:DeleteTags"].Calls
		code, stdout, stderr := n.program(t.Context(), args...)
		if code != ExitOK {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
		golden.Is(t, "retry-of-an-image.txt", n.told(stdout))
		if systemd.RetryPending(n.env) || n.active[systemd.RetryTimer] || host.Exists(n.env.Path(filepath.Join(DefaultStateDir, state.LastErrorFile))) || n.cloud.Counts()["ec2:DeleteTags"].Calls != calls {
			t.Errorf("pending %v, active %v", systemd.RetryPending(n.env), n.active[systemd.RetryTimer])
		}
	})
}

// rename makes the record of the last error one of another instance.
func (n *testNode) rename(instance string) {
	n.t.Helper()
	p := n.env.Path(filepath.Join(DefaultStateDir, state.LastErrorFile))
	n.write(p, strings.ReplaceAll(n.read(filepath.Join(DefaultStateDir, state.LastErrorFile)), n.InstanceID, instance))
}

// A run by hand with another list ends the retries of the former one, as soon as the list is found
// right; one that fails before, or repeats the list, leaves them, and says so.
func TestOnErrorNewerList(t *testing.T) {
	messages := golden.Open(t, "onerror-newer-list.txt")
	for _, test := range []struct {
		name    string
		args    []string
		prepare func(n *testNode)
		code    ExitCode
		stays   bool
	}{
		{"another list", []string{"10.0.1.20", "10.0.1.25"}, nil, ExitPermission, false},
		{"another list, by flag", []string{"--core-ips=10.0.1.25"}, nil, ExitPermission, false},
		{"the same list", []string{"10.0.1.20", "10.0.1.21-22"}, nil, ExitPermission, true},
		{"no list", nil, nil, ExitUsage, true},
		{"a list that is refused", []string{"10.0.1.20", "10.0.9.9"}, nil, ExitUsage, true},
		{"another list that is not come to", []string{"--imds-timeout=5s", "10.0.1.20", "10.0.1.25"}, func(n *testNode) { n.silent.Store(true) }, ExitUnreachable, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{}).withSystemd()
				n.failing(onErrorList...)
				n.deny("ssm:PutParameter")
				if test.prepare != nil {
					test.prepare(n)
				}
				code, _, stderr := n.program(t.Context(), test.args...)
				if code != test.code || systemd.RetryPending(n.env) != test.stays {
					t.Errorf("exit code %d, pending %v\n%s", code, systemd.RetryPending(n.env), stderr)
				}
				messages.Is(t, test.name, logWarnings(stderr, n.env.Root)+n.told(stderr))
			})
		})
	}
}
