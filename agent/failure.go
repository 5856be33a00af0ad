package agent

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
)

// explainer gives an error of a run its exit code and remedy.
type explainer func(context.Context, error) error

// withRemedies returns an error and its remedies in one line.
func withRemedies(err error) string {
	return strings.Join(append([]string{err.Error()}, exit.Remedies(err)...), "; ")
}

// StateError returns an error with what to do about a state file that cannot be used.
func StateError(dir string, err error) error {
	if errors.Is(err, state.ErrVersion) {
		return exit.With(ExitInternal, err, "a newer emr-static-ip wrote it: run that version (the field tool of the file). To go back to this version, release the address with "+
			"the newer one first; or remove "+filepath.Join(dir, state.File)+" and run this version with the list of addresses: it finds the node's address and record again")
	}
	return exit.With(ExitInternal, err, "run emr-static-ip again with the list of addresses: it puts the file aside, and finds the node's address by EC2 and the ledger; or emr-static-ip release")
}

// StateDirError returns an error with what to do about a state directory that cannot be written to.
func StateDirError(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ELOOP):
		return exit.With(ExitInternal, err, "something else has this name: find out who put it there, and remove it")
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return exit.With(ExitInternal, err, "raise the limit of open files (ulimit -n; LimitNOFILE= of a unit), or close files of other programs (fs.file-max), and run again")
	}
	if filepath.Base(dir) != filepath.Base(DefaultStateDir) { // it may be somebody else's, such as /mnt
		return exit.With(ExitInternal, err, "name a directory with --state-dir that is empty or does not exist, on a file system that is not read-only and has room")
	}
	return exit.With(ExitInternal, err, "make "+dir+" a directory that root alone can write to, on a file system that is not read-only and has room; or keep the state elsewhere with --state-dir")
}
