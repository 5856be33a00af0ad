package inventory

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/identifier"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

var sightNow = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

const sightAge = time.Hour

// sight makes sightings: what the record is, who its owner is, who carries the address.
type sight func(*Sighting)

func seen(addr string, parts ...sight) Sighting {
	s := Sighting{Subnet: "subnet-1", Addr: netip.MustParseAddr(addr)}
	for _, p := range parts {
		p(&s)
	}
	return s
}

func value(text string) sight {
	return func(s *Sighting) { s.Record = NewVersion(text, 1, sightNow.Add(-sightAge)) }
}

func record(instance, eni string) sight {
	return value(ssmcoord.Record{Instance: instance, ENI: eni, Cluster: "j-1", Role: "CORE", Time: sightNow}.Render())
}

func young(s *Sighting) { s.Record.Modified = sightNow.Add(-ssmcoord.DescribeLag + time.Second) }

func named(s *Sighting) { s.Named = true }

func ownerIs(state string) sight {
	return func(s *Sighting) { s.Owner = Instance{ID: s.Record.Record.Instance, State: state} }
}

// carrier is a node's primary ENI, which carries the address as a secondary one.
func carrier(instance, eni, state string) sight {
	return func(s *Sighting) {
		s.Holder = ssmcoord.Holder{ENI: eni, Instance: instance, Cluster: "j-2"}
		s.By = Instance{ID: instance, State: state, Cluster: "j-2", Role: "TASK", Name: "etl-TASK"}
	}
}

func stranger(s *Sighting) { s.By.Cluster, s.By.Role, s.Holder.Cluster = "", "", "" }
func primary(s *Sighting)  { s.Holder.Primary = true }
func second(s *Sighting)   { s.Device = 1 }
func loose(eni string) sight {
	return func(s *Sighting) { s.Holder = ssmcoord.Holder{ENI: eni} }
}

func TestStandings(t *testing.T) {
	messages := golden.Open(t, "standings.txt")
	for _, test := range []struct {
		name string
		s    Sighting
		want Standing

		problem bool
		gc      StepKind // empty: nothing
		mend    StepKind
	}{
		{"free", seen("10.0.0.1", named), Free, false, "", ""},
		{"in use", seen("10.0.0.1", record("i-1", "eni-1"), ownerIs("running"), carrier("i-1", "eni-1", "running")), InUse, false, "", ""},
		{"in use by a node that ends", seen("10.0.0.1", record("i-1", "eni-1"), ownerIs("shutting-down"), carrier("i-1", "eni-1", "shutting-down")), InUse, false, "", ""},
		{"claimed", seen("10.0.0.1", record("i-1", "eni-1"), ownerIs("pending")), Reserved, false, "", ""},
		{"claimed by a stopped one", seen("10.0.0.1", record("i-1", "eni-1"), ownerIs("stopped")), Reserved, false, "", ""},
		{"claimed by one not listed yet", seen("10.0.0.1", record("i-1", "eni-1"), young, ownerIs("")), Reserved, false, "", ""},
		{"stale, terminated", seen("10.0.0.1", record("i-1", "eni-1"), ownerIs("terminated")), Stale, false, Remove, ""},
		{"stale at once where terminated", seen("10.0.0.1", record("i-1", "eni-1"), young, ownerIs("terminated")), Stale, false, Remove, ""},
		{"stale, unknown", seen("10.0.0.1", record("i-1", "eni-1"), ownerIs("")), Stale, false, Remove, ""},
		{"owner gone, still carried by an ENI without instance", seen("10.0.0.1", record("i-1", "eni-1"), ownerIs("terminated"), loose("eni-1")),
			Conflict, true, "", Leave},

		{"unreadable, carried by nobody", seen("10.0.0.1", value("blank")), Broken, true, "", Remove},
		{"unreadable, written just now", seen("10.0.0.1", value("blank"), young), Broken, true, "", Leave},
		{"unreadable, carried by a node", seen("10.0.0.1", value("{"), carrier("i-2", "eni-2", "running")), Broken, true, "", Rewrite},
		{"unreadable, carried by a node that ends", seen("10.0.0.1", value("{"), carrier("i-2", "eni-2", "terminated")), Broken, true, "", Leave},
		{"unreadable, carried by one that EC2 does not list", seen("10.0.0.1", value("{"), carrier("i-2", "eni-2", "")), Broken, true, "", Leave},
		{"unreadable, a stranger's secondary", seen("10.0.0.1", value("{"), carrier("i-2", "eni-2", "running"), stranger), Broken, true, "", Remove},
		{"unreadable, a node's primary", seen("10.0.0.1", value("{"), carrier("i-2", "eni-2", "running"), primary), Broken, true, "", Remove},
		{"unreadable, on a node's second ENI", seen("10.0.0.1", value("{"), carrier("i-2", "eni-2", "running"), second), Broken, true, "", Remove},
		{"unreadable, on an ENI without instance", seen("10.0.0.1", value("{"), loose("eni-9")), Broken, true, "", Leave},
		{"of a newer version", seen("10.0.0.1", value(`{"v":2,"node":"x"}`)), Broken, true, "", Leave},
		{"of a newer version, carried by a node", seen("10.0.0.1", value(`{"v":2}`), carrier("i-2", "eni-2", "running")), Broken, true, "", Leave},

		{"conflict with a node", seen("10.0.0.1", record("i-1", "eni-1"), ownerIs("running"), carrier("i-2", "eni-2", "running")),
			Conflict, true, "", Rewrite},
		{"conflict, written just now", seen("10.0.0.1", record("i-1", "eni-1"), young, ownerIs("running"), carrier("i-2", "eni-2", "running")), Conflict, false, "", Leave},
		{"conflict with a stranger", seen("10.0.0.1", record("i-1", "eni-1"), ownerIs("running"), carrier("i-2", "eni-2", "running"), stranger), Conflict, true, "", Remove},
		{"a replaced node's ENI on its successor", seen("10.0.0.1", record("i-1", "eni-1"), ownerIs("terminated"), carrier("i-2", "eni-1", "running")), Conflict, true, "", Rewrite},

		{"a node's without record", seen("10.0.0.1", carrier("i-2", "eni-2", "running")), Unrecorded, false, "", ""},
		{"a node's without record, named", seen("10.0.0.1", named, carrier("i-2", "eni-2", "running")), Unrecorded, true, "", Add},
		{"a stranger's, named", seen("10.0.0.1", named, carrier("i-2", "eni-2", "running"), stranger), Outside, false, "", ""},
		{"primary, named", seen("10.0.0.1", named, carrier("i-2", "eni-2", "running"), primary), Outside, false, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, reason := test.s.Standing(sightNow)
			told := string(got) + ": " + reason + "\n"
			if got != test.want || test.s.Problem(sightNow) != test.problem {
				t.Errorf("%s (%s), problem %v", got, reason, test.s.Problem(sightNow))
			}
			all := []Sighting{test.s}
			for _, rule := range []struct {
				sweep Sweep
				want  StepKind
			}{{Collect, test.gc}, {Repair, test.mend}} {
				var kind StepKind
				steps := rule.sweep(all, sightNow)
				if len(steps) > 0 {
					kind = steps[0].Kind
				}
				if kind != rule.want || len(steps) > 1 {
					t.Errorf("steps %v, want %q", steps, rule.want)
				}
				for _, step := range steps {
					told += fmt.Sprintln(step)
				}
				if kind == Rewrite || kind == Add {
					want := ssmcoord.Record{Instance: "i-2", ENI: test.s.Holder.ENI, Cluster: "j-2", Role: "TASK", Time: sightNow}
					if steps[0].Write != want {
						t.Errorf("writes %+v, want %+v", steps[0].Write, want)
					}
				}
			}
			messages.Is(t, test.name, told)
		})
	}
}

