package agent

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
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

func TestShutdownActionIsInstalledAndRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		public := n.env.Path(filepath.Dir(systemd.ShutdownDir))
		if err := errors.Join(os.MkdirAll(public, 0o755), os.Chmod(public, 0o775)); err != nil {
			t.Fatal(err)
		}
		rep := n.apply()
		if tail := rep.Changes[len(rep.Changes)-2:]; !slices.Equal(tail, []string{"installed " + systemd.Program, "installed " + systemd.ShutdownAction}) {
			t.Errorf("changes %q", rep.Changes)
		}
		if text := n.read(systemd.ShutdownAction); !strings.Contains(text, " "+systemd.Program+" release --timeout 45s\n") || strings.Contains(text, "@") {
			t.Errorf("script:\n%s", text)
		}
		for p, mode := range map[string]fs.FileMode{systemd.ShutdownAction: 0o755, systemd.ShutdownDir: fs.ModeDir | 0o775, systemd.Program: 0o755} {
			if info, err := os.Stat(n.env.Path(p)); err != nil || info.Mode() != mode {
				t.Errorf("%s: %v, %v; want mode %v", p, info.Mode(), err, mode)
			}
		}
		files := n.snapshot()
		if rep := n.apply(); len(rep.Changes) > 0 || !slices.Equal(n.snapshot(), files) {
			t.Errorf("again: changes %q\n%s", rep.Changes, n.snapshot())
		}

		// Other scripts are not touched; release takes its own away, once.
		n.write(n.env.Path(systemd.ShutdownDir+"/other.sh"), "other")
		for again := range 2 {
			rep, err := Release(t.Context(), n.cfg, n.env)
			if removed := slices.Contains(rep.Changes, "removed "+systemd.ShutdownAction); err != nil || removed != (again == 0) {
				t.Errorf("release %d: %v, %q", again, err, rep.Changes)
			}
			if entries, err := os.ReadDir(n.env.Path(systemd.ShutdownDir)); err != nil || len(entries) != 1 || n.read(systemd.ShutdownDir+"/other.sh") != "other" {
				t.Errorf("release %d left %v, %v", again, entries, err)
			}
		}
	})
}

// Whatever a killed run or somebody else has left, the next run completes, and plan and status say
// so before.
func TestShutdownActionIsRepaired(t *testing.T) {
	public := filepath.Dir(systemd.ShutdownDir)
	for _, test := range []struct {
		name   string
		before func(n *testNode)
		want   []string
	}{
		{"removed", func(n *testNode) { os.Remove(n.env.Path(systemd.ShutdownAction)) }, []string{systemd.ShutdownAction}},
		{"no directory", func(n *testNode) { os.RemoveAll(n.env.Path(public)) }, []string{systemd.ShutdownAction}},
		{"no program", func(n *testNode) { os.Remove(n.env.Path(systemd.Program)) }, []string{systemd.Program}},
		{"another text", func(n *testNode) { n.write(n.env.Path(systemd.ShutdownAction), "exit 1") }, []string{systemd.ShutdownAction}},
		{"cannot be run", func(n *testNode) { os.Chmod(n.env.Path(systemd.ShutdownAction), 0o644) }, []string{systemd.ShutdownAction}},
		{"a link", func(n *testNode) {
			p := n.env.Path(systemd.ShutdownAction)
			os.Rename(p, p+".moved")
			os.Symlink(p+".moved", p)
		}, []string{systemd.ShutdownAction}},
		{"a directory half made", func(n *testNode) {
			os.RemoveAll(n.env.Path(systemd.ShutdownDir))
			os.Mkdir(n.env.Path(public+"/.shutdown-actions.tmp"), 0o700)
		}, []string{systemd.ShutdownAction}},
		{"a file half written", func(n *testNode) {
			os.Remove(n.env.Path(systemd.ShutdownAction))
			n.write(n.env.Path(systemd.ShutdownDir+"/.emr-static-ip-release.sh.tmp"), "#!/bin/sh\n{")
		}, []string{systemd.ShutdownAction}},
		{"another state directory", func(n *testNode) {
			os.Rename(n.env.Path(n.cfg.StateDir), n.env.Path("/var/lib/o'ther"))
			n.cfg.StateDir = "/var/lib/o'ther"
		}, []string{systemd.ShutdownAction}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{})
				n.apply()
				want := n.snapshot()
				test.before(n)
				s, err := Inspect(t.Context(), n.cfg, n.env)
				if err != nil || s.Verdict != VerdictDrifted || !strings.Contains(strings.Join(s.Reasons, "\n"), test.want[0]) {
					t.Errorf("status: %v, %v, %q", err, s.Verdict, s.Reasons)
				}
				plan, err := Plan(t.Context(), n.cfg, n.env)
				if err != nil || !slices.Equal(plan.Changes, []string{"install " + test.want[0]}) {
					t.Errorf("plan: %v, %q", err, plan.Changes)
				}
				rep := n.apply()
				if !slices.Equal(rep.Changes, []string{"installed " + test.want[0]}) || rep.Unchanged != plan.Unchanged {
					t.Errorf("apply: %q, %s; planned %s", rep.Changes, rep.Summary(), plan.Summary())
				}
				if n.cfg.StateDir != DefaultStateDir {
					if text := n.read(systemd.ShutdownAction); !strings.Contains(text, ` release --timeout 45s --state-dir '/var/lib/o'\''ther'`+"\n") {
						t.Errorf("script:\n%s", text)
					}
					return
				}
				os.Remove(n.env.Path(systemd.ShutdownAction + ".moved"))
				if got := n.snapshot(); !slices.Equal(got, want) {
					t.Errorf("left\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
				if rep := n.apply(); len(rep.Changes) > 0 {
					t.Errorf("again: %q", rep.Changes)
				}
			})
		})
	}
}

func TestShutdownActionWhereThereIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.apply()
		n.cfg.NoShutdownAction = true
		plan, err := Plan(t.Context(), n.cfg, n.env)
		rep := n.apply()
		if err != nil || !slices.Equal(plan.Changes, []string{"remove " + systemd.ShutdownAction}) || !slices.Equal(rep.Changes, []string{"removed " + systemd.ShutdownAction}) ||
			!strings.Contains(strings.Join(rep.Notes, "\n"), "--no-shutdown-action") {
			t.Errorf("%v; planned %q, done %q, notes %q", err, plan.Changes, rep.Changes, rep.Notes)
		}
		n.cfg.Pools, n.cfg.NoShutdownAction = Pools{}, false // without arguments: as the last time
		if rep := n.apply(); len(rep.Changes) > 0 || host.Exists(n.env.Path(systemd.ShutdownAction)) {
			t.Errorf("again: %q", rep.Changes)
		}
		n.cfg.Given.NoShutdownAction = true
		if rep := n.apply(); !slices.Equal(rep.Changes, []string{"installed " + systemd.ShutdownAction}) {
			t.Errorf("--no-shutdown-action=false: %q", rep.Changes)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		os.RemoveAll(n.env.Path(systemd.ControllerDir)) // an instance that is not EMR's
		n.cfg.Role = RoleCore
		if n.apply(); host.Exists(n.env.Path(systemd.ControllerDir)) || host.Exists(n.env.Path(systemd.Program)) {
			t.Error("something was installed for an EMR that is not there")
		}
	})
}

// A shutdown action that cannot be installed does not fail the node.
func TestShutdownActionThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.write(n.env.Path(filepath.Dir(systemd.ShutdownDir)), "a file where the directory belongs")
		if rep := n.apply(); len(rep.Warnings) != 1 || !strings.Contains(rep.Warnings[0], "not a directory") {
			t.Errorf("warnings %q", rep.Warnings)
		}
		os.Remove(n.env.Path(filepath.Dir(systemd.ShutdownDir)))
		if rep := n.apply(); !slices.Equal(rep.Changes, []string{"installed " + systemd.ShutdownAction}) {
			t.Errorf("again: %q", rep.Changes)
		}
	})
}

// The release of a shutdown action ends within its time limit, which is well below EMR's 60 s. If a
// service does not answer, the release names it.
func TestShutdownReleaseIsBounded(t *testing.T) {
	messages := golden.Open(t, "release-is-bounded.txt")
	for _, test := range []struct {
		name    string
		silent  func(service string) bool
		code    ExitCode
		kernel  bool // the address is out of the kernel all the same
		another bool // another run has the node
	}{
		{"AWS", func(s string) bool { return s != "imds" }, ExitUnreachable, true, false},
		{"everything", func(string) bool { return true }, ExitUnreachable, false, false},
		{"nobody, but another run has the lock", func(string) bool { return false }, ExitDeadline, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{})
				n.apply()
				n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
					if test.silent(c.Service) {
						return cloud.FaultAction{Kind: cloud.FaultHang}
					}
					return cloud.FaultAction{}
				})
				if test.another {
					unlock, err := state.Lock(t.Context(), n.env.Path(n.cfg.StateDir))
					if err != nil {
						t.Fatal(err)
					}
					defer unlock()
				}
				cfg := DefaultConfig()
				_, text, _ := strings.Cut(n.read(systemd.ShutdownAction), "release --timeout ")
				text, _, _ = strings.Cut(text, "\n")
				var err error
				if cfg.Timeout, err = time.ParseDuration(text); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				_, err = Release(t.Context(), cfg, n.env)
				if took := time.Since(began); CodeOf(err) != test.code || took > 50*time.Second {
					t.Fatalf("after %v: code %d, want %d: %v", took, CodeOf(err), test.code, err)
				}
				messages.Is(t, test.name, n.told(ending(Report{}, err)))
				if out := len(n.uses()) == 0; out != test.kernel {
					t.Errorf("the kernel uses %v", n.uses())
				}
				if !host.Exists(n.env.Path(systemd.ShutdownAction)) {
					t.Error("the shutdown action was removed before the release was done")
				}
			})
		})
	}
}

// A restore beside a release, as by the timer, leaves the node alone, and puts nothing back
// afterwards.
func TestRestoreBesideShutdownRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.apply()
		n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
			if c.Action == "UnassignPrivateIpAddresses" {
				return cloud.FaultAction{Delay: 12 * time.Second} // longer than a restore waits for the lock
			}
			return cloud.FaultAction{}
		})
		done := make(chan error)
		go func() {
			_, err := Release(context.WithoutCancel(t.Context()), DefaultConfig(), n.env)
			done <- err
		}()
		time.Sleep(time.Second)
		if rep := n.restore(ExitOK); rep.LeftAlone == "" {
			t.Errorf("left alone: %q", rep.LeftAlone)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if rep := n.restore(ExitOK); len(rep.Changes) > 0 || len(n.uses()) > 0 {
			t.Errorf("after the release: %q, in use %v", rep.Changes, n.uses())
		}
		if h := n.cloud.Holders(n.SubnetID, netip.MustParseAddr("10.0.1.21")); len(h) > 0 {
			t.Errorf("EC2 still has it on %v", h)
		}
	})
}
