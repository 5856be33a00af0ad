package state

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// What Memory returns is in the file: a write that fails changes nothing, and the same state is not
// written twice.
func TestMemoryIsNeverAheadOfTheFile(t *testing.T) {
	dir, writes, fails := t.TempDir(), 0, error(nil)
	m := NewMemory(t.TempDir(), dir, "v1", func(dir string, content []byte) error {
		writes++
		if fails != nil {
			return fails
		}
		return Write(dir, content)
	})
	if err := m.Load(""); err != nil || m.Known() {
		t.Fatal(m.Known(), err)
	}
	a := netip.MustParseAddr("10.0.1.21")
	s := State{Phase: Programmed, InstanceID: "i-1", Static: a, Intents: []netip.Addr{a}}
	fails = errors.New("no room")
	if err := m.Save(s); !errors.Is(err, fails) || m.Known() || m.State().Static.IsValid() {
		t.Errorf("after a failed write: known %t, %v, %v", m.Known(), m.State().Static, err)
	}
	fails = nil
	for range 2 {
		if err := m.Save(s); err != nil {
			t.Fatal(err)
		}
	}
	if writes != 2 || len(m.State().Intents) > 0 || m.State().Tool != "v1" {
		t.Errorf("%d writes, %+v", writes, m.State())
	}
	// A rerun does not step back for the same address.
	s.Phase = Attached
	if err := m.Save(s); err != nil || m.State().Phase != Programmed {
		t.Errorf("phase %s, %v", m.State().Phase, err)
	}
	fails = errors.New("read-only")
	s.Phase = Withdrawn
	if err := m.Save(s); !errors.Is(err, fails) || m.State().Phase != Programmed {
		t.Errorf("after a failed write: phase %s, %v", m.State().Phase, err)
	}
	list := m.State()
	list.Former = append(list.Former, a)
	if len(m.State().Former) > 0 {
		t.Error("a caller changed the memory")
	}
	if on, _, err := Load(dir, ""); err != nil || on.Phase != m.State().Phase || on.Static != m.State().Static {
		t.Errorf("the file has %+v, %v", on, err)
	}
}

// A time of writing that lies ahead is corrected by the next run.
func TestMemoryCorrectsAClockAhead(t *testing.T) {
	dir := t.TempDir()
	if err := Save(dir, State{Phase: Withdrawn, InstanceID: "i-1", Written: time.Now().Add(24 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	m := NewMemory(t.TempDir(), dir, "v1", nil)
	if err := m.Load("i-1"); err != nil {
		t.Fatal(err)
	}
	if err := m.Save(m.State()); err != nil || m.State().Written.After(time.Now()) {
		t.Errorf("%s, %v", m.State().Written, err)
	}
}

// An address that was given back is only one of those that the node may have.
func TestUsable(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.1.21"), netip.MustParseAddr("10.0.1.22")
	for phase, given := range map[Phase]bool{Claiming: false, Attached: false, Programmed: false, Withdrawn: true, Releasing: true, Released: true} {
		s := State{Phase: phase, Static: a, Former: []netip.Addr{b}, RecordDue: time.Now()}
		u := s.Usable()
		if u.Static.IsValid() == given || u.RecordDue.IsZero() != given || (len(u.Intents) == 2) != given || s.GivenBack() != given {
			t.Errorf("%s: %+v", phase, u)
		}
	}
}
