package systemd

import (
	"context"
	_ "embed" // the unit
	"strings"
)

//go:embed emr-static-ip-release.service
var releaseTemplate string

// ReleaseService is the unit that releases the address of an instance outside EMR when the machine
// is shut down.
const ReleaseService = "emr-static-ip-release.service"

// ReleaseUnit returns the unit. stateDir is the --state-dir of the run, or "" for the default.
func ReleaseUnit(stateDir string) Unit {
	args := ""
	if stateDir != "" {
		args = " --state-dir " + unitQuoted(stateDir)
	}
	text := strings.NewReplacer("@PROGRAM@", Program, "@ARGS@", args).Replace(releaseTemplate)
	return Unit{ReleaseService, text, "multi-user.target.wants/" + ReleaseService}
}

// EnsureRelease installs and starts the unit. Its start does nothing.
func (i *Installer) EnsureRelease(ctx context.Context) error {
	return i.Ensure(ctx, []Unit{ReleaseUnit(i.StateDir)}, ReleaseService)
}

// RemoveRelease removes the unit. It does not stop the unit, whose stop may be what runs this
// program.
func (i *Installer) RemoveRelease(ctx context.Context) error {
	return i.Remove(ctx, []Unit{ReleaseUnit(i.StateDir)}, "")
}
