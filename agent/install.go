package agent

import (
	"context"
	"fmt"

	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

// installer returns the run's Installer.
func (r *run) installer() *systemd.Installer {
	if r.installs == nil {
		r.installs = &systemd.Installer{Host: r.env, StateDir: r.stateDirArgument(), Changed: r.change, Same: func() { r.rep.Unchanged++ }}
	}
	return r.installs
}

// stateDirArgument returns the --state-dir of later runs. It is empty for the default.
func (r *run) stateDirArgument() string {
	if r.cfg.StateDir == DefaultStateDir {
		return ""
	}
	return r.cfg.StateDir
}

// install puts on the node what acts after this run.
func (r *run) install(ctx context.Context) {
	r.installUnits(ctx)
	r.installShutdownAction()
}

// installUnits makes the static IP survive a reboot, and neighbours that change addresses and rules.
// A failure is a warning, since the node is in order without units until its next reboot.
func (r *run) installUnits(ctx context.Context) {
	switch {
	case r.cfg.NoUnits:
		r.note("no systemd units are installed (--no-units): nothing restores the address and the rules after a reboot")
		return
	case !systemd.Running(r.env):
		r.note("systemd does not run here (no " + systemd.RunDir + "): nothing restores the address and the rules after a reboot; run emr-static-ip restore at boot and every minute")
		return
	}
	if err := r.installer().EnsureUnits(ctx); err != nil {
		r.warn(fmt.Sprintf("the systemd units are not complete, and a reboot may lose the address and the rules: %v; run again, or use --no-units", err))
	}
}

// wantsShutdownAction reports whether the node releases its address when EMR ends it.
func (r *run) wantsShutdownAction() bool { return !r.cfg.NoShutdownAction && systemd.IsEMR(r.env) }

// installShutdownAction makes EMR release the address when it ends the node. A failure is a warning:
// without the action EC2 frees the address when the instance has ended, and the next node that needs
// the address takes the record over.
func (r *run) installShutdownAction() {
	var err error
	switch {
	case r.cfg.NoShutdownAction:
		r.note("no EMR shutdown action is installed (--no-shutdown-action): EC2 frees the address when the instance has ended")
		err = r.installer().RemoveShutdownAction() // of an earlier run
	case r.wantsShutdownAction():
		err = r.installer().EnsureShutdownAction()
	}
	if err != nil {
		r.warn(fmt.Sprintf("the EMR shutdown action is not as it should be: %v; without it EC2 frees the address only when the instance has ended; run again", err))
	}
}
