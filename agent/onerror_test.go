package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// program runs the command line on the node, as a process of it would.
func (n *testNode) program(ctx context.Context, args ...string) (code ExitCode, stdout, stderr string) {
	n.t.Helper()
	return n.programApplying(ctx, Apply, args...)
}

// operation is the type of Apply, Release and Restore.
type operation = func(context.Context, Config, Environment) (Report, error)

// Package cli imports this package, so that its tests cannot import cli. program_test.go sets
// these.
var (
	// CommandLine runs the command line with another function in the place of Apply.
	CommandLine func(ctx context.Context, apply operation, args []string, env Environment) ExitCode
	NewLogger   func(w io.Writer, format string, verbose bool) *zap.Logger
)

func (n *testNode) programApplying(ctx context.Context, apply operation, args ...string) (code ExitCode, stdout, stderr string) {
	n.t.Helper()
	var out, errOut bytes.Buffer
	env := n.env
	env.Stdout, env.Stderr = &out, &errOut
	code = CommandLine(ctx, apply, args, env)
	return code, out.String(), errOut.String()
}

// tag is the instance's tag that tells of an error.
func (n *testNode) tag() string {
	for _, i := range n.cloud.Instances() {
		if i.InstanceID == n.InstanceID {
			return i.Tags[tagError]
		}
	}
	n.t.Fatal("no such instance")
	return ""
}

// deny makes EC2 or Parameter Store deny the node some actions.
func (n *testNode) deny(actions ...string) { n.on().Deny(actions...) }

var onErrorList = []string{"10.0.1.20", "10.0.1.21", "10.0.1.22"}

// unitArgs returns what the installed service starts the program with.
func (n *testNode) unitArgs() []string { return n.on().RetryArgs() }

// A failure that is suppressed is loud in the log, in the tag and in status; the timer's run ends
// it when the cause is gone, and then nothing of it is left.
func TestOnErrorContinue(t *testing.T) {
	messages := golden.Open(t, "onerror.txt")
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.deny("ssm:PutParameter")
		code, stdout, stderr := n.program(t.Context(), append([]string{"--on-error", "continue", "--snat-scope=all"}, onErrorList...)...)
		if code != ExitOK || stdout != "" {
			t.Errorf("exit code %d\n%s", code, stdout)
		}
		messages.Is(t, "the failure", n.told(stderr))
		messages.Is(t, "the tag", n.told(n.tag()))
		if got := n.tag(); got == "" || len(got) > 256 || !strings.Contains(got, "PutParameter") || strings.ContainsAny(got, "\x1b\n\\") {
			t.Errorf("tag %q", got)
		}
		want := []string{"retry", "--snat-scope=all", "--on-error=continue", "--", "10.0.1.20", "10.0.1.21", "10.0.1.22"}
		if got := n.unitArgs(); !slices.Equal(got, want) || !n.active[systemd.RetryTimer] {
			t.Errorf("the service runs %q, want %q; the timer is active: %v", got, want, n.active[systemd.RetryTimer])
		}
		if info, err := os.Stat(n.env.Path(filepath.Join(DefaultStateDir, state.LastErrorFile))); err != nil || info.Mode() != 0o600 {
			t.Errorf("record: %v, %v", info, err)
		}

		// status shows it to people and to programs.
		_, text, _ := n.program(t.Context(), "status")
		messages.Is(t, "status", n.told(text))
		_, text, _ = n.program(t.Context(), "status", "-o", "json")
		var status struct {
			Last struct {
				Code     int       `json:"exit_code"`
				Error    string    `json:"error"`
				Last     time.Time `json:"last"`
				Count    int       `json:"count"`
				Retrying bool      `json:"retrying"`
			} `json:"last_error"`
		}
		if err := json.Unmarshal([]byte(text), &status); err != nil || status.Last.Code != 4 || status.Last.Count != 1 || !status.Last.Retrying || time.Since(status.Last.Last) > time.Minute {
			t.Errorf("%v in %s", err, text)
		}

		// The timer fires, and the cause is still there. systemd sees the exit code, and EC2 is not
		// asked to set the same tag again.
		time.Sleep(3 * time.Minute)
		set := n.cloud.Counts()["ec2:CreateTags"].Calls
		code, _, stderr = n.program(t.Context(), n.unitArgs()...)
		messages.Is(t, "the second attempt", n.told(stderr))
		if code != ExitPermission || n.cloud.Counts()["ec2:CreateTags"].Calls != set {
			t.Errorf("second attempt: exit code %d, %d CreateTags\n%s", code, n.cloud.Counts()["ec2:CreateTags"].Calls-set, stderr)
		}
		if last, _, err := state.ReadLastError(n.env.Path(DefaultStateDir)); err != nil || last.Count != 2 || !last.First.Before(last.Last) {
			t.Errorf("record %+v, %v", last, err)
		}

		// The cause is gone.
		args := n.unitArgs()
		n.cloud.Fault(nil)
		code, stdout, stderr = n.program(t.Context(), args...)
		if code != ExitOK {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
		messages.Is(t, "the attempt that succeeds", n.told(stdout))
		n.expectNoFailure()
		if code, stdout, _ := n.program(t.Context()); code != ExitOK || !strings.Contains(stdout, "\nchanged=0 ") {
			t.Errorf("exit code %d\n%s", code, stdout)
		}
		if code, stdout, _ := n.program(t.Context(), "status"); code != ExitOK || strings.Contains(stdout, "error") {
			t.Errorf("exit code %d\n%s", code, stdout)
		}
		// The service was started once more just before its timer was removed.
		code, stdout, _ = n.program(t.Context(), args...)
		if code != ExitOK {
			t.Errorf("exit code %d\n%s", code, stdout)
		}
		messages.Is(t, "an attempt after that", n.told(stdout))
	})
}

