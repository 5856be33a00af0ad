package inventory

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// Standing sums up in a word what Parameter Store and EC2 say of an address.
type Standing string

// The standings. They are part of the documented output of the ledger commands.
const (
	InUse      Standing = "in use"     // the record names the instance whose ENI carries the address
	Reserved   Standing = "claimed"    // the record names an instance that exists; no ENI carries the address
	Stale      Standing = "stale"      // the record's owner is gone, and no ENI carries the address
	Broken     Standing = "unreadable" // the record cannot be parsed
	Conflict   Standing = "conflict"   // the record names one instance, another ENI has the address
	Unrecorded Standing = "unrecorded" // a node's ENI carries the address, and there is no record
	Outside    Standing = "outside"    // another ENI carries the address, and there is no record
	Free       Standing = "free"       // no record, and no ENI carries it
)

// Instance describes an instance as EC2 lists it.
type Instance struct {
	ID      string
	State   string // EC2's word, such as running; empty if EC2 does not list the instance
	Cluster string // from EMR's tags; empty for an instance that is not EMR's
	Role    string
	Name    string // the Name tag
}

// terminated is EC2's word for the last state of an instance.
const terminated = "terminated"

// Life returns what the state means to the protocol.
func (i Instance) Life() ssmcoord.Life {
	switch i.State {
	case "":
		return ssmcoord.Unseen
	case terminated:
		return ssmcoord.Terminated
	}
	return ssmcoord.Living
}

// Version is one version of a parameter. Parameter Store cannot delete or overwrite a parameter on
// the condition that a version is still the newest.
type Version struct {
	ssmcoord.Entry
	Value  string
	Number int64 // Parameter Store's; 0 if Absent
	Newer  int   // the record's own version if that is newer than RecordVersion, else 0
}

// unchanged reports whether e, which was read later, is still the record of v.
func (v Version) unchanged(e ssmcoord.Entry) bool {
	return e.State == v.State && e.Record == v.Record && e.Modified.Equal(v.Modified)
}

// NewVersion parses a parameter's value.
func NewVersion(value string, number int64, modified time.Time) Version {
	v := Version{Entry: ssmcoord.Entry{State: ssmcoord.Claimed, Modified: modified}, Value: value, Number: number}
	if v.Record, v.Problem = ssmcoord.ParseRecord(value); v.Problem != nil {
		v.State, v.Record = ssmcoord.Unreadable, ssmcoord.Record{}
		v.Newer = newerVersion(value)
	}
	return v
}

// newerVersion returns the version field of a value if it is newer than this release knows, else 0.
func newerVersion(value string) int {
	var r struct {
		Version int `json:"v"`
	}
	if len(value) > ssmcoord.MaxRecord || json.Unmarshal([]byte(value), &r) != nil || r.Version <= ssmcoord.RecordVersion {
		return 0
	}
	return r.Version
}

// Same reports whether both are one version of the parameter.
func (v Version) Same(w Version) bool {
	return v.State == w.State && v.Number == w.Number && v.Value == w.Value
}

// Sighting is one address of a subnet, as Parameter Store and EC2 showed it at one time.
type Sighting struct {
	Subnet string
	Addr   netip.Addr
	Named  bool // the operator named it
	Record Version
	Owner  Instance        // the instance in the record; zero if there is no readable record
	Holder ssmcoord.Holder // the ENI that carries the address
	Device int             // that ENI's device index on its instance; 0 is the primary one
	Beside int             // how many other secondary addresses that ENI carries
	By     Instance        // that ENI's instance
}

// Standing returns the sighting in a word, and the reason.
func (s Sighting) Standing(now time.Time) (Standing, string) {
	held := s.Holder.ENI != ""
	switch {
	case s.Record.Newer > 0:
		return Broken, fmt.Sprintf("its record has version %d and was written by a newer emr-static-ip; this release knows %d", s.Record.Newer, ssmcoord.RecordVersion)
	case s.Record.State == ssmcoord.Unreadable:
		return Broken, fmt.Sprintf("its record cannot be read: %v", s.Record.Problem)
	case s.Record.State == ssmcoord.Absent && !held:
		return Free, "no record, and no network interface carries it"
	case s.Record.State == ssmcoord.Absent && s.node():
		return Unrecorded, s.Holder.String() + " carries it without a record"
	case s.Record.State == ssmcoord.Absent:
		return Outside, "no record; in use by " + s.Holder.String()
	case held && s.Holder.Instance == s.Record.Record.Instance:
		return InUse, ""
	case held:
		return Conflict, fmt.Sprintf("its record names %s (%s), and %s carries it", s.Record.Record.Owner(), s.Owner.state(), s.Holder)
	}
	// The judgement of a node that looks for an address and has nothing to do with this one.
	v := ssmcoord.Judge(ssmcoord.Self{}, s.Record.Entry, s.Holder, s.Owner.Life(), now)
	if v.Action == ssmcoord.TakeOver {
		return Stale, v.Reason
	}
	return Reserved, v.Reason + "; not attached"
}

// node reports whether the ENI that carries the address is the primary one of a cluster's living
// node, and the address is a secondary one there. This program assigns addresses to such ENIs only.
func (s Sighting) node() bool {
	return s.By.Life() == ssmcoord.Living && s.By.Cluster != "" && s.Device == 0 && !s.Holder.Primary
}

// settled reports whether the record is that old.
func (s Sighting) settled(now time.Time) bool { return now.Sub(s.Record.Modified) >= settledAfter }

// Problem reports whether an operator should act on the address. That is so if its record cannot be
// read, contradicts EC2, or is missing for an address that the operator named. A stale record is
// not a problem: nodes take it over.
func (s Sighting) Problem(now time.Time) bool {
	switch standing, _ := s.Standing(now); standing {
	case Broken:
		return true
	case Conflict:
		return s.settled(now)
	case Unrecorded:
		return s.Named
	}
	return false
}

func (i Instance) state() string {
	if i.State == "" {
		return "not listed by EC2"
	}
	return i.State
}
