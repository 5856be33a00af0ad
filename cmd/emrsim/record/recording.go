// Package record keeps what happened in a rehearsal, and shows it: as one HTML page that needs no
// network, and as JSON. A [Recorder] collects while the rehearsal runs; [Recorder.Finish] returns
// the [Recording], which [Recording.Save] writes to a file.
//
// All times are seconds since the start, in real or in virtual time. The JSON form is documented in
// cmd/emrsim/README.md.
package record

import (
	"net/netip"
	"time"
)

// Version is the version of the JSON form. Fields may be added without a new version.
const Version = 1

// A Recording is all that happened in a rehearsal.
type Recording struct {
	Version int    `json:"version"`
	Tool    string `json:"tool"`  // version of the program
	Title   string `json:"title"` // "Launch of 1 master and 3 core nodes", or the scenario's title
	Command string `json:"command"`
	// Arguments are those of the bootstrap action.
	Arguments []string  `json:"arguments"`
	Start     time.Time `json:"start"`
	Seconds   float64   `json:"seconds"` // duration of the rehearsal
	Virtual   bool      `json:"virtual"` // the times are virtual
	Outcome   Outcome   `json:"outcome"`

	Topology  Topology   `json:"topology"`
	Nodes     []*Node    `json:"nodes"`
	Phases    []Phase    `json:"phases"`
	Events    []Event    `json:"events"` // in their order of time
	Calls     []Call     `json:"calls"`  // of the nodes to AWS, without IMDS, by the time of their start
	Ledger    []Change   `json:"ledger"` // changes of addresses and records in AWS, in their order of time
	Sightings []Sighting `json:"sightings"`
	Table     Table      `json:"table"`
	Problems  []Problem  `json:"problems"`
	Facts     []Fact     `json:"facts"` // further properties: the release, the seed
}

// Outcome is how a rehearsal ended.
type Outcome string

// The outcomes.
const (
	Passed      Outcome = "passed"
	Failed      Outcome = "failed"
	Interrupted Outcome = "interrupted"
)

// Topology is the network: the VPCs, and the data centre behind its firewall.
type Topology struct {
	VPCs     []VPC        `json:"vpcs"`
	OnPrem   netip.Prefix `json:"on_premises"` // the data centre
	Server   netip.Addr   `json:"server"`      // the server there to which the nodes connect
	Port     int          `json:"port"`
	Admitted []netip.Addr `json:"admitted"` // source addresses that the firewall admits
}

// A VPC is one VPC with its subnets.
type VPC struct {
	ID      string         `json:"id"`
	CIDRs   []netip.Prefix `json:"cidrs"`
	Subnets []Subnet       `json:"subnets"`
}

// A Subnet is one subnet of a VPC.
type Subnet struct {
	ID   string       `json:"id"`
	CIDR netip.Prefix `json:"cidr"`
	Zone string       `json:"zone,omitempty"`
}

// A Node is one instance, from its launch to its end.
type Node struct {
	Name      string     `json:"name"` // unique: master, core-1
	Role      string     `json:"role"` // MASTER, CORE, TASK
	Instance  string     `json:"instance"`
	Cluster   string     `json:"cluster"`
	Subnet    string     `json:"subnet"` // id
	Interface string     `json:"interface,omitempty"`
	Primary   netip.Addr `json:"primary"`
	// Static is the static IP that EC2 gives the node in the end; the zero Addr for none.
	Static netip.Addr `json:"static,omitzero"`
	// Second is the address of the interface that EMR attached to a master.
	Second netip.Addr `json:"second,omitzero"`

	From      float64 `json:"from"`      // when it came up
	Until     float64 `json:"until"`     // when it ended, or the rehearsal did
	Ended     bool    `json:"ended"`     // it ended before the rehearsal
	Runs      []Run   `json:"runs"`      // of emr-static-ip
	Steps     []Step  `json:"steps"`     // in their order of time
	Rules     string  `json:"rules"`     // of the node's kernel at the end, as text
	Addresses string  `json:"addresses"` // addresses on the node's interfaces at the end, as text
}

