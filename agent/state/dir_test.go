package state

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

// An existing directory keeps its mode and its owner, and what is in it. One with files of others
// is refused before anything is written.
func TestExistingDirectoryIsNotChanged(t *testing.T) {
	valid := func(dir string) error { return Save(dir, testState()) }
	file := func(name string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644) }
	}
	chown := func(dir string) error {
		if os.Geteuid() != 0 {
			return errors.ErrUnsupported
		}
		return os.Chown(dir, 12345, 12345)
	}
	for _, test := range []struct {
		name    string
		mode    fs.FileMode
		prepare func(dir string) error
		refused bool
	}{
		{"empty", 0o755, nil, false},
		{"empty, with the set-group-id bit", 0o755 | fs.ModeSetgid, nil, false},
		{"a former state", 0o700, valid, false},
		{"a former state that others may list", 0o755, valid, false},
		{"a damaged state", 0o755, file(File), false},
		{"a lock alone", 0o755, file(lockFile), false},
		{"what a killed run left", 0o700, file("." + File + ".tmp"), false},
		{"something beside a state", 0o755, func(dir string) error { return errors.Join(valid(dir), file("notes")(dir)) }, false},
		{"a directory of another program", 0o755, func(dir string) error { return os.Mkdir(filepath.Join(dir, "hdfs"), 0o755) }, true},
		{"closed, of another program", 0o700, file("id_rsa"), true},
		{"another program's state and lock", 0o755, func(dir string) error { return errors.Join(file(File)(dir), file(lockFile)(dir), file("data")(dir)) }, true},
		{"a hidden file", 0o755, file(".profile"), true},
		{"as /tmp", 0o777 | fs.ModeSticky, file("socket"), true},
		{"writable by its group", 0o775, file("data"), true},
		{"as /tmp, with a state", 0o777 | fs.ModeSticky, func(dir string) error { return errors.Join(valid(dir), file("socket")(dir)) }, true},
		{"as /tmp, with a state alone", 0o777 | fs.ModeSticky, valid, true},
		{"as an empty /tmp", 0o777 | fs.ModeSticky, nil, true},
		{"writable by all, with a state and files of others", 0o777, func(dir string) error { return errors.Join(valid(dir), file("data")(dir)) }, true},
		{"writable by all, with another program's state", 0o777, func(dir string) error { return errors.Join(file(File)(dir), file("data")(dir)) }, true},
		{"a state that others write, beside other files", 0o755, func(dir string) error {
			return errors.Join(valid(dir), file("data")(dir), os.Chmod(filepath.Join(dir, File), 0o666))
		}, true},
		{"of another user, with a state", 0o755, func(dir string) error { return errors.Join(valid(dir), file("data")(dir), chown(dir)) }, true},
		{"empty, of another user", 0o755, chown, true},
		{"empty, writable by all", 0o777, nil, true},
		{"of another user", 0o755, func(dir string) error { return errors.Join(file("data")(dir), chown(dir)) }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "dir")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if test.prepare != nil {
				if err := test.prepare(dir); errors.Is(err, errors.ErrUnsupported) && os.Getenv("REQUIRE_NETNS") != "1" {
					t.Skip("needs root")
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(dir, test.mode); err != nil {
				t.Fatal(err)
			}
			content := func() (names []string) {
				entries, _ := os.ReadDir(dir)
				for _, e := range entries {
					names = append(names, e.Name())
				}
				return names
			}
			before, err := os.Stat(dir)
			names := content()
			if err != nil {
				t.Fatal(err)
			}
			unlock, lockErr := Lock(t.Context(), dir)
			if lockErr == nil {
				unlock()
			}
			for what, err := range map[string]error{"lock": lockErr, "save": Save(dir, testState()), "last error": WriteLastError(dir, LastError{}), "try": Writable(dir)} {
				refused := errors.Is(err, ErrNotOurs)
				if refused != test.refused || refused && exit.CodeOf(err) != exit.Usage || !refused && err != nil {
					t.Errorf("%s: %v", what, err)
				}
				// Nobody is to be told to take another program's directory away from it.
				if remedy := fmt.Sprint(exit.Remedies(err)); strings.Contains(remedy, "chmod") || strings.Contains(remedy, "chown") {
					t.Errorf("%s: %s", what, remedy)
				}
			}
			if after, err := os.Stat(dir); err != nil || after.Mode() != before.Mode() || after.Sys().(*syscall.Stat_t).Uid != before.Sys().(*syscall.Stat_t).Uid {
				t.Errorf("%v before, %v after, %v", before.Mode(), after.Mode(), err)
			}
			if test.refused && strings.Join(names, " ") != strings.Join(content(), " ") {
				t.Errorf("%q before, %q after", names, content())
			}
		})
	}
}

