// Package atomicfile replaces files so that a crash or a power failure leaves the old file or the
// new one, never a part of one. It works by descriptors, so that the owner of a directory cannot
// lead root elsewhere by a link.
package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
)

// Replace writes content to a temporary file, makes that durable, and renames it to path. The
// directory must exist.
//
// The temporary file has one fixed name, so that Replace overwrites what a killed process left.
// Only one process at a time may replace path: callers hold the lock of the state directory.
func Replace(path string, content io.Reader, mode fs.FileMode) error {
	d, err := Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Replace(filepath.Base(path), content, mode)
}

// Replace is the function of that name, for the file name in d.
func (d *Dir) Replace(name string, content io.Reader, mode fs.FileMode) error {
	// systemd ignores files with this name in its directories, and so does EMR.
	temporary := "." + name + ".tmp"
	if err := d.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := d.create(temporary)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = errors.Join(f.Chmod(mode), f.Sync())
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = d.Rename(temporary, name)
	}
	if err != nil {
		if left := d.Remove(temporary); !errors.Is(left, fs.ErrNotExist) {
			err = errors.Join(err, left)
		}
		return err
	}
	return d.Sync()
}