// A node that has more than one address keeps one of them, and only its own run knows which: a
// record that names it would have the other taken off.
func TestMendLeavesNodesWithTwoAddresses(t *testing.T) {
	messages := golden.Open(t, "two-addresses.txt")
	broken := func(addr string) Sighting {
		return seen(addr, value("{"), carrier("i-2", "eni-2", "running"))
	}
	for name, all := range map[string][]Sighting{
		"both broken":          {broken("10.0.0.1"), broken("10.0.0.2")},
		"one recorded":         {broken("10.0.0.1"), seen("10.0.0.2", record("i-2", "eni-2"), ownerIs("running"), carrier("i-2", "eni-2", "running"))},
		"one broken, one none": {broken("10.0.0.1"), seen("10.0.0.2", named, carrier("i-2", "eni-2", "running"))},
	} {
		steps := Repair(all, sightNow)
		if len(steps) == 0 {
			t.Errorf("%s: no steps", name)
		}
		for _, s := range steps {
			if s.Kind != Leave {
				t.Errorf("%s: %s", name, s)
			}
			messages.Is(t, name+", "+s.Addr.String(), s.String())
		}
	}
	other := seen("10.0.0.2", value("{"), carrier("i-3", "eni-3", "running"))
	for _, s := range Repair([]Sighting{broken("10.0.0.1"), other}, sightNow) {
		if s.Kind != Rewrite {
			t.Errorf("two nodes: %s", s)
		}
	}
}