// A Run is one run of emr-static-ip on a node.
type Run struct {
	From      float64 `json:"from"`
	Until     float64 `json:"until"`
	Arguments string  `json:"arguments"`
	ExitCode  int     `json:"exit_code"`
	Report    string  `json:"report"` // its standard output
	Log       string  `json:"log"`    // its standard error
	Calls     int     `json:"calls"`  // to AWS
}

// A Step is a part of the time of a node. Its kind is one of the Step constants.
type Step struct {
	Kind  string  `json:"kind"`
	From  float64 `json:"from"`
	Until float64 `json:"until"` // equal to From for a moment: killed, rebooted, ended, failed
	Text  string  `json:"text,omitempty"`
}

// The kinds of steps that take time.
const (
	StepIdentify = "identify" // identity from IMDS, role from EMR's files
	StepChoose   = "choose"   // members of the cluster, and records
	StepAssign   = "assign"   // EC2 is asked for an address
	StepProgram  = "program"  // the kernel gets address and rules
	StepRecord   = "record"   // the ledger
	StepFinish   = "finish"   // program, units, Name tag
	StepWait     = "wait"     // for a free address, or for the node's turn
	StepRelease  = "release"  // address, rules and record are given back
)

// The kinds of steps that are moments.
const (
	StepKilled   = "killed"
	StepRebooted = "rebooted"
	StepEnded    = "ended"
	StepFailed   = "failed" // a run ended with an exit code other than 0
	StepEvent    = "event"  // anything else that a scenario does to the node
)

// A Phase is a part of the rehearsal as a whole, up to the next one.
type Phase struct {
	At   float64 `json:"at"`
	Text string  `json:"text"`
}

// An Event is one line of progress.
type Event struct {
	At   float64 `json:"at"`
	Node string  `json:"node,omitempty"` // name; empty for the rehearsal itself
	Text string  `json:"text"`
}

// A Call is one call of a node to AWS, repeated ones included.
type Call struct {
	Node      string  `json:"node"`
	Service   string  `json:"service"` // ssm, ec2
	Action    string  `json:"action"`
	Detail    string  `json:"detail,omitempty"` // its important parameters
	From      float64 `json:"from"`
	Seconds   float64 `json:"seconds"`
	Result    string  `json:"result"` // ok, or AWS's error code
	Throttled bool    `json:"throttled"`
	Fault     string  `json:"fault,omitempty"` // what the rehearsal did to the call: reset, hang
	Lost      bool    `json:"lost,omitempty"`  // it was answered, but the node did not get the answer
}

// A Change is one change of an address or of its record.
type Change struct {
	At      float64    `json:"at"`
	Address netip.Addr `json:"address"`
	Node    string     `json:"node"` // name, or the id of an instance without one
	What    string     `json:"what"` // one of the Change constants
}

// What can happen to an address.
const (
	ChangeAssigned   = "assigned"   // EC2 gave it to the node
	ChangeUnassigned = "unassigned" // the node gave it back
	ChangeRecorded   = "recorded"   // its record names the node
	ChangeDeleted    = "deleted"    // its record was deleted
	ChangeEnded      = "ended"      // the instance that held it ended
)

// A Sighting is one connection of a node to the data centre.
type Sighting struct {
	At      float64    `json:"at"`
	Node    string     `json:"node"`
	After   bool       `json:"after"`         // made after the node's run
	Seen    netip.Addr `json:"seen,omitzero"` // the source address that the server saw
	Outcome string     `json:"outcome"`       // done, refused, failed, skipped
	Dropped int        `json:"dropped"`       // packets that the firewall dropped
}

// A Table is the result as it is printed.
type Table struct {
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
}

// A Problem is a deviation from what is expected, with all nodes that have it.
type Problem struct {
	Nodes  []string `json:"nodes"` // names; empty for the rehearsal as a whole
	Cause  string   `json:"cause"`
	Remedy string   `json:"remedy,omitempty"`
	// As is the node with whose identifiers and addresses the texts are, if those of the others
	// differ in them.
	As string `json:"as,omitempty"`
}

// A Fact is a further property of the rehearsal.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}
