package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
)

// State is how a part of what is installed was found.
type State string

// The states.
const (
	Present State = "present" // as wanted
	Missing State = "missing"
	Differs State = "differs"
	Foreign State = "foreign" // there, and not wanted
)

// Part is one part of what the Installer installs.
type Part struct {
	What   string // a path, or units and what they should be
	State  State
	Detail string // mostly empty
	Remedy string // what a run does about a part that is not Present
}

// Wanted says what should be on the node.
type Wanted struct {
	Units  bool
	Action bool // the EMR shutdown action
	// Release is the unit that releases the address at shutdown, outside EMR.
	Release bool
	// NoAction says that a shutdown action or a release unit that is there should not be.
	NoAction bool
}

// Inspect looks at what is installed: the units, whether they are enabled and active, the EMR
// shutdown action, and the program that these run. It returns nothing if none of it is wanted.
func (i *Installer) Inspect(ctx context.Context, w Wanted) ([]Part, error) {
	var parts []Part
	add := func(what string, right, found bool, remedy string) {
		part := Part{What: what, State: Present, Remedy: remedy}
		switch {
		case !right && found:
			part.State = Differs
		case !right:
			part.State = Missing
		}
		parts = append(parts, part)
	}
	if w.Units || w.Action || w.Release {
		self, err := i.Host.ProgramFile()
		if err != nil {
			return nil, err
		}
		same, err := SameContent(self, i.Host.Path(Program))
		if err != nil {
			return nil, fmt.Errorf("comparing %s with this program: %w", Program, err)
		}
		add(Program, same, host.Exists(i.Host.Path(Program)), "install "+Program)
		if !same {
			if former := i.installedVersion(ctx); former != "" {
				parts[len(parts)-1].Detail = i.versions(former, "is there, and this is")
			}
		}
	}
	inspect := func(list []Unit, start string) error {
		enabled := true
		var names []string
		for _, u := range list {
			p := filepath.Join(Dir, u.Name)
			text, err := os.ReadFile(i.Host.Path(p))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			add(p, err == nil && string(text) == u.Text, err == nil, "install "+p)
			enabled = enabled && host.Exists(i.Host.Path(filepath.Join(Dir, u.Link)))
			names = append(names, u.Name)
		}
		all := strings.Join(names, " and ")
		add(all+" enabled", enabled, false, "enable "+all)
		active := Systemctl(ctx, i.Host, "is-active", "--quiet", start) == nil
		add(start+" active", active, false, "start "+start)
		return nil
	}
	if w.Units {
		if err := inspect(Units(i.StateDir), Timer); err != nil {
			return nil, err
		}
	}
	release := filepath.Join(Dir, ReleaseService)
	switch {
	case w.Release:
		if err := inspect([]Unit{ReleaseUnit(i.StateDir)}, ReleaseService); err != nil {
			return nil, err
		}
	case w.NoAction && host.Exists(i.Host.Path(release)):
		parts = append(parts, Part{What: release, State: Foreign, Remedy: "remove " + release})
	}
	found := host.Exists(i.Host.Path(ShutdownAction))
	switch {
	case w.Action:
		same, err := i.ShutdownActionInPlace()
		if err != nil {
			return nil, fmt.Errorf("looking at the EMR shutdown action: %w", err)
		}
		add(ShutdownAction, same, found, "install "+ShutdownAction)
	case w.NoAction && found:
		parts = append(parts, Part{What: ShutdownAction, State: Foreign, Remedy: "remove " + ShutdownAction})
	}
	return parts, nil
}
