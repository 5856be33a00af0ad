package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// TestDoctorTagging takes each tagging permission away. Doctor must name those that --on-error
// continue needs beside the Name tag.
func TestDoctorTagging(t *testing.T) {
	messages := golden.Open(t, "tagging.txt")
	const setting, clearing = "permission ec2:CreateTags " + ec2.ErrorTag, "permission ec2:DeleteTags " + ec2.ErrorTag
	for _, test := range []struct {
		name        string
		action, key string // denied
		keepName    bool
		continues   bool
		not         []string // not ok

	}{
		{"all is allowed", "", "", false, true, nil},
		{"no tag is removed", "ec2:DeleteTags", "", false, true, []string{clearing}},
		{"no tag is set, none is wanted for the name", "ec2:CreateTags", "", true, true, []string{setting}},
		{"only the name", "ec2:CreateTags", ec2.ErrorTag, false, true, []string{setting}},
		{"only the error", "ec2:CreateTags", ec2.TagName, false, true, []string{"permission ec2:CreateTags"}},
		{"a failure is not suppressed", "ec2:DeleteTags", "", true, false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, _ := newNode(t, cloud.Options{Authorize: func(a cloud.AccessRequest) error {
					if a.Action == test.action && (test.key == "" || slices.Contains(a.Contexts[0]["aws:tagkeys"], test.key)) {
						return errors.New("taken out")
					}
					return nil
				}})
				n.cfg.NameTag = !test.keepName
				if test.continues {
					n.cfg.OnError = agent.OnErrorContinue
				}
				d := n.doctor()
				expectOnly(t, d, exit.OK, test.not...)
				if len(test.not) > 0 {
					expect(t, d, test.not[len(test.not)-1], resultWarning)
					messages.Is(t, test.name, said(d, notOK(d)...))
				} else if test.continues {
					expect(t, d, setting, resultOK)
					expect(t, d, clearing, resultOK)
					messages.Is(t, test.name, said(d, setting, clearing))
				}
			})
		})
	}
}

// TestDoctorLastError: a failure that --on-error continue suppressed, and what keeps retrying.
func TestDoctorLastError(t *testing.T) {
	messages := golden.Open(t, "last-error.txt")
	for _, test := range []struct {
		name    string
		prepare func(n *testNode)
		result  string
	}{
		{"a timer keeps retrying", func(*testNode) {}, resultWarning},
		{"the timer has been stopped", func(n *testNode) { n.Active[systemd.RetryTimer] = false }, resultWarning},
		{"no retry is scheduled", func(n *testNode) {
			for _, u := range []string{systemd.RetryService, systemd.RetryTimer} {
				if err := os.Remove(n.Env.Path(filepath.Join(systemd.Dir, u))); err != nil {
					n.T.Fatal(err)
				}
			}
		}, resultWarning},
		{"a timer without a record", func(n *testNode) {
			if err := os.Remove(n.Env.Path(filepath.Join(agent.DefaultStateDir, state.LastErrorFile))); err != nil {
				n.T.Fatal(err)
			}
		}, resultWarning},
		{"damaged", func(n *testNode) {
			if err := os.WriteFile(n.Env.Path(filepath.Join(agent.DefaultStateDir, state.LastErrorFile)), []byte("{"), 0o600); err != nil {
				n.T.Fatal(err)
			}
		}, resultWarning},
		{"another instance's", func(n *testNode) {
			p := n.Env.Path(filepath.Join(agent.DefaultStateDir, state.LastErrorFile))
			text := strings.ReplaceAll(n.Read(filepath.Join(agent.DefaultStateDir, state.LastErrorFile)), n.InstanceID, "i-0123456789abcdef0")
			if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
				n.T.Fatal(err)
			}
		}, resultWarning},
		{"over, and the tag stays", func(n *testNode) {
			n.Deny("ec2:DeleteTags")
			n.program(n.RetryArgs()...)
			n.Cloud.Fault(nil)
		}, resultWarning},
		{"over", func(n *testNode) {
			if code := n.program(n.RetryArgs()...); code != exit.OK {
				n.T.Fatal(code)
			}
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, _ := newNode(t, cloud.Options{})
				n.WithSystemd()
				n.Deny("ssm:PutParameter")
				n.program("--on-error", "continue", "10.0.1.20", "10.0.1.21", "10.0.1.22")
				n.Cloud.Fault(nil)
				test.prepare(n)
				d := n.doctor()
				if d.ExitCode() != exit.OK || d.result("last-error") != test.result {
					t.Errorf("exit code %d, last-error is %q\n%s", d.ExitCode(), d.result("last-error"), textOf(t, d))
				}
				if test.result != "" {
					expect(t, d, "last-error", test.result)
					messages.Is(t, test.name, said(d, "last-error"))
				}
			})
		})
	}
}
