package agent

import (
	"context"
	"fmt"

	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

// installer returns the run's Installer.
func (r *run) installer() *systemd.Installer {
	if r.installs == nil {
		r.installs = &systemd.Installer{
			Host: r.env, StateDir: r.cfg.stateDirArgument(), Version: Version(),
			Changed: func(text string) { r.report.change(stepInstall, text) },
			Same:    func() { r.report.unchanged(1) },
		}
	}
	return r.installs
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
		NoAction: c.NoShutdownAction,
	}
}

// install installs the units and the shutdown action, which act after this run. A failure is a
// warning. Without units the node is in order until its next reboot. Without the shutdown action
// EC2 frees the address when the instance has ended, and the next node that needs the address takes
// the record over.
func (r *run) install(ctx context.Context) {
	w := r.cfg.wantedParts(r.env)
	switch {
	case r.cfg.NoUnits:
		r.report.note("no systemd units are installed (--no-units): nothing restores the address and the rules after a reboot")
	case !w.Units:
		r.report.note("systemd does not run here (no " + systemd.RunDir + "): nothing restores the address and the rules after a reboot; run emr-static-ip restore at boot and every minute")
	default:
		if err := r.installer().EnsureUnits(ctx); err != nil {
			r.report.warn(fmt.Sprintf("the systemd units are not complete, and a reboot may lose the address and the rules: %v; run again, or use --no-units", err))
		}
	}
	var err error
	switch {
	case w.NoAction:
		r.report.note("no EMR shutdown action is installed (--no-shutdown-action): EC2 frees the address when the instance has ended")
		err = r.installer().RemoveShutdownAction() // of an earlier run
	case w.Action:
		err = r.installer().EnsureShutdownAction(ctx)
	}
	if err != nil {
		r.report.warn(fmt.Sprintf("the EMR shutdown action is not as it should be: %v; without it EC2 frees the address only when the instance has ended; run again", err))
	}
}