// readOnly mounts an empty file system, in a mount namespace of the test's thread, and returns a
// function that makes it read-only.
func readOnly(t *testing.T, dir, options string) (lock func()) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		if os.Getenv("REQUIRE_NETNS") == "1" {
			t.Fatalf("REQUIRE_NETNS=1, and this needs root: %v", err)
		}
		t.Skipf("needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return func() {
		if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, options); err != nil {
			t.Fatal(err)
		}
	}
}

// On a file system that is read-only the lock holds all the same. What must be known to the next
// run is kept in memory, and a state that can be saved again takes its place.
func TestReadOnlyFileSystem(t *testing.T) {
	for _, made := range []bool{true, false} {
		mount, root := t.TempDir(), t.TempDir()
		lock := readOnly(t, mount, "mode=0755,size=1m")
		dir, other := filepath.Join(mount, "state"), t.TempDir()
		if made {
			if err := Save(dir, testState()); err != nil {
				t.Fatal(err)
			}
		}
		lock()
		unlock, err := Lock(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := flockAgain(dir); !errors.Is(err, syscall.EWOULDBLOCK) {
			t.Errorf("made %v: two hold the lock: %v", made, err)
		}
		unlock()
		s := testState()
		s.Phase = Withdrawn
		if err := Save(dir, s); !Unwritable(err) {
			t.Errorf("made %v: %v", made, err)
		}
		if err := Writable(dir); !Unwritable(err) {
			t.Errorf("made %v: writable: %v", made, err)
		}
		if err := SaveSpare(root, dir, s); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := LoadLatest(root, dir, s.InstanceID); err != nil || !ok || got.Phase != Withdrawn {
			t.Errorf("made %v: %+v, %v, %v", made, got, ok, err)
		}
		if _, ok, err := LoadLatest(root, other, ""); ok || err != nil {
			t.Errorf("made %v: the state of another directory: %v, %v", made, ok, err)
		}
		if _, ok, _ := LoadLatest(root, dir, "i-0b2"); ok {
			t.Errorf("made %v: the state of another instance is used", made)
		}
		if err := DropSpare(root, dir); err != nil {
			t.Error(err)
		}
		if got, ok, err := LoadLatest(root, dir, ""); err != nil || ok != made || got.Phase == Withdrawn {
			t.Errorf("made %v: %+v, %v, %v", made, got, ok, err)
		}
	}
}

// flockAgain tries to take the lock of dir a second time.
func flockAgain(dir string) error {
	f, err := lockless(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return flock(f)
}

// A file system that is full or read-only does not keep a node from withdrawing its address.
func TestAbsenceIsCountedOnAReadOnlyFileSystem(t *testing.T) {
	mount, root := t.TempDir(), t.TempDir()
	lock := readOnly(t, mount, "mode=0700,size=1m")
	static, now := netip.MustParseAddr("10.0.1.20"), time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	count := func(want int) {
		t.Helper()
		now = now.Add(absentApart)
		if a, err := CountAbsence(root, mount, "i-1", static, now); err != nil || a.Count != want {
			t.Errorf("%+v, %v, want count %d", a, err, want)
		}
	}
	count(1)
	count(2)
	lock()
	count(3)
	count(4)
	if err := ForgetAbsence(root, mount); err != nil {
		t.Error(err)
	}
	count(1)
	count(2)
	if err := syscall.Mount("", mount, "", syscall.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	count(3)
	if err := ForgetAbsence(root, mount); err != nil {
		t.Error(err)
	}
	count(1)
}

// A state file that is of no use is put aside, whatever it is.
func TestPutAside(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, File)
	for i, prepare := range []func() error{
		func() error { return os.WriteFile(p, []byte("{"), 0o600) },
		func() error { return os.WriteFile(p, nil, 0o600) },
		func() error { return os.WriteFile(p, []byte(`{"version":1}`), 0o600) },
	} {
		if err := prepare(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Load(dir, ""); !Damaged(err) {
			t.Errorf("%d: %v", i, err)
		}
		aside, err := PutAside(dir, time.Unix(int64(i), 0))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(aside); err != nil {
			t.Error(err)
		}
		if err := Save(dir, testState()); err != nil {
			t.Error(err)
		}
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
}

// The clock may jump. No record waits for ever.
func TestRecordWait(t *testing.T) {
	now := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, test := range []struct {
		name         string
		written, due time.Time
		want         time.Duration
	}{
		{"soon", now.Add(-time.Second), now.Add(time.Minute), time.Minute},
		{"over", now.Add(-time.Hour), now.Add(-time.Minute), -time.Minute},
		{"the clock was ahead", now.AddDate(10, 0, 0), now.AddDate(10, 0, 1), 0},
		{"the clock went back after the state was written", now.Add(-time.Second), now.AddDate(1, 0, 0), 0},
		{"the clock was behind", now.AddDate(-10, 0, 0), now.AddDate(-10, 0, 1), now.AddDate(-10, 0, 1).Sub(now)},
	} {
		if got := (State{Written: test.written, RecordDue: test.due}).RecordWait(now); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
