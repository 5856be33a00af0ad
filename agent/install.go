package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

// installed is what acts on the node after the run: the units and the shutdown action.
type installed struct {
	*systemd.Installer
	cfg    *Config
	report *reporter
}

func newInstalled(cfg *Config, env Environment, report *reporter) *installed {
	return &installed{
		Installer: &systemd.Installer{
			Host: env, StateDir: cfg.stateDirArgument(), Version: Version(),
			Changed: func(text string) { report.change(stepInstall, text) },
			Same:    func() { report.unchanged(1) },
		},
		cfg: cfg, report: report,
	}
}

// stateDirArgument returns the --state-dir of later runs. It is empty for the default.
func (c Config) stateDirArgument() string {
	if c.StateDir == DefaultStateDir {
		return ""
	}
	return c.StateDir
}

// InspectInstalled looks at what a run with this configuration installs on the node.
func InspectInstalled(ctx context.Context, cfg Config, env Environment) ([]systemd.Part, error) {
	i := systemd.Installer{Host: env, StateDir: cfg.stateDirArgument(), Version: Version()}
	return i.Inspect(ctx, cfg.wantedParts(env))
}

// wantedParts returns what should be installed on the node.
func (c Config) wantedParts(env Environment) systemd.Wanted {
	return systemd.Wanted{
		Units:    !c.NoUnits && systemd.Running(env),
		Action:   !c.NoShutdownAction && systemd.IsEMR(env),
		Release:  !c.NoShutdownAction && !c.NoUnits && c.Pools.Plain() && systemd.Running(env),
		NoAction: c.NoShutdownAction,
	}
}

// ensure installs the units, and what releases the address at the node's end: EMR's shutdown
// action, or outside EMR a unit. A failure is a warning. Without units the node is in order until
// its next reboot. Without the release EC2 frees the address when the instance has ended, and the
// next node that needs the address takes the record over.
func (i *installed) ensure(ctx context.Context) {
	w := i.cfg.wantedParts(i.Host)
	switch {
	case i.cfg.NoUnits:
		i.report.note("no systemd units are installed (--no-units): nothing restores the address and the rules after a reboot")
	case !w.Units:
		i.report.note("systemd does not run here (no " + systemd.RunDir + "): nothing restores the address and the rules after a reboot; run emr-static-ip restore at boot and every minute")
	default:
		if err := i.EnsureUnits(ctx); err != nil {
			i.report.warn(fmt.Sprintf("the systemd units are not complete, and a reboot may lose the address and the rules: %v; run again, or use --no-units", err))
		}
	}
	what := "EMR shutdown action"
	if i.cfg.Pools.Plain() {
		what = systemd.ReleaseService
	}
	var err error
	switch {
	case w.NoAction:
		i.report.note("no " + what + " is installed (--no-shutdown-action): EC2 frees the address when the instance has ended")
		err = errors.Join(i.RemoveShutdownAction(), i.RemoveRelease(ctx)) // of an earlier run
	case w.Action:
		err = i.EnsureShutdownAction(ctx)
	case w.Release:
		err = i.EnsureRelease(ctx)
	}
	if err != nil {
		i.report.warn(fmt.Sprintf("the %s is not as it should be: %v; without it EC2 frees the address only when the instance has ended; run again", what, err))
	}
}

// remove removes what ensure installs. If the file system takes no writes, it warns.
// Units that stay find that the node has no static IP and do nothing.
func (i *installed) remove(ctx context.Context) error {
	err := errors.Join(i.RemoveUnits(ctx), i.RemoveRelease(ctx), i.RemoveShutdownAction())
	if state.Unwritable(err) {
		i.report.warn(err.Error() + "; run emr-static-ip release again when that can be written")
		return nil
	}
	return err
}

// plan reports what ensure would install.
func (i *installed) plan(ctx context.Context) error {
	parts, err := i.Inspect(ctx, i.cfg.wantedParts(i.Host))
	if err != nil {
		return err
	}
	for _, part := range parts {
		if part.State == systemd.Present {
			i.report.unchanged(1)
		} else {
			i.report.would(stepInstall, part.Remedy)
		}
	}
	return nil
}
