package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Between mkdir and chown the owner of the directory above puts something else in the place of the
// new directory. It keeps its owner and its mode.
func TestReplacedDirectoryIsNotChanged(t *testing.T) {
	parent, elsewhere := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(elsewhere, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	p := filepath.Join(parent, ".dir.tmp")
	for name, put := range map[string]func() error{
		"a link to a directory": func() error { return os.Symlink(elsewhere, p) },
		"a link to a file":      func() error { return os.Symlink(filepath.Join(elsewhere, "file"), p) },
		"a directory in use":    func() error { return errors.Join(os.Mkdir(p, 0o700), os.WriteFile(filepath.Join(p, "x"), nil, 0o600)) },
		"an open directory":     func() error { return errors.Join(os.Mkdir(p, 0o700), os.Chmod(p, 0o755)) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		before, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.own(".dir.tmp", unix.Stat_t{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid()), Mode: 0o777}); err == nil {
			t.Errorf("%s: no error", name)
		}
		if after, err := os.Stat(p); err != nil || after.Mode() != before.Mode() {
			t.Errorf("%s: %v, %v", name, after.Mode(), err)
		}
		if err := os.RemoveAll(p); err != nil {
			t.Fatal(err)
		}
	}
}
