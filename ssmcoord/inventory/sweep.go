package inventory

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// StepKind says what a step does about a record.
type StepKind string

// The kinds of steps. Leave does nothing, for the step's reason.
const (
	Remove  StepKind = "remove"
	Rewrite StepKind = "rewrite"
	Add     StepKind = "add"
	Leave   StepKind = "leave"
)

// Step is one change of the ledger, or, if its kind is Leave, the reason why there is none.
type Step struct {
	Kind   StepKind
	Reason string
	Sighting
	Write ssmcoord.Record // the record that Rewrite and Add write; its time is set later
}

// Sweep is a rule that turns sightings into steps. Do calls it a second time, for one address,
// right before it changes anything there.
type Sweep func(seen []Sighting, now time.Time) []Step

// Collect is the sweep that removes stale records. Any node would take their addresses over.
func Collect(seen []Sighting, now time.Time) []Step {
	var steps []Step
	for _, s := range seen {
		if standing, reason := s.Standing(now); standing == Stale {
			steps = append(steps, Step{Kind: Remove, Reason: reason, Sighting: s})
		}
	}
	return steps
}

// Repair is the sweep that brings records in line with EC2. It acts on records that cannot be read
// or contradict EC2, and on missing ones of addresses that the operator named:
//
//	                      unreadable     conflict       no record
//	carried by a node     rewrite        rewrite        add, where the address was named
//	carried by another    remove         remove         -
//	carried by nobody     remove         (stale)        -
//	undecided             leave          leave          leave
//
// Undecided are: records of a newer version; records that were written a moment ago; ENIs that are
// attached to no living instance; nodes that would get more than one record, since only a node's
// own run knows which of its addresses it uses.
func Repair(seen []Sighting, now time.Time) []Step {
	records := map[string][]netip.Addr{} // the addresses of each instance, now or after the steps
	var steps []Step
	for _, s := range seen {
		standing, reason := s.Standing(now)
		if standing == InUse {
			records[s.By.ID] = append(records[s.By.ID], s.Addr)
		}
		if standing == Broken || standing == Conflict || standing == Unrecorded && s.Named {
			steps = append(steps, repair(s, reason, now))
		}
	}
	for _, s := range steps {
		if s.Kind == Rewrite || s.Kind == Add {
			records[s.By.ID] = append(records[s.By.ID], s.Addr)
		}
	}
	for i, s := range steps {
		if s.Kind != Rewrite && s.Kind != Add {
			continue
		}
		for _, a := range records[s.By.ID] {
			if a != s.Addr {
				steps[i].Kind = Leave
				steps[i].Reason += fmt.Sprintf("; that node also has %s: run emr-static-ip there, which keeps one of them", a)
				break
			}
		}
	}
	return steps
}

// repair returns the step for one sighting, as in the table of Repair.
func repair(s Sighting, reason string, now time.Time) Step {
	step := Step{Reason: reason, Sighting: s}
	leave := func(why string) Step {
		step.Kind = Leave
		step.Reason += "; " + why
		return step
	}
	absent := s.Record.State == ssmcoord.Absent
	switch {
	case s.Record.Newer > 0:
		return leave("use that release")
	case !absent && !s.settled(now):
		return leave("it was written a moment ago and may become consistent by itself")
	case s.Holder.ENI == "":
		step.Kind = Remove
		step.Reason += "; no network interface carries the address"
		return step
	case s.Holder.Instance == "":
		return leave(s.Holder.ENI + " is attached to no instance: attach it, unassign the address, or delete it")
	case s.By.Life() != ssmcoord.Living:
		return leave(fmt.Sprintf("EC2 still shows it on %s of %s (%s): look again later", s.Holder.ENI, s.Holder.Instance, s.By.state()))
	case !s.node():
		step.Kind = Remove
		step.Reason += fmt.Sprintf("; no record belongs there: the address is no static IP of an EMR node, but in use by %s", s.Holder)
		return step
	}
	step.Write = s.holderRecord(now)
	if _, err := ssmcoord.ParseRecord(step.Write.Render()); err != nil {
		return leave(fmt.Sprintf("no record can be made from EC2's description of %s: %v", s.Holder.Instance, err))
	}
	step.Kind = Rewrite
	if absent {
		step.Kind = Add
	}
	return step
}

// holderRecord returns the record that names the node that carries the address.
func (s Sighting) holderRecord(now time.Time) ssmcoord.Record {
	return ssmcoord.Record{Instance: s.By.ID, ENI: s.Holder.ENI, Cluster: s.By.Cluster, Role: s.By.Role, Time: now}
}

// nextRecord returns the record that is right at a later look than the step's: the one of the node
// that carries the address by then. It returns false if no node does, or if that node is not the
// one of the step and carries other addresses too, since only its own run knows which of them it
// uses.
func (step Step) nextRecord(again Sighting, now time.Time) (ssmcoord.Record, bool) {
	if !again.node() || again.By.ID != step.Write.Instance && again.Beside > 0 {
		return ssmcoord.Record{}, false
	}
	r := again.holderRecord(now)
	_, err := ssmcoord.ParseRecord(r.Render())
	return r, err == nil
}

// Still reports whether the step holds after a second look: the record is unchanged, the same ENI
// or none carries the address, and the rule gives the same step. If not, it returns the reason.
func (step Step) Still(again Sighting, rule Sweep, now time.Time) (bool, string) {
	switch {
	case !step.Record.Same(again.Record):
		return false, "its record has changed meanwhile"
	case step.Holder.ENI != again.Holder.ENI || step.Holder.Instance != again.Holder.Instance:
		return false, "the network interface that carries it has changed meanwhile"
	}
	for _, s := range rule([]Sighting{again}, now) {
		if s.Kind == step.Kind && s.Write.Instance == step.Write.Instance && s.Write.ENI == step.Write.ENI {
			return true, ""
		}
	}
	standing, reason := again.Standing(now)
	return false, fmt.Sprintf("it is %s now (%s)", standing, reason)
}

// String returns what the step does, for the operator.
func (step Step) String() string {
	switch step.Kind {
	case Remove:
		return fmt.Sprintf("remove the record of %s: %s", step.Addr, step.Reason)
	case Rewrite, Add:
		return fmt.Sprintf("make the record of %s name %s: %s", step.Addr, step.Write.Owner(), step.Reason)
	}
	return fmt.Sprintf("%s is left: %s", step.Addr, step.Reason)
}
