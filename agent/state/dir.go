package state

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// ErrNotOurs is for a state directory that has files of others.
var ErrNotOurs = errors.New("is not a state directory")

// damagedMark begins the end of the name of a state file that was put aside.
const damagedMark = ".damaged-"

// trialMark begins the name of a file by which Writable tries a directory.
const trialMark = ".emr-static-ip-"

// ensureStateDir makes dir, for this user alone, or checks an existing one with CheckDir.
func ensureStateDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return CheckDir(dir)
}

// CheckDir checks that dir may have the state: it belongs to root or to this user, nobody else may
// write it, and it is empty or has a state. Mode and owner of an existing directory are never
// changed: the files of a state are readable by this user alone.
func CheckDir(dir string) error {
	if err := checkOwnDir(dir); err != nil {
		return err
	}
	foreign, err := foreignIn(dir)
	if err != nil || len(foreign) == 0 {
		return err
	}
	switch _, err := loadState(dir, filepath.Join(dir, File)); {
	case err == nil, errors.Is(err, ErrVersion):
		return nil // somebody keeps something beside a state
	case errors.Is(err, ErrUnsafe) && filepath.Base(dir) == ownDirName:
		return err
	}
	return notOurs(dir, foreign) // the state may be another program's, too
}

// checkOwnDir is checkOwn for dir. Only of a directory that is surely this program's does the error
// say how to change it. The mode and the owner of another one are as they have to be, as those of
// /tmp are, also if it has a state.
func checkOwnDir(dir string) error {
	err := checkOwn(dir, fs.ModeDir)
	if !errors.Is(err, ErrUnsafe) {
		return err
	}
	foreign, readErr := foreignIn(dir)
	if readErr == nil && isOwnDir(dir, len(foreign) == 0) {
		return err
	}
	if readErr == nil && len(foreign) > 0 {
		return notOurs(dir, foreign)
	}
	_, why, _ := strings.Cut(err.Error(), ErrUnsafe.Error())
	return notStateDir(dir, fmt.Errorf("it %w%s", ErrUnsafe, why))
}

// isOwnDir reports whether dir certainly belongs to this program: it has the program's name or a
// state, and no file of others, others may not write it, and it is not directly below the root.
func isOwnDir(dir string, alone bool) bool {
	named := filepath.Base(dir) == ownDirName
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return false
	case !info.IsDir():
		return named // a link or a file in the place of the directory
	case info.Mode()&fs.ModeSticky != 0, filepath.Dir(filepath.Dir(dir)) == filepath.Dir(dir):
		return false
	}
	_, err = os.Lstat(filepath.Join(dir, File))
	hasState := err == nil
	return alone && hasState || named && (alone || hasState)
}

// ownDirName is the last part of the name of the default state directory.
const ownDirName = "emr-static-ip"

// foreignIn lists the names in dir that this package does not give its files, quoted.
func foreignIn(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if !ours(e.Name()) {
			names = append(names, text.Quote(e.Name()))
		}
	}
	return names, err
}

// notOurs returns the error for a directory that has these files of others.
func notOurs(dir string, foreign []string) error {
	if more := len(foreign) - 3; more > 0 {
		foreign = append(foreign[:3], fmt.Sprintf("%d more", more))
	}
	return notStateDir(dir, errors.New("it has "+strings.Join(foreign, ", ")))
}

// notStateDir returns the error for a directory that is not to be used, and not to be changed.
func notStateDir(dir string, why error) error {
	remedy := "name a directory with --state-dir that is empty or does not exist"
	if _, err := os.Lstat(filepath.Join(dir, File)); err == nil {
		remedy += fmt.Sprintf("; if the %s in %s is this program's, run again with the list of addresses: the node's address is found by EC2 and the ledger", File, dir)
	}
	return exit.With(exit.Usage, fmt.Errorf("%s %w: %w", dir, ErrNotOurs, why), remedy)
}

// ours reports whether name is one of the names that this package gives its files.
func ours(name string) bool {
	if name == lockFile || strings.HasPrefix(name, File+damagedMark) || strings.HasPrefix(name, trialMark) {
		return true
	}
	return slices.ContainsFunc([]string{File, LastErrorFile, AbsenceFile}, func(own string) bool { return name == own || name == "."+own+".tmp" })
}

// Unwritable reports whether err says that a file system takes no more writes: it is read-only,
// full, or fails.
func Unwritable(err error) bool {
	for _, e := range []error{syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EIO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Writable reports, by an error, whether the state could be written into dir. It leaves nothing
// behind. If dir is missing, Writable tries the nearest directory above it.
func Writable(dir string) error {
	if _, err := os.Lstat(dir); err == nil {
		if err := CheckDir(dir); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.CreateTemp(existing(dir), trialMark+"*.tmp")
	if err != nil {
		return fmt.Errorf("writing to %s: %w", existing(dir), text.WithoutPath(err))
	}
	_, err = f.Write(make([]byte, 16<<10)) // a state file is smaller
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close(), os.Remove(f.Name())); err != nil {
		return fmt.Errorf("writing to %s: %w", existing(dir), err)
	}
	return nil
}

// existing returns dir, or the nearest directory above it that exists.
func existing(dir string) string {
	for dir != filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

// spareDir returns the directory below /run that has the state while dir cannot be written. It
// lasts until the next boot. root is the directory that has the node's files.
func spareDir(root, dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(root, "/run/emr-static-ip", hex.EncodeToString(sum[:6]))
}
