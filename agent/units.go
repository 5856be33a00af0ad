package agent

import (
	"bytes"
	"context"
	_ "embed" // the units
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/atomicfile"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

//go:embed systemd/emr-static-ip-restore.service
var serviceTemplate string

//go:embed systemd/emr-static-ip-restore.timer
var timerText string

// Where the units and the program they run are. The program that a bootstrap action is run from may be in a temporary place.
const (
	unitService  = "emr-static-ip-restore.service"
	unitTimer    = "emr-static-ip-restore.timer"
	unitDir      = "/etc/systemd/system"
	unitProgram  = "/usr/local/sbin/emr-static-ip"
	systemdSign  = "/run/systemd/system" // a directory where systemd is running: sd_booted(3)
	systemctlMax = 30 * time.Second      // bounds one call
)

// unit is one of the files that apply installs for systemd.
type unit struct {
	name, text string
	link       string // below unitDir; systemctl enable makes it; empty: the unit is started by its timer only
}

// units are the service that restores at boot and the timer that does so every minute.
func units(cfg Config) []unit {
	args := ""
	if cfg.StateDir != DefaultStateDir {
		args = " --state-dir " + unitQuoted(cfg.StateDir)
	}
	service := strings.NewReplacer("@PROGRAM@", unitProgram, "@ARGS@", args).Replace(serviceTemplate)
	return []unit{
		{unitService, service, "multi-user.target.wants/" + unitService},
		{unitTimer, timerText, "timers.target.wants/" + unitTimer},
	}
}

// unitQuoted is an argument of ExecStart as systemd.service(5) wants it: % begins a specifier, $ a variable.
func unitQuoted(s string) string { return `"` + unitEscaped(strings.ReplaceAll(s, "$", "$$")) + `"` }

// unitEscaped is the inside of a quotation in a unit file. systemd ends a line at a carriage return and at a NUL too, and ignores one that is not
// UTF-8: what could do that is written as an escape.
func unitEscaped(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '"', r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '%':
			b.WriteString("%%")
		case r < ' ', r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// hasSystemd tells whether systemd runs this node.
func hasSystemd(e Environment) bool {
	info, err := os.Lstat(e.Path(systemdSign))
	return err == nil && info.IsDir()
}

// systemctl runs systemctl, within a bound.
func systemctl(ctx context.Context, e Environment, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, systemctlMax)
	defer cancel()
	what := "systemctl " + strings.Join(args, " ")
	if e.Systemctl != nil {
		if err := e.Systemctl(ctx, args...); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	if _, stderr, err := host.Output(ctx, append([]string{"systemctl"}, args...)); err != nil {
		return fmt.Errorf("%s: %w: %s", what, err, text.Clean(strings.TrimSpace(stderr), text.MaxLine))
	}
	return nil
}

// installUnits makes the static IP outlive a reboot and what neighbours do to it. Run again it changes nothing. The node is in order
// without units until its next reboot, so that a failure is a warning, and the node is kept.
func (r *run) installUnits(ctx context.Context) {
	switch {
	case r.cfg.NoUnits:
		r.note("no systemd units are installed (--no-units): nothing restores the address and the rules after a reboot")
		return
	case !hasSystemd(r.env):
		r.note("systemd does not run here (no " + systemdSign + "): nothing restores the address and the rules after a reboot; run emr-static-ip restore at boot and every minute")
		return
	}
	if err := r.ensureUnits(ctx); err != nil {
		r.warn(fmt.Sprintf("the systemd units are not complete, and a reboot may lose the address and the rules: %v; run again, or use --no-units", err))
	}
}

func (r *run) ensureUnits(ctx context.Context) error {
	return r.ensure(ctx, units(r.cfg), unitTimer)
}

// ensure installs the program and units, enables those that have something to be enabled, and starts their timer.
func (r *run) ensure(ctx context.Context, list []unit, timer string) error {
	if err := r.ensureProgram(); err != nil {
		return err
	}
	var names []string
	written, enabled := false, true
	for _, u := range list {
		changed, err := replaceDiffering(r.env.Path(filepath.Join(unitDir, u.name)), []byte(u.text))
		if err != nil {
			return err
		}
		if changed {
			written = true
			r.change("installed " + filepath.Join(unitDir, u.name))
		} else {
			r.rep.Unchanged++
		}
		if u.link != "" {
			names = append(names, u.name)
			enabled = enabled && exists(r.env.Path(filepath.Join(unitDir, u.link)))
		}
	}
	if written || !enabled {
		// Also where an earlier run ended between its files and this.
		if err := systemctl(ctx, r.env, "daemon-reload"); err != nil {
			return err
		}
	}
	if !enabled {
		if err := systemctl(ctx, r.env, append([]string{"enable"}, names...)...); err != nil {
			return err
		}
		r.change("enabled " + strings.Join(names, " and "))
	} else {
		r.rep.Unchanged++
	}
	if active := systemctl(ctx, r.env, "is-active", "--quiet", timer); active == nil && !written {
		r.rep.Unchanged++
		return nil
	}
	if err := systemctl(ctx, r.env, "restart", timer); err != nil {
		return err
	}
	r.change("started " + timer)
	return nil
}

// install puts on the node what is to act after this run.
func (r *run) install(ctx context.Context) {
	r.installUnits(ctx)
	r.installShutdownAction()
}

// ensureProgram puts this program where units and shutdown action run it; once in a run.
func (r *run) ensureProgram() error {
	if r.installed {
		return nil
	}
	changed, err := installProgram(r.env)
	if err != nil {
		return err
	}
	r.installed = true
	if changed {
		r.change("installed " + unitProgram)
	} else {
		r.rep.Unchanged++
	}
	return nil
}

// removeUnits takes the units away. The program stays where it is: who put it there first is not known.
func (r *run) removeUnits(ctx context.Context) error {
	return r.remove(ctx, units(r.cfg), unitTimer)
}

// remove stops a timer and takes it and its service away.
func (r *run) remove(ctx context.Context, list []unit, timer string) error {
	var paths, names, enabled []string
	for _, u := range list {
		names = append(names, u.name)
		if u.link != "" {
			enabled = append(enabled, u.name)
		}
		for _, p := range []string{u.link, u.name} {
			if full := r.env.Path(filepath.Join(unitDir, p)); p != "" && exists(full) {
				paths = append(paths, full)
			}
		}
	}
	if len(paths) == 0 {
		return nil
	}
	running := hasSystemd(r.env)
	if running {
		// The service is not stopped: it may be this very process's sibling that waits for the lock.
		if err := systemctl(ctx, r.env, "stop", timer); err != nil {
			return err
		}
		if err := systemctl(ctx, r.env, append([]string{"disable"}, enabled...)...); err != nil {
			return err
		}
	}
	for _, p := range paths {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the systemd unit: %w", err)
		}
	}
	r.change("removed " + strings.Join(names, " and "))
	if running {
		return systemctl(ctx, r.env, "daemon-reload")
	}
	return nil
}

// exists tells whether anything, a dangling link too, is at p.
func exists(p string) bool {
	_, err := os.Lstat(p)
	return err == nil
}

// replaceDiffering makes text the content of p (mode 0644). False: it is already.
func replaceDiffering(p string, text []byte) (bool, error) {
	if old, err := os.ReadFile(p); err == nil && bytes.Equal(old, text) {
		return false, nil
	}
	err := os.MkdirAll(filepath.Dir(p), 0o755)
	if err == nil {
		err = atomicfile.Replace(p, bytes.NewReader(text), 0o644)
	}
	if err != nil {
		return false, fmt.Errorf("installing %s: %w", p, err)
	}
	return true, nil
}

// installProgram puts a copy of the running program where the units expect it. False: it is there already, with the same content.
func installProgram(e Environment) (bool, error) {
	self, err := e.ProgramFile()
	if err != nil {
		return false, err
	}
	p := e.Path(unitProgram)
	same, err := sameContent(self, p)
	if err != nil || same {
		return false, err
	}
	f, err := os.Open(self)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err = os.MkdirAll(filepath.Dir(p), 0o755); err == nil {
		err = atomicfile.Replace(p, f, 0o755)
	}
	if err != nil {
		return false, fmt.Errorf("installing %s: %w", p, err)
	}
	return true, nil
}

// sameContent tells whether b is a program with the content of a. A missing b is not; an a that cannot be read is an error.
func sameContent(a, b string) (bool, error) {
	infoA, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	infoB, err := os.Lstat(b)
	if err != nil || !infoB.Mode().IsRegular() || infoB.Mode().Perm()&0o111 == 0 || infoA.Size() != infoB.Size() {
		return false, nil
	}
	if os.SameFile(infoA, infoB) {
		return true, nil
	}
	dataA, err := os.ReadFile(a)
	if err != nil {
		return false, err
	}
	dataB, err := os.ReadFile(b)
	return err == nil && bytes.Equal(dataA, dataB), nil
}
