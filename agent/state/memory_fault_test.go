package state

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The state names the version that wrote it last.
func TestMemoryNamesTheVersion(t *testing.T) {
	root, dir := t.TempDir(), filepath.Join(t.TempDir(), "state")
	if err := NewMemory(root, dir, "v1", nil).Save(testState()); err != nil {
		t.Fatal(err)
	}
	m := NewMemory(root, dir, "v2", nil)
	if err := m.Load(""); err != nil {
		t.Fatal(err)
	}
	if err := m.Save(m.State()); err != nil {
		t.Fatal(err)
	}
	if s, _, err := Load(dir, ""); err != nil || s.Tool != "v2" {
		t.Errorf("the state names %s, %v", s.Tool, err)
	}
	writes := 0
	again := NewMemory(root, dir, "v2", func(string, []byte) error { writes++; return nil })
	if err := again.Load(""); err != nil {
		t.Fatal(err)
	}
	if err := again.Save(again.State()); err != nil || writes > 0 {
		t.Errorf("%d writes of what is there, %v", writes, err)
	}
}

// On a file system that takes no writes a run ends with an error. A restore and a release go on:
// the next run knows what they did, and writes it once that is possible.
func TestMemoryOnAFullFileSystem(t *testing.T) {
	for _, reason := range []syscall.Errno{syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT} {
		root, dir := t.TempDir(), filepath.Join(t.TempDir(), "state")
		if err := NewMemory(root, dir, "v1", nil).Save(testState()); err != nil {
			t.Fatal(err)
		}
		full := func(string, []byte) error { return reason }
		m := NewMemory(root, dir, "v1", full)
		if err := m.Load("i-0a1"); err != nil {
			t.Fatal(err)
		}
		s := m.State()
		s.Phase = Withdrawn
		if err := m.Save(s); !Unwritable(err) || m.State().Phase != Programmed {
			t.Errorf("%v: a run goes on: %v", reason, err)
		}
		m.GoOn()
		if err := m.Save(s); err != nil || m.State().Phase != Withdrawn || m.Unsaved() == nil {
			t.Errorf("%v: %v, %v", reason, err, m.Unsaved())
		}
		written := m.State().Written
		next := NewMemory(root, dir, "v1", nil)
		if err := next.Load("i-0a1"); err != nil || next.State().Phase != Withdrawn {
			t.Errorf("%v: the next run finds %s, %v", reason, next.State().Phase, err)
		}
		if err := next.Retry(); err != nil {
			t.Error(err)
		}
		if s, _, err := Load(dir, ""); err != nil || s.Phase != Withdrawn || !s.Written.Equal(written) {
			t.Errorf("%v: the file says %s of %s, %v", reason, s.Phase, s.Written, err)
		}
		if _, ok, _ := Load(spareDir(root, dir), ""); ok {
			t.Errorf("%v: the state in memory is still there", reason)
		}
	}
}

// A damaged file is put aside when something takes its place, and not before.
func TestMemoryPutsADamagedFileAside(t *testing.T) {
	root, dir := t.TempDir(), filepath.Join(t.TempDir(), "state")
	if err := ensureStateDir(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, File), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := NewMemory(root, dir, "v1", nil)
	if err := m.Load("i-0a1"); !Damaged(err) || m.Known() {
		t.Fatal(err)
	}
	aside := func() int {
		found, err := filepath.Glob(filepath.Join(dir, File+damagedMark+"*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	if aside() != 0 {
		t.Error("the file was put aside by reading it")
	}
	if err := m.Save(testState()); err != nil || aside() != 1 {
		t.Errorf("%d files put aside, %v", aside(), err)
	}
	if err := CheckDir(dir); err != nil {
		t.Error(err)
	}
	if s, ok, err := Load(dir, "i-0a1"); !ok || err != nil || s.Phase != Programmed {
		t.Errorf("%+v, %v", s, err)
	}
}
