package ssmcoord

import (
	"fmt"
	"net/netip"
	"time"
)

// Self is the node that looks for an address.
type Self struct {
	Instance string
	ENI      string
	Cluster  string // empty outside EMR
	Role     string
}

// record returns the record of s at the given time.
func (s Self) record(now time.Time) Record {
	return Record{Instance: s.Instance, ENI: s.ENI, Cluster: s.Cluster, Role: s.Role, Time: now}
}

// owns reports whether e is a record of s.
func (s Self) owns(e Entry) bool { return e.State == Claimed && e.Record.Instance == s.Instance }

// EntryState is what the ledger has for one address.
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
	Primary  bool   // it is that ENI's primary address
	Cluster  string // the EMR cluster of the instance, where that is known
}

// Life is what EC2 says of an instance.
type Life int

// Shutting-down and stopped instances are Living: they have their ENI, and with it their addresses.
const (
	Unseen     Life = iota // EC2 lists no such instance: long gone, or too new to be listed
	Living                 // pending, running, shutting-down, stopping, stopped
	Terminated             // for good: instances never come back from it
)

// Action is what a node may do about one address of its pool.
type Action int

// The actions.
const (
	Skip     Action = iota
	Keep            // the node's own ENI carries it
	Take            // nobody has it: ask EC2 for it
	TakeOver        // its owner is gone: ask EC2 for it, and overwrite the record
)

func (a Action) String() string {
	return [...]string{"skip", "keep", "take", "take over"}[a]
}

// Verdict is a decision about one address, with the reason in words.
type Verdict struct {
	Action Action
	Reason string
}

// Judge decides about one address. e is its record, h the ENI that carries it, life what EC2 says
// of the record's owner. now is Parameter Store's time, by which records are dated.
//
//	            own ENI   another ENI   no ENI
//	no record   keep      skip          take
//	own record  keep      skip          take
//	gone owner  keep      skip          take over
//	living      keep      skip          skip
//	unreadable  keep      skip          skip
func Judge(self Self, e Entry, h Holder, life Life, now time.Time) Verdict {
	switch {
	case h.ENI != "" && h.ENI == self.ENI:
		return Verdict{Keep, "the node's network interface carries it"}
	case e.State == Unreadable:
		return Verdict{Skip, fmt.Sprintf("its record cannot be read: %v", e.Problem)}
	case h.ENI != "":
		return Verdict{Skip, "in use by " + h.String()}
	case e.State == Absent:
		return Verdict{Take, free}
	case self.owns(e):
		return Verdict{Take, "its record names this node"}
	case life == Terminated:
		return Verdict{TakeOver, "its owner " + e.Record.Instance + " is terminated"}
	case life == Unseen && now.Sub(e.Modified) >= DescribeLag:
		return Verdict{TakeOver, "its owner " + e.Record.Instance + " no longer exists"}
	case life == Unseen:
		return Verdict{Skip, "claimed by " + e.Record.Instance + ", which EC2 does not list yet"}
	default:
		return Verdict{Skip, "claimed by " + e.Record.Owner()}
	}
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

// Unassign returns the command with which an operator takes a from an ENI that should not have it.
// It returns "" for a primary address, which stays until its ENI is deleted.
func (h Holder) Unassign(a netip.Addr) string {
	if h.ENI == "" || h.Primary {
		return ""
	}
	return "aws ec2 unassign-private-ip-addresses --network-interface-id " + h.ENI +
		" --private-ip-addresses " + a.String()
}

// Owner names the instance of r, and its cluster.
func (r Record) Owner() string {
	s := r.Instance
	if r.Cluster != "" {
		s += " of cluster " + r.Cluster
	}
	return s
}

// free is the reason to take an address that nobody has and no record names.
const free = "free"
