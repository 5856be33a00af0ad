package agent

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// withSystemd makes the node look like one that systemd runs.
func (n *testNode) withSystemd() *testNode {
	n.on().WithSystemd()
	return n
}

func (n *testNode) read(p string) string { return n.on().Read(p) }

func TestUnitsAreInstalledAndRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		rep := n.apply()
		changes := strings.Join(rep.Changes, "\n")
		for _, want := range []string{"installed " + systemd.Program, "installed /etc/systemd/system/emr-static-ip-restore.service", "enabled", "started"} {
			if !strings.Contains(changes, want) {
				t.Errorf("changes do not tell of %q:\n%s", want, changes)
			}
		}
		program, _ := n.env.Executable()
		if content, err := os.ReadFile(program); err != nil || n.read(systemd.Program) != string(content) {
			t.Errorf("installed program: %q, %v", n.read(systemd.Program), err)
		}
		if info, err := os.Stat(n.env.Path(systemd.Program)); err != nil || info.Mode() != 0o755 {
			t.Error(info.Mode(), err)
		}
		if got := n.read(filepath.Join(systemd.Dir, systemd.Service)); !strings.Contains(got, "ExecStart="+systemd.Program+" restore --timeout 100s\n") || strings.Contains(got, "@") {
			t.Errorf("service:\n%s", got)
		}
		if want := []string{"daemon-reload", "enable emr-static-ip-restore.service emr-static-ip-restore.timer", "is-active --quiet emr-static-ip-restore.timer",
			"restart emr-static-ip-restore.timer"}; !slices.Equal(n.calls, want) {
			t.Errorf("systemctl %q\nwant %q", n.calls, want)
		}

		n.calls = nil
		files := n.snapshot()
		if rep := n.apply(); len(rep.Changes) > 0 || !slices.Equal(n.calls, []string{"is-active --quiet emr-static-ip-restore.timer"}) {
			t.Errorf("again: changes %q, systemctl %q", rep.Changes, n.calls)
		}
		if after := n.snapshot(); !slices.Equal(after, files) {
			t.Errorf("again:\n%s\nwas\n%s", after, files)
		}

		// Somebody has edited one unit, disabled the other, and there is a new version of the
		// program.
		n.write(n.env.Path(filepath.Join(systemd.Dir, systemd.Service)), "x")
		os.Remove(n.env.Path(filepath.Join(systemd.Dir, "timers.target.wants", systemd.Timer)))
		n.write(program, "another-one")
		if rep := n.apply(); len(rep.Changes) != 4 {
			t.Errorf("repaired: %q", rep.Changes)
		}
		if got := n.read(systemd.Program); got != "another-one" {
			t.Errorf("installed program: %q", got)
		}

		for again, want := range []int{1, 0} {
			n.calls = nil
			rep, err := Release(t.Context(), n.cfg, n.env)
			removed := slices.Contains(rep.Changes, "removed emr-static-ip-restore.service and emr-static-ip-restore.timer")
			if err != nil || removed != (want == 1) || (len(n.calls) > 0) != removed {
				t.Errorf("release %d: %v, %q, systemctl %q", again, err, rep.Changes, n.calls)
			}
			left, _ := filepath.Glob(n.env.Path(systemd.Dir) + "/*emr*")
			links, _ := filepath.Glob(n.env.Path(systemd.Dir) + "/*.wants/*emr*")
			if len(left)+len(links) > 0 || n.active[systemd.Timer] {
				t.Errorf("release left %q %q, the timer is active: %v", left, links, n.active[systemd.Timer])
			}
		}
	})
}

func TestUnitsWhereThereAreNone(t *testing.T) {
	messages := golden.Open(t, "units.txt")
	for _, test := range []struct {
		name   string
		change func(n *testNode)
	}{
		{"no systemd", func(*testNode) {}},
		{"not wanted", func(n *testNode) { n.withSystemd().cfg.NoUnits = true }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{})
				n.cfg.NoShutdownAction = true // which needs the program too
				test.change(n)
				rep := n.apply()
				messages.Is(t, test.name, ending(rep, nil))
				if len(rep.Notes) == 0 || len(n.calls) > 0 || host.Exists(n.env.Path("/etc/systemd")) || host.Exists(n.env.Path(systemd.Program)) {
					t.Errorf("notes %q, systemctl %q", rep.Notes, n.calls)
				}
				n.cfg.Pools, n.cfg.NoUnits = Pools{}, false // without arguments: as the last time
				if rep := n.apply(); len(rep.Changes) > 0 {
					t.Errorf("again: %q", rep.Changes)
				}
				if rep, err := Release(t.Context(), n.cfg, n.env); err != nil || strings.Contains(strings.Join(rep.Changes, "\n"), systemd.Timer) {
					t.Errorf("release: %v, %q", err, rep.Changes)
				}
			})
		})
	}
}

// A failure of systemctl at any place does not fail the node; the next run completes the units.
func TestUnitsThatFail(t *testing.T) {
	for _, verb := range []string{"daemon-reload", "enable", "restart"} {
		t.Run(verb, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{}).withSystemd()
				n.failed = verb
				if rep := n.apply(); len(rep.Warnings) != 1 || !strings.Contains(rep.Warnings[0], "systemctl "+verb) {
					t.Errorf("warnings %q", rep.Warnings)
				}
				n.failed = ""
				n.apply()
				if rep := n.apply(); len(rep.Changes)+len(rep.Warnings) > 0 || !n.active[systemd.Timer] {
					t.Errorf("changes %q, warnings %q, active %v", rep.Changes, rep.Warnings, n.active[systemd.Timer])
				}
			})
		})
	}
}