func TestSecondLook(t *testing.T) {
	messages := golden.Open(t, "second-look.txt")
	stale := seen("10.0.0.1", record("i-1", "eni-1"), ownerIs("terminated"))
	broken := seen("10.0.0.1", value("{"), carrier("i-2", "eni-2", "running"))
	with := func(s Sighting, change func(*Sighting)) Sighting {
		change(&s)
		return s
	}
	for _, test := range []struct {
		name         string
		first, again Sighting
		rule         Sweep
		want         bool
	}{
		{"the same", stale, stale, Collect, true},
		{"deleted", stale, with(stale, func(s *Sighting) { s.Record = Version{} }), Collect, false},
		{"written again with the same words", stale, with(stale, func(s *Sighting) { s.Record.Number++ }), Collect, false},
		{"other words under the same number", stale, with(stale, func(s *Sighting) { s.Record.Value += " " }), Collect, false},
		{"attached by a node", stale, with(stale, carrier("i-3", "eni-3", "running")), Collect, false},
		{"its owner is seen again", stale, with(stale, ownerIs("running")), Collect, false},
		{"broken, the same", broken, broken, Repair, true},
		{"broken, given to another node", broken, with(broken, carrier("i-3", "eni-3", "running")), Repair, false},
		{"broken, released", broken, with(broken, func(s *Sighting) { s.Holder, s.By = ssmcoord.Holder{}, Instance{} }), Repair, false},
		{"broken, the node ends", broken, with(broken, carrier("i-2", "eni-2", "terminated")), Repair, false},
	} {
		step := test.rule([]Sighting{test.first}, sightNow)[0]
		got, why := step.Still(test.again, test.rule, sightNow)
		if got != test.want {
			t.Errorf("%s: %v, %q", test.name, got, why)
		}
		messages.Is(t, test.name, why)
	}
}

func TestPlaces(t *testing.T) {
	v := &Inventory{Prefix: "/team/x"}
	for name, ok := range map[string]bool{
		"/team/x/subnet-0a1/10.0.1.5": true, "/team/x/subnet-0a1/10.0.1.5/y": false, "/team/x/subnet-0a1/": false, "/team/x/subnet-0a1": false,
		"/team/x/subnet-0G1/10.0.1.5": false, "/team/x/subnet-/10.0.1.5": false, "/team/x/subnet-0a1/10.0.1.05": false, "/team/x/subnet-0a1/::1": false,
		"/team/xsubnet-0a1/10.0.1.5": false, "/other/subnet-0a1/10.0.1.5": false, "": false, "/team/x/doctor/10.0.1.5": false,
	} {
		at, got := v.placeOf(name)
		if got != ok || ok && v.ledger(at.subnet).Name(at.addr) != name {
			t.Errorf("%s: %v, %v", name, at, got)
		}
	}
}

// FuzzPlaceOf: a parameter's name is the address of a subnet, by which the same name is found
// again, or it is none.
func FuzzPlaceOf(f *testing.F) {
	for _, name := range []string{"/team/x/subnet-0a1/10.0.1.5", "/team/x/subnet-0a1/10.0.1.05", "/team/x/subnet-0a1/::ffff:10.0.1.5", "/team/x//", "/team/x/subnet-/1.1.1.1", "/team/x/subnet-0a1/10.0.1.5/", "\x1b[2J"} {
		f.Add("/team/x", name)
	}
	f.Add("", "/subnet-0a1/10.0.1.5")
	f.Add("/subnet-0a1", "/subnet-0a1/subnet-0a1/10.0.1.5")
	f.Fuzz(func(t *testing.T, prefix, name string) {
		v := &Inventory{Prefix: prefix}
		if at, ok := v.placeOf(name); ok != (at != place{}) || ok && (!at.addr.Is4() || prefix+"/"+at.subnet+"/"+at.addr.String() != name || strings.Trim(strings.TrimPrefix(at.subnet, "subnet-"), "0123456789abcdef") != "") {
			t.Errorf("%+v, %v", at, ok)
		}
	})
}

// FuzzNewVersion: whatever a parameter holds, it is a record that can be written again, or it is
// unreadable for a reason.
func FuzzNewVersion(f *testing.F) {
	for _, text := range []string{"", "blank", "{", `{"v":1}`, `{"v":9}`, `{"v":1e99}`, `{"v":-1}`, `[1]`, "\x1b[2J", ssmcoord.Record{Instance: "i-1", ENI: "eni-1", Time: sightNow}.Render()} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v := NewVersion(text, 1, sightNow)
		switch {
		case v.State == ssmcoord.Claimed && (v.Problem != nil || v.Newer != 0 || !identifier.EC2(v.Record.Instance, "i-")):
			t.Errorf("%+v", v)
		case v.State == ssmcoord.Unreadable && (v.Problem == nil || v.Record != ssmcoord.Record{}):
			t.Errorf("%+v", v)
		case v.State != ssmcoord.Claimed && v.State != ssmcoord.Unreadable:
			t.Errorf("state %v", v.State)
		}
		s := Sighting{Addr: netip.MustParseAddr("10.0.0.1"), Record: v}
		if standing, _ := s.Standing(sightNow.Add(time.Hour)); standing != Broken && standing != Stale {
			t.Error(standing)
		}
		if v.Newer > 0 && Repair([]Sighting{s}, sightNow.Add(time.Hour))[0].Kind != Leave {
			t.Error("touches a newer record")
		}
		_ = fmt.Sprint(Collect([]Sighting{s}, sightNow), Repair([]Sighting{s}, sightNow))
	})
}
