package agent

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// everything is all that a command printed and what it left on the node.
func (n *testNode) everything(args ...string) string {
	n.t.Helper()
	_, stdout, stderr := n.program(n.t.Context(), args...)
	return stdout + stderr + n.tag() + strings.Join(n.snapshot(), "\n")
}

// Credentials never appear: not where AWS quotes them, and not in what --on-error continue keeps.
func TestSecretsDoNotAppear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		creds := n.cloud.Credentials(n.InstanceID)
		n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
			switch c.Key() {
			case "ssm:PutParameter": // AWS's words for a wrong signature
				return cloud.FaultAction{Kind: cloud.FaultFail, Code: "InvalidSignatureException", Status: 400, Message: "The request signature we calculated does not match the signature you provided. " +
					"The Canonical String for this request should have been\n'POST\n/\n\nhost:ssm.us-east-1.amazonaws.com\nx-amz-security-token:" + creds.SessionToken + "\n\nhost;x-amz-security-token\n' key " + creds.SecretAccessKey}
			case "ec2:CreateTags":
				return cloud.FaultAction{Kind: cloud.FaultFail, Code: "AuthFailure", Status: 401, Message: "token " + creds.SessionToken}
			}
			return cloud.FaultAction{}
		})
		for _, format := range []string{"console", "json"} {
			all := n.everything(append([]string{"--on-error=continue", "--verbose", "--log-format", format}, onErrorList...)...)
			for _, secret := range []string{creds.SecretAccessKey, creds.SessionToken} {
				if secret == "" || strings.Contains(all, secret) {
					t.Errorf("%s: a secret (%q) appears in\n%s", format, secret, all)
				}
			}
			if !strings.Contains(all, "x-amz-security-token:(hidden)") {
				t.Errorf("%s: AWS's words are not shown:\n%s", format, all)
			}
		}
	})
}

// hostileIMDS puts what a terminal obeys into every answer of IMDS that is no credential.
type hostileIMDS struct{ next http.RoundTripper }

func (h hostileIMDS) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := h.next.RoundTrip(req)
	if err == nil && strings.HasSuffix(req.URL.Path, "/subnet-ipv4-cidr-block") {
		resp.Body.Close()
		resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader("10.0.1.0/24\x1b[2J\u202e")), -1
	}
	return resp, err
}

// No text of AWS, IMDS, EMR's files, tags or records of others reaches a terminal as a command.
func TestHostileTextEverywhere(t *testing.T) {
	const evil = "\x1b[2J\x1b]0;x\x07\r\u202e\u0085"
	for _, test := range []struct {
		name   string
		change func(n *testNode)
		args   []string
	}{
		{"EC2 and SSM", func(n *testNode) {
			n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
				if c.Key() == "ssm:PutParameter" || c.Key() == "ec2:CreateTags" {
					return cloud.FaultAction{Kind: cloud.FaultFail, Code: "ValidationException", Status: 400, Message: evil}
				}
				return cloud.FaultAction{}
			})
		}, onErrorList},
		{"IMDS", func(n *testNode) { n.env.HTTP = hostileIMDS{n} }, append([]string{"--imds-timeout", "3s"}, onErrorList...)},
		{"files", func(n *testNode) {
			for _, name := range []string{"extraInstanceData.json", "job-flow.json", "instance.json", "job-flow-state.txt"} {
				n.write(n.env.Path("/mnt/var/lib/info/"+name), `{"instanceRole": "`+evil+`", "jobFlowId": "j-1`+evil+`", "isMaster": "`+evil+`"}`)
			}
		}, onErrorList},
		{"state file", func(n *testNode) {
			n.write(n.env.Path(DefaultStateDir+"/state.json"), `{"version":1,"phase":"`+evil+`","instance":"`+evil+`"}`)
			if err := os.Chmod(n.env.Path(DefaultStateDir), 0o700); err != nil {
				n.t.Fatal(err)
			}
		}, nil},
		{"last error", func(n *testNode) {
			n.write(n.env.Path(DefaultStateDir+"/failed.json"), `{"version":1,"count":1,"error":"\u001b[2J\u202e","meaning":"\u001b[2J","instance":"\u001b","remedies":["\u001b[2J"]}`)
		}, []string{"status"}},
		{"arguments", func(*testNode) {}, []string{"10.0.1.20", evil, "--" + evil}},
		{"environment", func(n *testNode) {
			n.env.Environ = func() []string { return []string{"EMR_STATIC_IP_" + evil + "=" + evil} }
		}, onErrorList},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, format := range []string{"console", "json"} {
					n := newTestNode(t, cloud.Options{}).withSystemd()
					test.change(n)
					args := append([]string{"--verbose", "--log-format", format}, test.args...)
					if len(test.args) == 0 || test.args[0] != "status" {
						args = append(args, "--on-error=continue")
					}
					_, stdout, stderr := n.program(t.Context(), args...)
					units, _ := filepath.Glob(n.env.Path(systemd.Dir) + "/*retry*")
					all := stdout + stderr + n.tag()
					for _, u := range units {
						data, err := os.ReadFile(u)
						if err != nil {
							t.Fatal(err)
						}
						all += string(data)
					}
					if i := strings.IndexFunc(all, func(r rune) bool { return r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e') }); i >= 0 {
						t.Errorf("%s: %q in\n%q", format, all[i:min(len(all), i+10)], all)
					}
				}
			})
		})
	}
}

// A state directory or file that others could have written is refused, with what to do.
func TestUnsafeStateHasRemedy(t *testing.T) {
	messages := golden.Open(t, "unsafe-state.txt")
	for _, test := range []struct {
		name   string
		change func(dir string) error
	}{
		{"directory that others write", func(dir string) error { return os.Chmod(dir, 0o770) }},
		{"file that others write", func(dir string) error { return os.Chmod(filepath.Join(dir, state.File), 0o606) }},
		{"directory is a link", func(dir string) error {
			return firstError(os.Rename(dir, dir+".real"), os.Symlink(dir+".real", dir))
		}},
		{"file is a link", func(dir string) error {
			p := filepath.Join(dir, state.File)
			return firstError(os.Rename(p, p+".real"), os.Symlink(p+".real", p))
		}},
		{"directory of another user", func(dir string) error { return os.Chown(dir, 12345, 12345) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			if strings.Contains(test.name, "user") && os.Geteuid() != 0 {
				if os.Getenv("REQUIRE_NETNS") == "1" {
					t.Fatal("REQUIRE_NETNS=1, and this needs root")
				}
				t.Skip("needs root")
			}
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{})
				n.apply()
				if err := test.change(n.env.Path(DefaultStateDir)); err != nil {
					t.Fatal(err)
				}
				calls := len(n.cloud.Calls())
				for _, args := range [][]string{nil, {"release"}, {"restore"}, {"status"}} {
					code, _, stderr := n.program(t.Context(), args...)
					if code != ExitInternal {
						t.Errorf("%q: exit code %d\n%s", args, code, stderr)
					}
					messages.Is(t, strings.TrimSpace(test.name+", "+strings.Join(args, " ")), n.told(stderr))
				}
				for _, c := range n.cloud.Calls()[calls:] {
					if c.Service != "imds" {
						t.Errorf("AWS was asked: %v", c)
					}
				}
			})
		})
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
