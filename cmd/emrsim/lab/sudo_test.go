package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestNotRoot runs the agent as EMR does, on a node without sudo.
func TestNotRoot(t *testing.T) {
	needNamespaces(t)
	if OneUser() && os.Getenv("REQUIRE_NETNS") != "1" {
		t.Skip("only root exists in this user namespace")
	}
	c := launch(t, nil)
	core := c.Nodes()[1]
	before := snapshot(t, core)
	got := start(t, c, core, Command{Args: []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}, User: "hadoop"})
	if got.ExitCode != 9 || !strings.Contains(got.Stderr, "sudo") {
		t.Errorf("exit code %d, want 9 and an error that names sudo\n%s", got.ExitCode, got.Stderr)
	}
	expectUntouched(t, c, core, before)
}

// TestThroughSudo runs the agent as EMR does: as the user hadoop, who may use sudo.
func TestThroughSudo(t *testing.T) {
	needNamespaces(t)
	if OneUser() && os.Getenv("REQUIRE_NETNS") != "1" {
		t.Skip("only root exists in this user namespace")
	}
	c := launch(t, nil)
	core := c.Nodes()[1]
	if err := core.Copy("/proc/self/exe", "/run/sudo/sudo", 0o755|fs.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	args := []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}
	got := start(t, c, core, Command{Args: args, User: "hadoop", Env: []string{"PATH=/usr/bin:/bin:/run/sudo"}})
	expectDone(t, c, core, got)
	expectUnchanged(t, c, core)
}

// actAsSudo is run when this test program was copied to a node as sudo. It implements sudo -n
// --preserve-env=NAMES -- PROGRAM ARGS, and resets the environment as sudo does.
func actAsSudo(args []string) error {
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root"}
	for len(args) > 0 && args[0] != "--" {
		names, preserve := strings.CutPrefix(args[0], "--preserve-env=")
		if args[0] != "-n" && !preserve {
			return fmt.Errorf("unknown flag %q", args[0])
		}
		for _, name := range strings.Split(names, ",") {
			if value, set := os.LookupEnv(name); preserve && set {
				env = append(env, name+"="+value)
			}
		}
		args = args[1:]
	}
	if len(args) < 2 {
		return errors.New("nothing to run")
	}
	program, err := exec.LookPath(args[1])
	if err != nil {
		return err
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(0), syscall.Setuid(0)); err != nil {
		return err
	}
	return syscall.Exec(program, args[1:], env)
}
