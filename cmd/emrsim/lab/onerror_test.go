package lab

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// TestOnErrorContinue has a bootstrap action that fails because of a missing permission. The node
// is kept, and stderr, tag and status report the failure until a run succeeds. Nothing printed or
// stored contains the node's credentials.
func TestOnErrorContinue(t *testing.T) {
	c := launch(t, nil)
	c.Cloud.Fault(func(call cloud.Call) cloud.FaultAction {
		if call.Key() == "ssm:PutParameter" {
			return cloud.FaultAction{Kind: cloud.FaultFail, Code: "AccessDeniedException", Message: "not authorized to perform: ssm:PutParameter", Status: 400}
		}
		return cloud.FaultAction{}
	})
	core := c.Nodes()[1]
	list := []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}
	failed := start(t, c, core, Command{Args: append([]string{"--on-error", "continue", "--verbose"}, list...)})
	texts := golden.Open(t, "on-error-continue.txt")
	texts.Is(t, "stderr", onList.ReplaceAllString(c.told(Result{Stderr: failed.Stderr}), "STATIC"))
	if failed.ExitCode != 0 {
		t.Errorf("exit code %d", failed.ExitCode)
	}
	texts.Is(t, "tag", onList.ReplaceAllString(c.steady(errorTag(c, core)), "STATIC"))
	status := start(t, c, core, Command{Args: []string{"status", "-o", "json"}})
	var shown struct {
		Last struct {
			Code int `json:"exit_code"`
		} `json:"last_error"`
	}
	if err := json.Unmarshal([]byte(status.Stdout), &shown); err != nil || shown.Last.Code != 4 || status.ExitCode != 11 {
		t.Errorf("status: exit code %d, %v\n%s", status.ExitCode, err, status.Stdout)
	}
	record, err := core.ReadFile("/var/lib/emr-static-ip/failed.json")
	if err != nil {
		t.Error(err)
	}
	creds := c.Cloud.Credentials(core.Instance)
	for _, secret := range []string{creds.SecretAccessKey, creds.SessionToken} {
		if all := failed.Stderr + failed.Stdout + status.Stdout + string(record); secret == "" || strings.Contains(all, secret) {
			t.Errorf("the secret %q appears in\n%s", secret, all)
		}
	}
	if t.Failed() {
		t.Log(failed.Stderr)
	}

	c.Cloud.Fault(nil)
	expectDone(t, c, core, start(t, c, core, Command{Args: append([]string{"--on-error", "continue"}, list...)}))
	if tag := errorTag(c, core); tag != "" {
		t.Errorf("the tag is still %q", tag)
	}
	if _, err := core.ReadFile("/var/lib/emr-static-ip/failed.json"); err == nil {
		t.Error("the file of the last error still exists")
	}
	expectUnchanged(t, c, core)
	expectStatus(t, c, core, 0, "in order")
}

// errorTag returns the node's tag that reports an error.
func errorTag(c *Cluster, n *Node) string {
	for _, i := range c.Cloud.Instances() {
		if i.InstanceID == n.Instance {
			return i.Tags["emr-static-ip:error"]
		}
	}
	return ""
}

// TestArgumentsOfTheScripts runs the argument lists of the former scripts: MASTER_IP CORE_IP... of
// the script for whole clusters, and MASTER_IP REGION of the older script for the master alone.
func TestArgumentsOfTheScripts(t *testing.T) {
	t.Parallel()
	texts := golden.Open(t, "arguments-of-the-scripts.txt")
	t.Run("MASTER_IP CORE_IP", func(t *testing.T) {
		c := launch(t, nil)
		results := startAll(t, c, "10.0.1.10", "10.0.1.11", "10.0.1.12")
		for _, n := range c.Nodes() {
			static := expectDone(t, c, n, results[n])
			if (static == netip.MustParseAddr("10.0.1.10")) != (n.Role == cloud.RoleMaster) {
				t.Errorf("%s has %v", n.Name, static)
			}
		}
	})
	t.Run("too few", func(t *testing.T) {
		c := launch(t, nil)
		for _, n := range c.Nodes()[:2] {
			got := start(t, c, n, Command{Args: []string{"10.0.1.10", "10.0.1.11"}})
			if got.ExitCode != 2 {
				t.Errorf("%s: exit code %d\n%s", n.Name, got.ExitCode, got.Stderr)
			}
			texts.Is(t, "too few, "+n.Name, c.told(got))
		}
	})
	t.Run("MASTER_IP REGION", func(t *testing.T) {
		c := launch(t, nil)
		master, core := c.Nodes()[0], c.Nodes()[1]
		const region = "us-east-1" // the model's region
		before := snapshot(t, core)
		got := start(t, c, core, Command{Args: []string{"10.0.1.10", region}})
		if got.ExitCode != 0 {
			t.Errorf("core node: exit code %d\n%s%s", got.ExitCode, got.Stdout, got.Stderr)
		}
		texts.Is(t, "MASTER_IP REGION, core node", c.told(got))
		expectUntouched(t, c, core, before)
		for _, n := range []*Node{master, core} {
			got = start(t, c, n, Command{Args: []string{"10.0.1.10", "eu-west-1"}})
			if got.ExitCode != 2 {
				t.Errorf("%s in another region: exit code %d\n%s", n.Name, got.ExitCode, got.Stderr)
			}
			texts.Is(t, "another region, "+n.Name, c.told(got))
		}
		if static := expectDone(t, c, master, start(t, c, master, Command{Args: []string{"10.0.1.10", region}})); static != netip.MustParseAddr("10.0.1.10") {
			t.Errorf("the master has %v", static)
		}
		expectUnchanged(t, c, master)
		expectUnchanged(t, c, master, "10.0.1.10", region)
	})
}

// TestUnsafeStateDirectory checks that the program trusts neither a state directory that others can
// write to, nor a symbolic link.
func TestUnsafeStateDirectory(t *testing.T) {
	texts := golden.Open(t, "unsafe-state-directory.txt")
	c := launch(t, nil)
	core := c.Nodes()[1]
	args := []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}
	run := func(argv ...string) {
		t.Helper()
		if out, err := core.Output(t.Context(), argv[0], argv[1:]...); err != nil {
			t.Fatalf("%v: %v %s", argv, err, out)
		}
	}
	for _, test := range []struct {
		name string
		make [][]string
	}{
		{"writable", [][]string{{"mkdir", "-m", "0777", "/var/lib/emr-static-ip"}}},
		{"a link", [][]string{{"rm", "-rf", "/var/lib/emr-static-ip"}, {"ln", "-s", "/tmp", "/var/lib/emr-static-ip"}}},
	} {
		for _, argv := range test.make {
			run(argv...)
		}
		before := snapshot(t, core)
		got := start(t, c, core, Command{Args: args})
		if got.ExitCode != 1 {
			t.Errorf("%s: exit code %d\n%s", test.name, got.ExitCode, got.Stderr)
		}
		texts.Is(t, test.name, c.told(got))
		expectUntouched(t, c, core, before)
	}
	run("rm", "/var/lib/emr-static-ip")
	expectDone(t, c, core, start(t, c, core, Command{Args: args}))
	out, err := core.Output(t.Context(), "stat", "-c", "%a %u", "/var/lib/emr-static-ip", "/var/lib/emr-static-ip/state.json")
	if err != nil || out != "700 0\n600 0\n" {
		t.Errorf("%q, %v", out, err)
	}
}
