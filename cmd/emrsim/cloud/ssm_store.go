package cloud

import (
	"slices"
	"sort"
	"strings"
	"time"
)

// parameterStore keeps parameters with enough history for stale reads.
type parameterStore struct {
	byName map[string]*parameter
	names  []string // all keys of byName, sorted
	live   int      // number of parameters that exist
}

// parameter is the history of a name, the newest version last. The parameter does not exist if the
// newest entry is a deletion.
type parameter struct {
	name    string
	created time.Time
	creator string
	history []version
	tags    tagSet
}

type version struct {
	at                    time.Time
	deleted               bool
	value, kind           string
	description, by, tier string
	number                int64
}

// historyKept is how long old versions are kept for stale reads.
const historyKept = time.Hour

func (s *parameterStore) init() { s.byName = map[string]*parameter{} }

// asOf returns the version that a read as of t shows, or nil if the parameter did not exist.
func (p *parameter) asOf(t time.Time) *version {
	for i := len(p.history) - 1; i >= 0; i-- {
		if v := &p.history[i]; !v.at.After(t) {
			if v.deleted {
				return nil
			}
			return v
		}
	}
	return nil
}

func (p *parameter) newest() *version {
	if v := &p.history[len(p.history)-1]; !v.deleted {
		return v
	}
	return nil
}

func (p *parameter) last() *version { return &p.history[len(p.history)-1] }

// get returns the parameter as of t, or nil if it did not exist.
func (s *parameterStore) get(name string, t time.Time) (*parameter, *version) {
	p := s.byName[name]
	if p == nil {
		return nil, nil
	}
	v := p.asOf(t)
	if v == nil {
		return nil, nil
	}
	return p, v
}

// put adds a version.
func (s *parameterStore) put(name string, v version) *parameter {
	p := s.byName[name]
	if p == nil {
		p = &parameter{name: name}
		s.byName[name] = p
		i, _ := slices.BinarySearch(s.names, name)
		s.names = slices.Insert(s.names, i, name)
	}
	if len(p.history) == 0 || p.last().deleted {
		s.live++
		p.created, p.creator, p.tags = v.at, v.by, nil
	}
	p.add(v)
	return p
}

func (p *parameter) add(v version) {
	for len(p.history) > 1 && v.at.Sub(p.history[1].at) > historyKept {
		p.history = p.history[1:]
	}
	p.history = append(p.history, v)
}

// remove deletes a parameter and reports whether it existed.
func (s *parameterStore) remove(name, by string, at time.Time) bool {
	p := s.byName[name]
	if p == nil || p.last().deleted {
		return false
	}
	p.add(version{at: at, deleted: true, by: by})
	s.live--
	return true
}

// from returns the index of the first name that is not less than name.
func (s *parameterStore) from(name string) int { return sort.SearchStrings(s.names, name) }

func (s *parameterStore) snapshot() []Parameter {
	var out []Parameter
	for _, name := range s.names {
		p := s.byName[name]
		if v := p.newest(); v != nil {
			out = append(out, Parameter{Name: name, Value: v.value, Type: v.kind, Version: v.number, Modified: v.at, ModifiedBy: v.by, Tags: p.tags.toMap()})
		}
	}
	return out
}

// below reports whether name is below path: at any depth if recursive is set, otherwise directly.
func below(name, path string, recursive bool) bool {
	rest, ok := strings.CutPrefix(name, path)
	return ok && rest != "" && (recursive || !strings.Contains(rest, "/"))
}
