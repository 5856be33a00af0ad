package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is an open directory. It stays the same directory whatever becomes of its path.
type Dir struct {
	f    *os.File
	path string
}

// Open opens the directory path. It follows a link only if nobody but root could have made it.
func Open(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open("/")
	if err != nil {
		return nil, err
	}
	d := &Dir{f, "/"}
	names := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	for i, name := range names {
		flags := unix.O_PATH // it needs no permission to list the directory
		if i == len(names)-1 {
			flags = unix.O_RDONLY
		}
		next, err := d.dir(name, flags)
		d.Close()
		if err != nil {
			return nil, err
		}
		d = next
	}
	return d, nil
}

// Dir opens the directory name in d, as Open does.
func (d *Dir) Dir(name string) (*Dir, error) { return d.dir(name, unix.O_RDONLY) }

func (d *Dir) dir(name string, flags int) (*Dir, error) {
	flags |= unix.O_DIRECTORY | unix.O_CLOEXEC
	next, err := d.open(name, flags|unix.O_NOFOLLOW, 0)
	if (errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR)) && d.rootsLink(name) {
		next, err = d.open(name, flags, 0)
	}
	if err != nil {
		return nil, err
	}
	return &Dir{next, d.join(name)}, nil
}

// rootsLink reports whether name is a link that root made, in a directory in which root alone makes
// links.
func (d *Dir) rootsLink(name string) bool {
	var dir, link unix.Stat_t
	if unix.Fstat(d.fd(), &dir) != nil || unix.Fstatat(d.fd(), name, &link, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return false
	}
	others := dir.Mode&0o022 != 0 && dir.Mode&unix.S_ISVTX == 0
	return link.Mode&unix.S_IFMT == unix.S_IFLNK && link.Uid == 0 && dir.Uid == 0 && !others
}

// MakeLike makes the directory name in d, with the owner and the mode of d. A kill leaves a
// complete directory or none.
func (d *Dir) MakeLike(name string) error {
	var like unix.Stat_t
	if err := unix.Fstat(d.fd(), &like); err != nil {
		return d.failed("stat", ".", err)
	}
	temporary := "." + name + ".tmp"
	if err := unix.Unlinkat(d.fd(), temporary, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return d.failed("rmdir", temporary, err)
	}
	if err := unix.Mkdirat(d.fd(), temporary, 0o700); err != nil {
		return d.failed("mkdir", temporary, err)
	}
	err := d.own(temporary, like)
	if err == nil {
		err = d.Rename(temporary, name)
	}
	if err != nil {
		return errors.Join(err, unix.Unlinkat(d.fd(), temporary, unix.AT_REMOVEDIR))
	}
	return d.Sync()
}

// own gives the new directory name the owner and the mode of like. If the owner of d has put
// something else in its place, own changes nothing.
func (d *Dir) own(name string, like unix.Stat_t) error {
	f, err := d.open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var is unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &is); err != nil {
		return d.failed("stat", name, err)
	}
	_, readErr := f.Readdirnames(1)
	if int(is.Uid) != os.Geteuid() || is.Mode&0o777 != 0o700 || !errors.Is(readErr, io.EOF) {
		return fmt.Errorf("%s was replaced by somebody else", d.join(name))
	}
	// Chown takes the set-id bits away: the mode comes last.
	return errors.Join(f.Chown(int(like.Uid), int(like.Gid)), f.Chmod(fs.FileMode(like.Mode&0o777)))
}

// Rename renames an entry of d.
func (d *Dir) Rename(from, to string) error {
	if err := unix.Renameat(d.fd(), from, d.fd(), to); err != nil {
		return d.failed("rename", from, err)
	}
	return nil
}

// Remove removes a file or a link.
func (d *Dir) Remove(name string) error {
	if err := unix.Unlinkat(d.fd(), name, 0); err != nil {
		return d.failed("remove", name, err)
	}
	return nil
}

// Sync makes the entries of d durable.
func (d *Dir) Sync() error { return d.f.Sync() }

// Close closes d.
func (d *Dir) Close() error { return d.f.Close() }

func (d *Dir) create(name string) (*os.File, error) {
	return d.open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
}

// open is openat(2), again if a signal interrupts it.
func (d *Dir) open(name string, flags int, mode uint32) (*os.File, error) {
	for {
		fd, err := unix.Openat(d.fd(), name, flags, mode)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, d.failed("open", name, err)
		}
		return os.NewFile(uintptr(fd), d.join(name)), nil
	}
}

func (d *Dir) failed(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: d.join(name), Err: err}
}

func (d *Dir) join(name string) string { return filepath.Join(d.path, name) }
func (d *Dir) fd() int                 { return int(d.f.Fd()) }
