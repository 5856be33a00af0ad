package systemd

import (
	"context"
	_ "embed" // the unit
	"fmt"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
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
	unit := strings.NewReplacer("@PROGRAM@", Program, "@ARGS@", args).Replace(releaseTemplate)
	return Unit{ReleaseService, unit, "multi-user.target.wants/" + ReleaseService}
}

// PoweringOff reports whether systemd is ending the machine, and not only rebooting it or stopping
// a unit.
func PoweringOff(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, systemctlMax)
	defer cancel()
	jobs, stderr, err := host.Output(ctx, []string{"systemctl", "list-jobs", "--full", "--no-pager"})
	if err != nil {
		return false, fmt.Errorf("systemctl list-jobs: %w: %s", err, text.Clean(strings.TrimSpace(stderr), text.MaxLine))
	}
	for line := range strings.Lines(jobs) { // "  1 poweroff.target start waiting"
		words := strings.Fields(line)
		if len(words) > 2 && (words[1] == "poweroff.target" || words[1] == "halt.target") && words[2] == "start" {
			return true, nil
		}
	}
	return false, nil
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
