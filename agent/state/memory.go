package state

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// Memory is what a run knows of the state file. Save is its only writer: what State returns is in
// the file, or comes from it.
type Memory struct {
	root  string
	dir   string
	tool  string
	write func(dir string, content []byte) error
	state State
	known bool

	spare   bool  // the state is where SaveSpare puts it, and not in dir
	lenient bool  // see GoOn
	unsaved error // why the state could not be saved in dir
	damaged error // of Load; the file is put aside with the next Save
}

// NewMemory returns the Memory of the state file in dir. It reads nothing. root is the directory
// that has the node's files, tool is the version of the program that writes. write replaces Write
// if it is not nil.
func NewMemory(root, dir, tool string, write func(dir string, content []byte) error) *Memory {
	return &Memory{root: root, dir: dir, tool: tool, write: write}
}

// Load reads the state file; see LoadLatest. After an error the Memory knows nothing. If the file
// is damaged (see Damaged), the next Save puts it aside.
func (m *Memory) Load(instanceID string) (err error) {
	m.damaged = nil
	if m.state, m.spare, err = Load(spareDir(m.root, m.dir), instanceID); err == nil && m.spare {
		m.known = true
		return nil
	}
	m.spare = false
	if m.state, m.known, err = Load(m.dir, instanceID); Damaged(err) {
		m.damaged = err
	}
	return err
}

// Known reports whether there is a state file.
func (m *Memory) Known() bool { return m.known }

// GoOn makes Save succeed if the file system of the state directory takes no writes. A restore and
// a release need this. The state is then kept below /run until the next boot. See Unsaved.
func (m *Memory) GoOn() { m.lenient = true }

// Unsaved returns why the state is in memory only, or nil.
func (m *Memory) Unsaved() error { return m.unsaved }

// State returns what the state file says, or the zero State if there is none. The caller may change
// its lists.
func (m *Memory) State() State {
	s := m.state
	s.Former, s.Intents, s.Unproven = slices.Clone(s.Former), slices.Clone(s.Intents), slices.Clone(s.Unproven)
	s.VPC, s.Gateways = slices.Clone(s.VPC), slices.Clone(s.Gateways)
	return s
}

// Save makes s the state file and fills in the version, the tool and the time. If the file says the
// same already, Save writes nothing. The caller holds the Lock.
func (m *Memory) Save(s State) error {
	// The static IP itself is known by its own field.
	s.Intents = slices.DeleteFunc(slices.Clone(s.Intents), func(a netip.Addr) bool { return a == s.Static })
	touched := s.Touched()
	s.Unproven = slices.DeleteFunc(slices.Clone(s.Unproven), func(a netip.Addr) bool { return !slices.Contains(touched, a) })
	if !s.Doubts(s.Static) {
		s.Before, s.BeforeDue = netip.Addr{}, time.Time{}
	}
	s.TakingBack = s.TakingBack && s.Phase == Releasing
	s.Version, s.Tool, s.Written = Version, m.tool, time.Now().UTC()
	if m.known && !m.spare && !m.state.Written.After(s.Written) && s.repeats(m.state) {
		return nil
	}
	return m.put(s)
}

// Retry writes into the state directory what could be kept in memory only, if anything.
func (m *Memory) Retry() error {
	if !m.spare {
		return nil
	}
	return m.put(m.state)
}

func (m *Memory) put(s State) error {
	err := m.putAside()
	if err == nil {
		err = SaveUsing(m.dir, s, m.write)
	}
	switch {
	case err == nil:
		m.state, m.known, m.spare, m.unsaved, m.damaged = s, true, false, nil, nil
		return DropSpare(m.root, m.dir)
	case !m.lenient || !Unwritable(err):
		return err
	}
	if spareErr := SaveSpare(m.root, m.dir, s); spareErr != nil {
		err = errors.Join(err, spareErr)
	}
	m.state, m.known, m.spare, m.unsaved = s, true, true, err
	return nil
}

// putAside renames a damaged state file.
func (m *Memory) putAside() error {
	if m.damaged == nil {
		return nil
	}
	_, err := PutAside(m.dir, time.Now())
	return err
}

// repeats reports whether s has nothing that old lacks. Another version of the program counts as
// new. A rerun for the same address does not go back from Programmed to Attached.
func (s State) repeats(old State) bool {
	s.Written = old.Written
	if s.Phase == Attached && old.Phase == Programmed && s.Static == old.Static {
		s.Phase = Programmed
	}
	return reflect.DeepEqual(normal(s), normal(old))
}

// normal makes states comparable: an empty list is no list.
func normal(s State) State {
	for _, list := range []*[]netip.Addr{&s.Former, &s.Intents, &s.Unproven, &s.Settings.Pools.Master, &s.Settings.Pools.Core, &s.Settings.Pools.Task, &s.Settings.Pools.Any} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	for _, list := range []*[]netip.Prefix{&s.VPC, &s.Gateways, &s.Settings.Only, &s.Settings.Exclude} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	return s
}

// Touched lists the addresses that earlier runs of this node may have been given, or programmed.
func (s State) Touched() []netip.Addr {
	var list []netip.Addr
	for _, a := range slices.Concat([]netip.Addr{s.Static}, s.Intents, s.Former) {
		if a.IsValid() && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// GivenBack reports whether the node has given its static IP back, was about to, or has lost it.
func (s State) GivenBack() bool {
	return s.Phase == Withdrawn || s.Phase == Releasing || s.Phase == Released
}

// Usable returns s as a new run may use it. A static IP that was given back is only one of the
// addresses that the node may have: no restore may put it back while a run looks for another one.
// IMDS goes on listing it for a while. A run that puts it into use again has to prove it again.
func (s State) Usable() State {
	if s.GivenBack() {
		s.Intents, s.Static, s.RecordDue = s.Touched(), netip.Addr{}, time.Time{}
		s.Unproven = slices.Clone(s.Intents)
	}
	return s
}

// Doubts reports whether a was asked for by a run, and no run has come to its end with it.
func (s State) Doubts(a netip.Addr) bool { return slices.Contains(s.Unproven, a) }

// Prove says that a run has come to its end with the static IP.
func (s *State) Prove() {
	s.Unproven = slices.DeleteFunc(slices.Clone(s.Unproven), func(a netip.Addr) bool { return a == s.Static })
	s.Before, s.BeforeDue = netip.Addr{}, time.Time{}
}

// Resumed returns s as the run found it that was interrupted while it put another address in the
// place of the one in use: the run that goes on can come back to that one.
func (s State) Resumed() State {
	if s.Before.IsValid() && s.Doubts(s.Static) {
		before := s.Before
		s.Intents = slices.DeleteFunc(s.Touched(), func(a netip.Addr) bool { return a == before })
		s.Static, s.RecordDue = before, s.BeforeDue
		s.Before, s.BeforeDue = netip.Addr{}, time.Time{}
	}
	return s
}

// Finished reports whether the run that wrote s has put its address into use and written the
// record.
func (s State) Finished() bool { return s.Phase == Programmed && s.RecordDue.IsZero() }
