package systemd

import (
	"context"
	_ "embed" // the shutdown action
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/atomicfile"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
)

//go:embed emr-static-ip-release.sh
var shutdownTemplate string

// EMR runs all scripts of ShutdownDir at the same time when it scales in or terminates an instance,
// and waits 60 s for them. EMR does not make the directory. "public" belongs to the user hadoop.
// https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-plan-bootstrap.html
const (
	// ControllerDir exists on EMR's nodes only.
	ControllerDir  = "/mnt/var/lib/instance-controller"
	ShutdownDir    = ControllerDir + "/public/shutdown-actions"
	ShutdownAction = ShutdownDir + "/emr-static-ip-release.sh"
)

// shutdownText returns the script that releases the node's address. stateDir is the --state-dir of
// the run, or "" for the default.
func shutdownText(stateDir string) string {
	args := ""
	if stateDir != "" {
		args = " --state-dir " + shellQuoted(stateDir)
	}
	return strings.NewReplacer("@PROGRAM@", Program, "@ARGS@", args).Replace(shutdownTemplate)
}

// shellQuoted returns s as one word of a shell.
func shellQuoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// IsEMR reports whether EMR's instance controller runs this node.
func IsEMR(e host.Environment) bool {
	info, err := os.Stat(e.Path(ControllerDir))
	return err == nil && info.IsDir()
}

// openLikeParent opens dir. It makes dir, and what is missing above it, with the owner and the mode
// of the directory above. Other bootstrap actions, run as hadoop, put their own scripts there. A
// kill leaves a complete directory or none. hadoop owns the directory above and could replace what
// root makes there: all is done by descriptors.
func openLikeParent(dir string) (*atomicfile.Dir, error) {
	d, err := atomicfile.Open(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	parent, err := openLikeParent(filepath.Dir(dir))
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	if err := parent.MakeLike(filepath.Base(dir)); err != nil {
		return nil, err
	}
	return parent.Dir(filepath.Base(dir))
}

// EnsureShutdownAction makes EMR release the address when it ends the node.
func (i *Installer) EnsureShutdownAction(ctx context.Context) error {
	if err := i.ensureProgram(ctx); err != nil {
		return err
	}
	p := i.Host.Path(ShutdownAction)
	if same, err := i.ShutdownActionInPlace(); err != nil {
		return err
	} else if same {
		i.Same()
		return nil
	}
	d, err := openLikeParent(filepath.Dir(p))
	if err != nil {
		return fmt.Errorf("making the directory of EMR's shutdown actions: %w", err)
	}
	defer d.Close()
	if err := d.Replace(filepath.Base(p), strings.NewReader(shutdownText(i.StateDir)), 0o755); err != nil {
		return fmt.Errorf("installing %s: %w", p, err)
	}
	i.Changed("installed " + ShutdownAction)
	return nil
}

// ShutdownActionInPlace reports whether the script has the right content and can be run.
func (i *Installer) ShutdownActionInPlace() (bool, error) {
	p := i.Host.Path(ShutdownAction)
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
	return err == nil && string(text) == shutdownText(i.StateDir), err
}

// RemoveShutdownAction removes the script. The directory stays, since others may use it. The script
// may be the one that runs this program.
func (i *Installer) RemoveShutdownAction() error {
	err := os.Remove(i.Host.Path(ShutdownAction))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("removing the EMR shutdown action: %w", err)
	}
	i.Changed("removed " + ShutdownAction)
	return nil
}
