package state

import (
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// Memory is what a run knows of the state file. Save is its only writer: what State returns is in
// the file, or comes from it.
type Memory struct {
	dir   string
	tool  string
	write func(dir string, content []byte) error
	state State
	known bool
}

// NewMemory returns the Memory of the state file in dir. It reads nothing. tool is the version of
// the program that writes. write replaces Write if it is not nil.
func NewMemory(dir, tool string, write func(dir string, content []byte) error) *Memory {
	return &Memory{dir: dir, tool: tool, write: write}
}

// Load reads the state file; see the function Load. After an error the Memory knows nothing.
func (m *Memory) Load(instanceID string) (err error) {
	m.state, m.known, err = Load(m.dir, instanceID)
	return err
}

// Known reports whether there is a state file.
func (m *Memory) Known() bool { return m.known }

// State returns what the state file says, or the zero State if there is none. The caller may change
// its lists.
func (m *Memory) State() State {
	s := m.state
	s.Former, s.Intents = slices.Clone(s.Former), slices.Clone(s.Intents)
	s.VPC, s.Gateways = slices.Clone(s.VPC), slices.Clone(s.Gateways)
	return s
}

// Save makes s the state file and fills in the version, the tool and the time. If the file says the
// same already, Save writes nothing. The caller holds the Lock.
func (m *Memory) Save(s State) error {
	// The static IP itself is known by its own field.
	s.Intents = slices.DeleteFunc(slices.Clone(s.Intents), func(a netip.Addr) bool { return a == s.Static })
	s.Version, s.Tool, s.Written = Version, m.tool, time.Now().UTC()
	if m.known && !m.state.Written.After(s.Written) && s.repeats(m.state) {
		return nil
	}
	if err := SaveUsing(m.dir, s, m.write); err != nil {
		return err
	}
	m.state, m.known = s, true
	return nil
}

// repeats reports whether s says nothing new after old. A rerun does not step back from Programmed
// to Attached for the same address.
func (s State) repeats(old State) bool {
	s.Written, s.Tool = old.Written, old.Tool
	if s.Phase == Attached && old.Phase == Programmed && s.Static == old.Static {
		s.Phase = Programmed
	}
	return reflect.DeepEqual(normal(s), normal(old))
}

// normal makes states comparable: an empty list is no list.
func normal(s State) State {
	for _, list := range []*[]netip.Addr{&s.Former, &s.Intents, &s.Settings.Pools.Master, &s.Settings.Pools.Core, &s.Settings.Pools.Task} {
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
// IMDS goes on listing it for a while.
func (s State) Usable() State {
	if s.GivenBack() {
		s.Intents, s.Static, s.RecordDue = s.Touched(), netip.Addr{}, time.Time{}
	}
	return s
}

// Finished reports whether the run that wrote s has put its address into use and written the
// record.
func (s State) Finished() bool { return s.Phase == Programmed && s.RecordDue.IsZero() }
