package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/atomicfile"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
)

// Installer installs on a node what acts after the run: the units, the shutdown action, and the
// program that both run. Installing again changes nothing.
type Installer struct {
	Host     host.Environment
	StateDir string            // for --state-dir; empty means the default
	Version  string            // of this program, for messages
	Changed  func(what string) // called for each change made
	Same     func()            // called for each part that is in place already

	installed bool // the program
}

// EnsureUnits installs the units that restore the static IP at boot and every minute.
func (i *Installer) EnsureUnits(ctx context.Context) error {
	return i.Ensure(ctx, Units(i.StateDir), Timer)
}

// Ensure installs the program and units, enables the units that can be enabled, and starts one of
// them, mostly a timer.
func (i *Installer) Ensure(ctx context.Context, list []Unit, start string) error {
	if err := i.ensureProgram(ctx); err != nil {
		return err
	}
	var names []string
	written, enabled := false, true
	for _, u := range list {
		changed, err := replaceDiffering(i.Host.Path(filepath.Join(Dir, u.Name)), []byte(u.Text))
		if err != nil {
			return err
		}
		if changed {
			written = true
			i.Changed("installed " + filepath.Join(Dir, u.Name))
		} else {
			i.Same()
		}
		if u.Link != "" {
			names = append(names, u.Name)
			enabled = enabled && host.Exists(i.Host.Path(filepath.Join(Dir, u.Link)))
		}
	}
	if written || !enabled {
		// An earlier run may have ended between writing the files and this.
		if err := Systemctl(ctx, i.Host, "daemon-reload"); err != nil {
			return err
		}
	}
	if !enabled {
		if err := Systemctl(ctx, i.Host, append([]string{"enable"}, names...)...); err != nil {
			return err
		}
		i.Changed("enabled " + strings.Join(names, " and "))
	} else {
		i.Same()
	}
	if active := Systemctl(ctx, i.Host, "is-active", "--quiet", start); active == nil && !written {
		i.Same()
		return nil
	}
	if err := Systemctl(ctx, i.Host, "restart", start); err != nil {
		return err
	}
	i.Changed("started " + start)
	return nil
}

// RemoveUnits removes the units. The program stays, since somebody else may have put it there.
func (i *Installer) RemoveUnits(ctx context.Context) error {
	return i.Remove(ctx, Units(i.StateDir), Timer)
}

// Remove stops a timer, unless it is empty, and removes the units.
func (i *Installer) Remove(ctx context.Context, list []Unit, timer string) error {
	var paths, names, enabled []string
	for _, u := range list {
		names = append(names, u.Name)
		if u.Link != "" {
			enabled = append(enabled, u.Name)
		}
		for _, p := range []string{u.Link, u.Name} {
			if full := i.Host.Path(filepath.Join(Dir, p)); p != "" && host.Exists(full) {
				paths = append(paths, full)
			}
		}
	}
	if len(paths) == 0 {
		return nil
	}
	running := Running(i.Host)
	if running {
		// The service is not stopped. It may run now and wait for the lock that this process holds.
		if timer != "" {
			if err := Systemctl(ctx, i.Host, "stop", timer); err != nil {
				return err
			}
		}
		if err := Systemctl(ctx, i.Host, append([]string{"disable"}, enabled...)...); err != nil {
			return err
		}
	}
	for _, p := range paths {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the systemd unit: %w", err)
		}
	}
	i.Changed("removed " + strings.Join(names, " and "))
	if running {
		return Systemctl(ctx, i.Host, "daemon-reload")
	}
	return nil
}

// ensureProgram installs this program where units and shutdown action run it, once in a run.
func (i *Installer) ensureProgram(ctx context.Context) error {
	if i.installed {
		return nil
	}
	self, err := i.Host.ProgramFile()
	if err != nil {
		return err
	}
	same, err := SameContent(self, i.Host.Path(Program))
	if err != nil {
		return err
	}
	if !same {
		former := i.installedVersion(ctx)
		if err := installProgram(self, i.Host.Path(Program)); err != nil {
			return fmt.Errorf("installing %s: %w", Program, err)
		}
		what := "installed " + Program
		if former != "" {
			what += ": " + i.versions(former, "to")
		}
		i.Changed(what)
	} else {
		i.Same()
	}
	i.installed = true
	return nil
}

// replaceDiffering makes text the content of p, with mode 0644. It returns false if p has that
// content already.
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

// installProgram copies the program self to p.
func installProgram(self, p string) error {
	f, err := os.Open(self)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return err
	}
	return atomicfile.Replace(p, f, 0o755)
}

// SameContent reports whether b is a program with the content of a. It returns false if b is
// missing, and an error if a cannot be read.
func SameContent(a, b string) (bool, error) {
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
