package lab

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

const shutdownAction = controllerPublic + "/shutdown-actions/emr-static-ip-release.sh"

// end runs the node's shutdown actions, as EMR does at the end of a node.
func end(t *testing.T, c *Cluster, n *Node, cmd Command) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd.Program, cmd.OnNode = shutdownAction, true
	got, err := c.Run(ctx, n, cmd)
	if err != nil {
		t.Fatal(err)
	}
	if got.ExitCode != 0 {
		t.Errorf("%s: a shutdown action must not fail: exit code %d\n%s%s", n.Name, got.ExitCode, got.Stdout, got.Stderr)
	}
	return got
}

// TestShutdownAction ends nodes as EMR does. Another node must get the address at once.
func TestShutdownAction(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"root", "hadoop"} {
		t.Run(user, func(t *testing.T) {
			needNamespaces(t)
			if user == "hadoop" && OneUser() && os.Getenv("REQUIRE_NETNS") != "1" {
				t.Skip("only root exists in this user namespace")
			}
			c := launch(t, nil)
			first := c.Nodes()[1]
			args := []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}
			before := snapshot(t, first)
			static := expectDone(t, c, first, start(t, c, first, Command{Args: args}))
			expectDone(t, c, c.Nodes()[2], start(t, c, c.Nodes()[2], Command{Args: args}))
			env := []string(nil)
			if user == "hadoop" {
				env = []string{"PATH=/usr/bin:/bin:/run/sudo"}
				if err := first.Copy("/proc/self/exe", "/run/sudo/sudo", 0o755|fs.ModeSetuid); err != nil {
					t.Fatal(err)
				}
			}
			got := end(t, c, first, Command{User: user, Env: env})
			if record, found, err := c.Ledger(static); found || err != nil || len(c.Secondary(first)) > 0 {
				t.Errorf("after the shutdown action: record %q (%v), assigned %v\n%s%s", record, err, c.Secondary(first), got.Stdout, got.Stderr)
			}
			if after := snapshot(t, first); after != before {
				t.Errorf("the kernel's state was\n%s\nand is\n%s", before, after)
			}
			if _, err := first.ReadFile(shutdownAction); err == nil {
				t.Error("the shutdown action was not removed")
			}
			c.Terminate(first)
			next, err := c.Grow(t.Context(), cloud.RoleCore)
			if err != nil {
				t.Fatal(err)
			}
			if got := expectDone(t, c, next, start(t, c, next, Command{Args: args})); got != static {
				t.Errorf("the next node has %v, want %v", got, static)
			}
		})
	}
}

// TestShutdownActionWithoutAWS ends a node that cannot reach AWS any more. The shutdown action must
// end in time, report the failure, not fail, and work when it is run again.
func TestShutdownActionWithoutAWS(t *testing.T) {
	c := launch(t, nil)
	core := c.Nodes()[1]
	static := expectDone(t, c, core, start(t, c, core, Command{Args: []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}}))
	text, err := core.ReadFile(shutdownAction)
	if err != nil {
		t.Fatal(err)
	}
	hasty := filepath.Join(t.TempDir(), "hasty.sh") // the same script with shorter time limits
	short := strings.NewReplacer("--timeout 45s", "--timeout 5s", "-k 3 50 ", "-k 3 15 ").Replace(string(text))
	if err := os.WriteFile(hasty, []byte(short), 0o755); err != nil || short == string(text) {
		t.Fatalf("%v\n%s", err, text)
	}
	block := []string{"OUTPUT", "-p", "tcp", "-d", c.Plan().Endpoint.String(), "-j", "DROP"}
	if _, err := core.Output(t.Context(), "iptables", append([]string{"-A"}, block...)...); err != nil {
		t.Fatal(err)
	}
	got, err := c.Run(t.Context(), core, Command{Program: hasty})
	if err != nil || got.ExitCode != 0 || got.Duration > 12*time.Second {
		t.Errorf("%v, exit code %d after %v, want 0 soon after 5 s", err, got.ExitCode, got.Duration)
	}
	golden.Is(t, "shutdown-without-answer.txt", strings.ReplaceAll(c.told(got), static.String(), "STATIC"))
	if list, err := core.Addresses(t.Context(), core.Link); err != nil || strings.Contains(strings.Join(list, " "), static.String()+"/") {
		t.Errorf("the kernel still has %v: %v, %v", static, list, err)
	}
	if _, err := core.Output(t.Context(), "iptables", append([]string{"-D"}, block...)...); err != nil {
		t.Fatal(err)
	}
	if got := end(t, c, core, Command{}); len(c.Secondary(core)) > 0 {
		t.Errorf("assigned %v\n%s%s", c.Secondary(core), got.Stdout, got.Stderr)
	}
}