// expectNoFailure checks that nothing is left of a failure that was suppressed.
func (n *testNode) expectNoFailure() {
	n.t.Helper()
	left, _ := filepath.Glob(n.env.Path(systemd.Dir) + "/*retry*")
	links, _ := filepath.Glob(n.env.Path(systemd.Dir) + "/*.wants/*retry*")
	if n.tag() != "" || len(left)+len(links) > 0 || n.active[systemd.RetryTimer] || host.Exists(n.env.Path(filepath.Join(DefaultStateDir, state.LastErrorFile))) {
		n.t.Errorf("left: tag %q, units %q %q, timer active %v, record %v", n.tag(), left, links, n.active[systemd.RetryTimer],
			host.Exists(n.env.Path(filepath.Join(DefaultStateDir, state.LastErrorFile))))
	}
}

// What cannot be done after a failure is said, and the rest is done.
func TestOnErrorContinueWithoutSomething(t *testing.T) {
	messages := golden.Open(t, "onerror-without.txt")
	for _, test := range []struct {
		name   string
		change func(n *testNode)
		args   []string

		tagged bool
	}{
		{"no systemd", func(n *testNode) { n.deny("ssm:PutParameter") }, onErrorList, true},
		{"no units", func(n *testNode) { n.withSystemd().deny("ssm:PutParameter") }, append([]string{"--no-units"}, onErrorList...), true},
		{"no permission to tag", func(n *testNode) { n.withSystemd().deny("ssm:PutParameter", "ec2:CreateTags") }, onErrorList,
			false},
		{"systemctl fails", func(n *testNode) { n.withSystemd().deny("ssm:PutParameter"); n.failed = "enable" }, onErrorList,
			true},
		{"no IMDS", func(n *testNode) { n.withSystemd().silent.Store(true) }, append([]string{"--imds-timeout", "10s"}, onErrorList...),
			false},
		{"a state directory that others write", func(n *testNode) {
			n.withSystemd()
			n.write(n.env.Path(filepath.Join(DefaultStateDir, "lock")), "")
			if err := os.Chmod(n.env.Path(DefaultStateDir), 0o777); err != nil {
				n.t.Fatal(err)
			}
		}, onErrorList, true},
		{"an address outside the subnet", func(n *testNode) { n.withSystemd() }, []string{"10.0.9.1", "10.0.9.2"}, true},
		{"a wrong command line", func(n *testNode) { n.withSystemd() }, []string{"10.0.1.300", "--bogus"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{})
				test.change(n)
				code, _, stderr := n.program(t.Context(), append([]string{"--on-error=continue"}, test.args...)...)
				if code != ExitOK {
					t.Errorf("exit code %d", code)
				}
				messages.Is(t, test.name, n.told(stderr))
				if tag := n.tag(); (tag != "") != test.tagged {
					t.Errorf("tag %q", tag)
				}
				if t.Failed() {
					t.Log(stderr)
				}
				// Whatever was left, a run that succeeds clears it.
				n.cloud.Fault(nil)
				n.silent.Store(false)
				n.failed = ""
				if err := os.Chmod(n.env.Path(DefaultStateDir), 0o700); err != nil {
					t.Error(err)
				}
				if code, stdout, stderr := n.program(t.Context(), onErrorList...); code != ExitOK {
					t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
				}
				n.expectNoFailure()
				if code, stdout, _ := n.program(t.Context(), onErrorList...); code != ExitOK || !strings.Contains(stdout, "\nchanged=0 ") {
					t.Errorf("exit code %d\n%s", code, stdout)
				}
			})
		})
	}
}

