package atomicfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/atomicfile"
)

// The owner of a directory replaces what root has just made there, or a directory on the way, by a
// link. Root follows no such link.
func TestLinksOfOthersAreNotFollowed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, which follows links")
	}
	const other = 498
	public, victim := t.TempDir(), t.TempDir()
	if err := os.Lchown(public, other, other); err != nil {
		t.Skip(err) // root of a user namespace without that user
	}
	link := filepath.Join(public, "shutdown-actions")
	if err := errors.Join(os.Symlink(victim, link), os.Lchown(link, other, other)); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Replace(filepath.Join(link, "file"), strings.NewReader("x"), 0o755); err == nil {
		t.Error("a file was written through the link")
	}
	if d, err := atomicfile.Open(link); err == nil {
		t.Error("the link was followed")
		d.Close()
	}
	if entries, err := os.ReadDir(victim); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
	// A link that root made, where root alone makes links, is followed.
	own := t.TempDir()
	if err := os.Symlink(victim, filepath.Join(own, "link")); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Replace(filepath.Join(own, "link", "file"), strings.NewReader("x"), 0o600); err != nil {
		t.Error(err)
	}
}

// What stands in the place of the temporary directory is left as it is.
func TestMakeLike(t *testing.T) {
	parent, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	if err := errors.Join(os.Chmod(parent, 0o770), os.WriteFile(victim, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	d, err := atomicfile.Open(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	temporary := filepath.Join(parent, ".dir.tmp")
	for name, prepare := range map[string]func() error{
		"a link":                func() error { return os.Symlink(victim, temporary) },
		"a directory with more": func() error { return os.MkdirAll(filepath.Join(temporary, "more"), 0o700) },
		"a file":                func() error { return os.WriteFile(temporary, nil, 0o600) },
	} {
		if err := prepare(); err != nil {
			t.Fatal(err)
		}
		if err := d.MakeLike("dir"); err == nil {
			t.Errorf("%s: no error", name)
		}
		if info, err := os.Stat(victim); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
		if _, err := os.Lstat(filepath.Join(parent, "dir")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.RemoveAll(temporary); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(temporary, 0o700); err != nil { // of a run that was killed
		t.Fatal(err)
	}
	if err := d.MakeLike("dir"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(parent, "dir"))
	if err != nil || info.Mode() != fs.ModeDir|0o770 || int(info.Sys().(*syscall.Stat_t).Uid) != os.Getuid() {
		t.Errorf("%v, %v", info, err)
	}
}
