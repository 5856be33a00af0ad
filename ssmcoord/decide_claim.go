package ssmcoord

import (
	"fmt"
	"net/netip"
	"time"
)

// Self is the node that claims.
type Self struct {
	Instance string
	ENI      string
	Cluster  string // empty outside EMR
	Role     string
}

// record is the claim of s at the given time.
func (s Self) record(now time.Time) Record {
	return Record{Instance: s.Instance, ENI: s.ENI, Cluster: s.Cluster, Role: s.Role, Time: now}
}

// EntryState says what the ledger has for one address.
type EntryState int

// A record that is there and cannot be read is a state of its own: it is neither free nor stale.
const (
	Absent EntryState = iota
	Claimed
	Unreadable
)

// Entry is one address of the ledger, as it was read.
type Entry struct {
	State    EntryState
	Record   Record    // where Claimed
	Modified time.Time // by Parameter Store's clock, where Claimed or Unreadable
	Problem  error     // why it is Unreadable
}

// Holder is the ENI that carries an address, by EC2. The zero value: no ENI carries it.
type Holder struct {
	ENI      string
	Instance string // empty: the ENI is attached to no instance
	Primary  bool   // it is that ENI's primary address: no reassignment can move it
	Cluster  string // the EMR cluster of the instance, where that is known
}

// Node is an instance as its EMR tags describe it.
type Node struct {
	Cluster string // empty: not of EMR
	Role    string // MASTER, CORE or TASK
}

// Life is what EC2 says of an instance.
type Life int

// Shutting-down and stopped instances are Living: they have their ENI, and with it their addresses.
const (
	Unseen     Life = iota // EC2 lists no such instance: long gone, or so new that it is not listed yet
	Living                 // pending, running, shutting-down, stopping, stopped
	Terminated             // for good: instances never come back from it
)

// UnseenGrace is the age below which the claim of an instance that EC2 does not list is left alone: EC2's
// describe calls are eventually consistent, and a new instance may be missing from them for a while.
const UnseenGrace = 2 * time.Minute

// Action is what a node does about one address of its pool.
type Action int

// The actions, in the order of preference.
const (
	Skip     Action = iota
	Keep            // the own ENI carries it
	Resume          // the own claim, not attached yet
	Create          // nobody has it
	TakeOver        // its owner is gone
)

func (a Action) String() string {
	return [...]string{"skip", "keep", "resume", "create", "take over"}[a]
}

// Verdict is a decision about one address and the reason, for the operator.
type Verdict struct {
	Action  Action
	Reason  string
	Move    bool   // an ENI outside the ledger has it, and the operator wants it taken away
	GiveUp  bool   // the own claim must be given up: somebody outside the ledger has the address
	Blocker string // the instance or ENI in the way, where Action is Skip
}

// Judge decides about one address: e is its record, h the ENI that carries it, life what EC2 says of the record's owner (read only where
// the record names another node). reassign allows taking the address from an ENI that the ledger knows nothing of, never from
// a living owner.
func Judge(self Self, e Entry, h Holder, life Life, now time.Time, reassign bool) Verdict {
	mine := e.State == Claimed && e.Record.Instance == self.Instance
	switch {
	case h.ENI != "" && h.ENI == self.ENI:
		return Verdict{Action: Keep, Reason: "the node's network interface carries it"}
	case e.State == Unreadable:
		return Verdict{Reason: fmt.Sprintf("its record cannot be read: %v", e.Problem)}
	case h.ENI != "":
		if reassign && !h.Primary && (e.State == Absent || mine) {
			return Verdict{Action: actionFor(e, mine), Move: true, Reason: "reassignment from " + h.String() + " was asked for"}
		}
		return Verdict{Reason: "in use by " + h.String(), GiveUp: mine, Blocker: h.blocker()}
	case mine:
		return Verdict{Action: Resume, Reason: "claimed by an earlier run of this node"}
	case e.State == Absent:
		return Verdict{Action: Create, Reason: "free"}
	case life == Terminated:
		return Verdict{Action: TakeOver, Reason: "its owner " + e.Record.Instance + " is terminated"}
	case life == Unseen && now.Sub(e.Modified) >= UnseenGrace:
		return Verdict{Action: TakeOver, Reason: "its owner " + e.Record.Instance + " does not exist any more"}
	case life == Unseen:
		return Verdict{Reason: "claimed by " + e.Record.Instance + ", which EC2 does not list yet", Blocker: e.Record.Instance}
	default:
		return Verdict{Reason: "claimed by " + owner(e.Record), Blocker: e.Record.Instance}
	}
}

func actionFor(e Entry, mine bool) Action {
	if mine {
		return Resume
	}
	return Create
}

func (h Holder) blocker() string {
	if h.Instance != "" {
		return h.Instance
	}
	return h.ENI
}

// String names the holder for an operator.
func (h Holder) String() string {
	s := h.ENI
	if h.Instance != "" {
		s = h.Instance + " (" + h.ENI + ")"
	}
	if h.Cluster != "" {
		s += " of cluster " + h.Cluster
	}
	if h.Primary {
		s += ", as its primary IP"
	}
	return s
}

func owner(r Record) string {
	s := r.Instance
	if r.Cluster != "" {
		s += " of cluster " + r.Cluster
	}
	return s
}

// pickKept chooses which of the pool's addresses on the own ENI stays: the one the last run programmed, else one whose record names this
// node, else the first in the pool's order.
func pickKept(self Self, carried []netip.Addr, last netip.Addr, entries map[netip.Addr]Entry) netip.Addr {
	for _, a := range carried {
		if a == last {
			return a
		}
	}
	for _, a := range carried {
		if e := entries[a]; e.State == Claimed && e.Record.Instance == self.Instance {
			return a
		}
	}
	return carried[0]
}