// Without the flag, for other commands, and for signals, a failure is a failure, and nothing is
// recorded.
func TestOnErrorFail(t *testing.T) {
	for _, test := range []struct {
		args   []string
		env    string
		signal bool
		want   ExitCode
	}{
		{onErrorList, "", false, ExitPermission},
		{append([]string{"--on-error", "fail"}, onErrorList...), "continue", false, ExitPermission},
		{append([]string{"--dry-run", "--on-error", "continue"}, "10.0.9.1"), "", false, ExitUsage},
		{append([]string{"plan", "--on-error", "continue"}, "10.0.9.1"), "", false, ExitUsage},
		{[]string{"release", "--on-error", "continue"}, "", false, ExitUsage},
		{[]string{"--on-error", "perhaps", "10.0.1.300"}, "", false, ExitUsage},
		{onErrorList, "continue", true, ExitTerminate},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{}).withSystemd()
				n.deny("ssm:PutParameter")
				n.env.LookupEnv = func(name string) (string, bool) {
					if name == "EMR_STATIC_IP_ON_ERROR" {
						return test.env, true
					}
					return "", false
				}
				ctx := t.Context()
				if test.signal {
					var end context.CancelCauseFunc
					ctx, end = context.WithCancelCause(ctx)
					end(&exit.SignalError{Signal: syscall.SIGTERM})
				}
				code, _, stderr := n.program(ctx, test.args...)
				if code != test.want || strings.Contains(stderr, "suppressed") {
					t.Errorf("exit code %d, want %d\n%s", code, test.want, stderr)
				}
				n.expectNoFailure()
			})
		})
	}
}

// A signal that comes while a suppressed failure is being recorded is obeyed.
func TestOnErrorSignalLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
			switch c.Key() {
			case "ssm:PutParameter":
				return cloud.FaultAction{Kind: cloud.FaultFail, Code: "AccessDeniedException", Status: 400}
			case "ec2:CreateTags":
				time.AfterFunc(time.Second, func() { cancel(&exit.SignalError{Signal: syscall.SIGTERM}) })
				return cloud.FaultAction{Kind: cloud.FaultHang}
			}
			return cloud.FaultAction{}
		})
		began := time.Now()
		if code, _, stderr := n.program(ctx, append([]string{"--on-error=continue"}, onErrorList...)...); code != ExitTerminate || time.Since(began) > 10*time.Second {
			t.Errorf("exit code %d after %v\n%s", code, time.Since(began), stderr)
		}
	})
}

// release clears what a failure has left.
func TestOnErrorRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.apply()
		n.deny("ssm:GetParameters", "ssm:GetParametersByPath")
		if code, _, stderr := n.program(t.Context(), "--on-error=continue", "10.0.1.20", "10.0.1.25"); code != ExitOK || n.tag() == "" {
			t.Fatalf("exit code %d, tag %q\n%s", code, n.tag(), stderr)
		}
		if code, stdout, _ := n.program(t.Context(), "status"); code != ExitDrifted || !strings.Contains(stdout, "\nbecause ") {
			t.Errorf("status: exit code %d\n%s", code, stdout)
		}
		n.cloud.Fault(nil)

		if code, stdout, stderr := n.program(t.Context(), "release"); code != ExitOK {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
		n.expectNoFailure()
		if code, stdout, _ := n.program(t.Context(), "release"); code != ExitOK || !strings.Contains(stdout, "\nchanged=0 ") {
			t.Errorf("again: exit code %d\n%s", code, stdout)
		}
	})
}

// If the permission to remove the tag is missing, the run succeeds with a warning that names it.
// Status and later runs know of the tag.
func TestOnErrorTagThatStays(t *testing.T) {
	for _, nameTag := range []bool{true, false} { // without it a run does not see the instance's tags
		synctest.Test(t, func(t *testing.T) {
			n := newTestNode(t, cloud.Options{}).withSystemd()
			n.cfg.NameTag = nameTag
			n.deny("ssm:PutParameter")
			n.program(t.Context(), append([]string{"--on-error=continue"}, onErrorList...)...)
			n.deny("ec2:DeleteTags")
			for again := range 2 {
				rep := n.apply()
				if !strings.Contains(strings.Join(rep.Warnings, "\n"), "allow ec2:DeleteTags") || systemd.RetryPending(n.env) || again > 0 && len(rep.Changes) > 0 {
					t.Errorf("warnings %q, changes %q", rep.Warnings, rep.Changes)
				}
			}
			code, stdout, _ := n.program(t.Context(), "status")
			if code != ExitOK {
				t.Errorf("status: exit code %d\n%s", code, stdout)
			}
			golden.Is(t, "tag-that-stays.txt", n.told(stdout))
			// A new failure is one of its own.
			tag := n.tag()
			time.Sleep(time.Hour)
			n.deny("ssm:GetParameters")
			n.program(t.Context(), append([]string{"--on-error=continue"}, onErrorList...)...)
			last, _, err := state.ReadLastError(n.env.Path(DefaultStateDir))
			if err != nil || last.Count != 1 || last.Over || time.Since(last.First) > time.Minute || n.tag() == tag {
				t.Errorf("record %+v, %v, tag %q", last, err, n.tag())
			}
			n.cloud.Fault(nil)
			n.apply()
			n.expectNoFailure()
		})
	}
}

// A healthy run makes no call for what has not happened.
func TestOnErrorCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.apply()
		n.cfg.OnError = OnErrorContinue
		rep := n.apply()
		if rep.Calls["ec2:DeleteTags"]+rep.Calls["ec2:CreateTags"] > 0 || len(rep.Changes) > 0 {
			t.Errorf("calls %v, changes %q", rep.Calls, rep.Changes)
		}
	})
}
