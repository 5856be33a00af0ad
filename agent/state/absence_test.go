package state

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAbsenceFile(t *testing.T) {
	dir := t.TempDir()
	static, root := netip.MustParseAddr("10.0.1.20"), t.TempDir()
	now := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	count := func(after time.Duration, want int) {
		t.Helper()
		now = now.Add(after)
		if a, err := CountAbsence(root, dir, "i-1", static, now); err != nil || a.Count != want {
			t.Errorf("%+v, %v, want count %d", a, err, want)
		}
	}
	count(0, 1)
	count(absentApart-time.Second, 1)
	count(time.Second, 2)
	count(-time.Hour, 2) // the clock is set back
	count(absentApart, 3)
	if err := os.WriteFile(filepath.Join(dir, AbsenceFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	count(time.Hour, 1)
	if a, err := CountAbsence(root, dir, "i-2", static, now.Add(time.Hour)); err != nil || a.Count != 1 {
		t.Errorf("another instance: %+v, %v", a, err)
	}
	if err := os.Chmod(filepath.Join(dir, AbsenceFile), 0o666); err != nil {
		t.Fatal(err)
	}
	if a, err := CountAbsence(root, dir, "i-2", static, now.Add(2*time.Hour)); err != nil || a.Count != 1 {
		t.Errorf("a file that others can write is believed: %+v, %v", a, err)
	}
}

func FuzzAbsence(f *testing.F) {
	f.Add(`{"instance":"i-1","static":"10.0.1.20","count":4,"last":"2025-01-02T03:04:05Z"}`)
	f.Add(`{"count":-1,"static":""}`)
	f.Fuzz(func(t *testing.T, content string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, AbsenceFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := CountAbsence(dir, dir, "i-1", netip.MustParseAddr("10.0.1.20"), time.Now())
		if err == nil && a.Count < 1 {
			t.Errorf("count %d", a.Count)
		}
	})
}
