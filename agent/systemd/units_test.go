package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
)

func TestUnitArguments(t *testing.T) {
	if got := Units(`/var/a b/%n$x"\`)[0].Text; !strings.Contains(got, `restore --timeout 100s --state-dir "/var/a b/%%n$$x\"\\"`+"\n") {
		t.Errorf("service:\n%s", got)
	}
}

// TestPoweringOff: a reboot and systemctl stop are not the end of the machine.
func TestPoweringOff(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for jobs, want := range map[string]bool{
		"JOB UNIT                   TYPE  STATE\n  1 poweroff.target        start waiting\n  2 a.service stop running\n": true,
		"  7 halt.target start waiting\n":    true,
		"  1 reboot.target start waiting\n":  false,
		"  1 poweroff.target stop waiting\n": false,
		"No jobs running.\n":                 false,
	} {
		if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte("#!/bin/sh\n[ \"$1\" = list-jobs ] && printf '%s' '"+jobs+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if off, err := PoweringOff(t.Context()); err != nil || off != want {
			t.Errorf("jobs %q: %t, %v; want %t", jobs, off, err, want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if off, err := PoweringOff(t.Context()); err == nil || off {
		t.Errorf("a systemctl that fails: %t, %v", off, err)
	}
}

// since has the settings of the units that systemd 219 does not have, by the version that has them:
// https://www.freedesktop.org/software/systemd/man/latest/systemd.directives.html
// Amazon Linux 2 has systemd 219. It warns about a setting that it does not know, and goes on.
var since = map[string]struct {
	version int
	without string // why the units do without it
}{
	"LogLevelMax":           {236, "the journal has two more lines for each run"},
	"StartLimitIntervalSec": {230, "the default limit of 5 starts in 10 s is never reached by a timer of minutes"},
}

// known219 are the settings that the units may use, and systemd 219 has.
const known219 = "Description Documentation Wants After Before Type ExecStart Environment TimeoutStartSec StandardOutput StandardError " +
	"RemainAfterExit ExecStop TimeoutStopSec SyslogLevel OnBootSec OnActiveSec OnUnitInactiveSec AccuracySec WantedBy"

// TestOldSystemd checks that the units use no setting that an old systemd lacks, apart from those
// listed.
func TestOldSystemd(t *testing.T) {
	used := map[string]bool{}
	for _, u := range slices.Concat(Units("/x"), []Unit{ReleaseUnit("/x")}, RetryUnits([]string{"10.0.1.10"}, []string{"A=b"}, time.Minute)) {
		for line := range strings.Lines(u.Text) {
			name, _, ok := strings.Cut(line, "=")
			if !ok || strings.HasPrefix(line, "#") {
				continue
			}
			used[name] = true
			if !slices.Contains(strings.Fields(known219), name) && since[name].without == "" {
				t.Errorf("%s: systemd 219 does not know %s=", u.Name, name)
			}
		}
	}
	for name := range since {
		if !used[name] {
			t.Errorf("no unit has %s=", name)
		}
	}
}

// TestRetryPause checks that nodes have pauses of their own, each the same in every run.
func TestRetryPause(t *testing.T) {
	pauses := map[time.Duration]bool{}
	for i := range 50 {
		host := fmt.Sprintf("ip-10-0-1-%d.ec2.internal", i)
		pause := retryPause(host)
		if pause < retryShortest || pause >= retryLongest || pause != retryPause(host) {
			t.Errorf("%s: %v", host, pause)
		}
		pauses[pause] = true
	}
	if len(pauses) < 30 {
		t.Errorf("50 nodes have %d pauses", len(pauses))
	}
	if pause := retryPause(""); pause != retryShortest {
		t.Errorf("no host name: %v", pause)
	}
	timer := RetryUnits(nil, nil, 0)[1].Text
	if !regexp.MustCompile(`(?m)^OnActiveSec=\d{3}\nOnUnitInactiveSec=\d{3}$`).MatchString(timer) {
		t.Errorf("timer:\n%s", timer)
	}
}

func TestSystemctlIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := host.Environment{Systemctl: func(ctx context.Context, _ ...string) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		began := time.Now()
		if err := Systemctl(t.Context(), env, "enable"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > systemctlMax {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
