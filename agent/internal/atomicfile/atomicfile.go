// Package atomicfile replaces files so that a crash or a power failure leaves the old file or the
// new one, never a part of one.
package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Replace writes content to a temporary file, makes that durable, and renames it to path. The
// directory must exist.
//
// The temporary file has one fixed name, so that Replace overwrites what a killed process left.
// Only one process at a time may replace path: callers hold the lock of the state directory.
func Replace(path string, content io.Reader, mode fs.FileMode) error {
	dir, name := filepath.Split(path)
	// systemd ignores files with this name in its directories, and so does EMR.
	temporary := filepath.Join(dir, "."+name+".tmp")
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = errors.Join(f.Chmod(mode), f.Sync())
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return SyncDir(dir)
}

// SyncDir makes the entries of a directory durable. A rename is in the directory, not in the file.
// https://man7.org/linux/man-pages/man2/fsync.2.html
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
