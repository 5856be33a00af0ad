package inventory

import (
	"fmt"
	"time"

	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// Discard is the sweep of an operator who wants the records of the named addresses gone. It removes
// the record of an address that nobody has:
//
//	                         owner gone        owner exists      unreadable
//	carried by an instance   leave             leave             leave
//	carried by nobody        remove            remove            remove
//
// Without an interface that carries the address, its owner has lost it: EC2 sends it no packets for
// the address, drops those that it sends, and the node's restore takes the address out of its
// kernel. With one, the record is all that tells other nodes and operators of the address before
// they ask EC2, and it would be written again. Records of a newer release, and records that were
// written a moment ago, are left too.
func Discard(seen []Sighting, now time.Time) []Step {
	var steps []Step
	for _, s := range seen {
		if s.Named && s.Record.State != ssmcoord.Absent {
			steps = append(steps, discard(s, now))
		}
	}
	return steps
}

// discard returns the step for one sighting, as in the table of Discard.
func discard(s Sighting, now time.Time) Step {
	step := Step{Kind: Leave, Sighting: s}
	leave := func(format string, args ...any) Step {
		step.Reason = fmt.Sprintf(format, args...)
		return step
	}
	free := s.Holder.Unassign(s.Addr)
	switch {
	case s.Record.Newer > 0:
		return leave("its record has version %d, of a newer emr-static-ip: use that release", s.Record.Newer)
	case s.Holder.ENI != "" && s.Holder.Primary:
		return leave("%s: no node can have the address, and emr-static-ip ledger repair %s removes the record", s.Holder, s.Addr)
	case s.node():
		return leave("%s has it and is %s: emr-static-ip release on that node gives the address back and removes the record. "+
			"If nobody can reach the node, take the address away first, and run this again: %s", s.Holder, s.By.state(), free)
	case s.Holder.Instance != "":
		return leave("%s carries it (%s): take the address away first, and run this again: %s", s.Holder, s.By.state(), free)
	case s.Holder.ENI != "":
		return leave("%s carries it, attached to no instance: take the address away first, and run this again: %s", s.Holder.ENI, free)
	case !s.settled(now):
		return leave("its record was written a moment ago, and EC2 may be late to show who has the address: look again in %s", settledAfter)
	}
	step.Kind = Remove
	_, reason := s.Standing(now)
	step.Reason = reason + "; no network interface carries the address"
	if s.Owner.Life() == ssmcoord.Living {
		step.Reason = fmt.Sprintf("no network interface carries the address, although its owner %s exists (%s): another node may take the address then", s.Record.Record.Owner(), s.Owner.state())
	}
	return step
}
