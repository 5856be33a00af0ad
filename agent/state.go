package agent

import (
	"net/netip"
	"time"
)

// StateVersion is the format of the state file that this version writes, and the only one it reads.
const StateVersion = 1

// Phase is how far the run that wrote the state file had come.
type Phase string

// The phases, in the order of a run.
const (
	PhaseClaiming   Phase = "claiming"   // EC2 may have assigned the addresses in Intents to this node
	PhaseAttached   Phase = "attached"   // EC2 gave Static to the node's ENI; the kernel may be half programmed
	PhaseProgrammed Phase = "programmed" // the kernel was verified
	PhaseWithdrawn  Phase = "withdrawn"  // EC2 gives Static to this node no more: it is, or was about to be, taken out of the kernel
	PhaseReleasing  Phase = "releasing"  // a release has begun: every part of it may be done or not
	PhaseReleased   Phase = "released"   // nothing is left on this node
)

// State is what a run leaves behind for the next: a report, and a hint where to look. What is true
// is asked of the kernel and of EC2 each time. The exceptions are Intents, since an assignment whose
// answer got lost is known from nowhere else, and RecordDue.
type State struct {
	Version int       `json:"version"` // StateVersion
	Tool    string    `json:"tool"`    // version of the program that wrote it
	Written time.Time `json:"written"`
	Phase   Phase     `json:"phase"`

	InstanceID string `json:"instance"` // a state file that came with an AMI names another instance
	ClusterID  string `json:"cluster,omitempty"`
	Role       Role   `json:"role,omitempty"` // as detected
	SubnetID   string `json:"subnet,omitempty"`
	ENI        string `json:"eni,omitempty"`
	MAC        string `json:"mac,omitempty"`
	Link       string `json:"link,omitempty"`    // name of the interface that was programmed
	Backend    string `json:"backend,omitempty"` // of the kernel, with its version

	VPC []netip.Prefix `json:"vpc,omitempty"` // every IPv4 CIDR of the VPC; missing in files of versions before restore

	// Gateways are the networks of S3 and DynamoDB, once EC2 was asked for them.
	Gateways      []netip.Prefix `json:"gateways,omitempty"`
	GatewaysKnown bool           `json:"gateways_known,omitempty"`

	Primary netip.Addr   `json:"primary,omitzero"`
	Static  netip.Addr   `json:"static,omitzero"`
	Former  []netip.Addr `json:"former,omitempty"`  // static IPs this node had before and must not keep
	Intents []netip.Addr `json:"intents,omitempty"` // written before EC2 is asked: assigned, or about to be

	// RecordDue is when the record of Static is to be written; zero if it was written. Until then the
	// timer looks after it.
	RecordDue time.Time `json:"record_due,omitzero"`
	Named     bool      `json:"named,omitempty"` // the instance's Name tag was looked after

	Settings Settings `json:"settings"` // what a run without addresses repeats
}
