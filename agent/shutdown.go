package agent

import (
	_ "embed" // the shutdown action
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/atomicfile"
)

//go:embed systemd/emr-static-ip-release.sh
var shutdownTemplate string

// EMR runs every script of shutdownDir, side by side, when an instance is scaled in or terminated, and waits 60 s for them. The directory is
// not there by itself; "public" is the user hadoop's.
//
// https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-plan-bootstrap.html
const (
	controllerDir  = "/mnt/var/lib/instance-controller" // on EMR's nodes only
	shutdownDir    = controllerDir + "/public/shutdown-actions"
	shutdownAction = shutdownDir + "/emr-static-ip-release.sh"
)

// shutdownText is the script that releases the node's address.
func shutdownText(cfg Config) string {
	args := ""
	if cfg.StateDir != DefaultStateDir {
		args = " --state-dir " + shellQuoted(cfg.StateDir)
	}
	return strings.NewReplacer("@PROGRAM@", unitProgram, "@ARGS@", args).Replace(shutdownTemplate)
}

// shellQuoted is s as one word of a shell.
func shellQuoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// isEMR tells whether EMR's instance controller runs this node.
func isEMR(e Environment) bool {
	info, err := os.Stat(e.Path(controllerDir))
	return err == nil && info.IsDir()
}

// wantsShutdownAction tells whether the node is to release its address when EMR ends it.
func (r *run) wantsShutdownAction() bool { return !r.cfg.NoShutdownAction && isEMR(r.env) }

// installShutdownAction makes EMR release the address when it ends the node. Run again it changes nothing. Without it the address is free when
// the instance is gone, and its claim is taken over by who needs it: a failure is a warning, and the node is kept.
func (r *run) installShutdownAction() {
	var err error
	switch {
	case r.cfg.NoShutdownAction:
		r.note("no EMR shutdown action is installed (--no-shutdown-action): EC2 frees the address when the instance has ended")
		err = r.removeShutdownAction() // of a run before
	case r.wantsShutdownAction():
		err = r.ensureShutdownAction()
	}
	if err != nil {
		r.warn(fmt.Sprintf("the EMR shutdown action is not as it should be: %v; without it EC2 frees the address only when the instance has ended; run again", err))
	}
}

func (r *run) ensureShutdownAction() error {
	if err := r.ensureProgram(); err != nil {
		return err
	}
	p := r.env.Path(shutdownAction)
	if same, err := r.shutdownActionInPlace(); err != nil {
		return err
	} else if same {
		r.rep.Unchanged++
		return nil
	}
	if err := makeDirLikeParent(filepath.Dir(p)); err != nil {
		return fmt.Errorf("making the directory of EMR's shutdown actions: %w", err)
	}
	if err := atomicfile.Replace(p, strings.NewReader(shutdownText(r.cfg)), 0o755); err != nil {
		return fmt.Errorf("installing %s: %w", p, err)
	}
	r.change("installed " + shutdownAction)
	return nil
}

// shutdownActionInPlace tells whether the script is there, as it should be, and can be run.
func (r *run) shutdownActionInPlace() (bool, error) {
	p := r.env.Path(shutdownAction)
	info, err := os.Lstat(p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.Mode().IsRegular() || info.Mode().Perm() != 0o755:
		return false, nil
	}
	text, err := os.ReadFile(p)
	return err == nil && string(text) == shutdownText(r.cfg), err
}

// removeShutdownAction takes the script away; the directory, which others may use, stays. It may be the very script that runs this program.
func (r *run) removeShutdownAction() error {
	err := os.Remove(r.env.Path(shutdownAction))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("removing the EMR shutdown action: %w", err)
	}
	r.change("removed " + shutdownAction)
	return nil
}

// makeDirLikeParent makes dir, and what is missing above it, with the owner and the mode of the directory that it is in: other bootstrap
// actions, run as hadoop, put their own scripts there. A kill leaves a complete directory or none.
func makeDirLikeParent(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("%s is no directory", dir)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDirLikeParent(parent); err != nil {
		return err
	}
	if info, err = os.Stat(parent); err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: its owner cannot be told", parent)
	}
	temporary := filepath.Join(parent, "."+filepath.Base(dir)+".tmp")
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Mkdir(temporary, 0o700); err != nil {
		return err
	}
	// Chown takes the set-id bits away: the mode comes last.
	err = errors.Join(os.Chown(temporary, int(owner.Uid), int(owner.Gid)), os.Chmod(temporary, info.Mode().Perm()))
	if err == nil {
		err = os.Rename(temporary, dir)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return atomicfile.SyncDir(parent)
}
