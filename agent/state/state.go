// Package state has what a run leaves on a node for the next run: the state file, the last error,
// the count of checks without the address, and the lock.
package state

import (
	"net/netip"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/agent/verify"
	"github.com/emr-static-ip/emr-static-ip/internal/tag"
)

// Version is the format of the state file that this version writes, and the only one that it reads.
const Version = 1

// Phase is how far the run that wrote the state file had come.
type Phase string

// The phases, in the order of a run.
const (
	// Claiming: EC2 may have assigned the addresses in Intents to this node.
	Claiming Phase = "claiming"
	// Attached: EC2 gave Static to the node's ENI. The kernel may be half programmed.
	Attached Phase = "attached"
	// Programmed: the kernel was verified.
	Programmed Phase = "programmed"
	// Withdrawn: EC2 no longer gives Static to this node. The kernel may still have it.
	Withdrawn Phase = "withdrawn"
	// Releasing: a release has begun. Each part of it may be done or not.
	Releasing Phase = "releasing"
	// Released: nothing is left on this node.
	Released Phase = "released"
)

// State is what a run leaves behind for the next: a report, and a hint where to look. Each run asks
// the kernel and EC2 for the facts. The exceptions are Intents and RecordDue: nothing else knows of
// an assignment whose answer was lost.
type State struct {
	Version int       `json:"version"` // the constant of that name
	Tool    string    `json:"tool"`    // version of the program that wrote it
	Written time.Time `json:"written"`
	Phase   Phase     `json:"phase"`

	// InstanceID differs from the node's if the state file came with an AMI.
	InstanceID string   `json:"instance"`
	ClusterID  string   `json:"cluster,omitempty"`
	Role       emr.Role `json:"role,omitempty"` // as detected
	SubnetID   string   `json:"subnet,omitempty"`
	ENI        string   `json:"eni,omitempty"`
	MAC        string   `json:"mac,omitempty"`
	Link       string   `json:"link,omitempty"`    // name of the interface that was programmed
	Backend    string   `json:"backend,omitempty"` // of the kernel, with its version

	// VPC has every IPv4 CIDR of the VPC. Files of versions before restore do not have it.
	VPC []netip.Prefix `json:"vpc,omitempty"`
	// Gateways are the networks of S3 and DynamoDB, as EC2 named them at GatewaysAt.
	Gateways   []netip.Prefix `json:"gateways,omitempty"`
	GatewaysAt time.Time      `json:"gateways_at,omitzero"`

	Primary netip.Addr `json:"primary,omitzero"`
	Static  netip.Addr `json:"static,omitzero"`
	// Former are static IPs that this node had before and must not keep.
	Former []netip.Addr `json:"former,omitempty"`
	// Intents are written before EC2 is asked. EC2 may have assigned them.
	Intents []netip.Addr `json:"intents,omitempty"`
	// Unproven are those of Static, Former and Intents that a run asked EC2 for, and with which no
	// run has come to its end since. A run gives such an address back if the rules cut an endpoint
	// off. Files of older versions have none: what they name is kept.
	Unproven []netip.Addr `json:"unproven,omitempty"`
	// TakingBack is set with the phase Releasing if no release has begun: a run takes back what it
	// did.
	TakingBack bool `json:"taking_back,omitempty"`
	// Lost is set by a release that found no state file, until it has asked the ledger and EC2
	// which addresses are this node's.
	Lost bool `json:"lost,omitempty"`
	// Before is the address that was in use before Static, while Static is unproven. It comes into
	// use again if Static is given back. BeforeDue is when its record was to be written.
	Before    netip.Addr `json:"before,omitzero"`
	BeforeDue time.Time  `json:"before_due,omitzero"`

	// RecordDue is when the record of Static is to be written; zero if it was written. Until then
	// the timer looks after it.
	RecordDue time.Time `json:"record_due,omitzero"`
	Named     bool      `json:"named,omitempty"` // the instance's Name tag was looked after

	Settings Settings `json:"settings"` // what a run without addresses repeats
}

// Released reports whether a release has begun or ended, and no run came after it.
func (s State) Released() bool { return s.Phase == Releasing && !s.TakingBack || s.Phase == Released }

// ScopeOrigin is where a scope comes from.
type ScopeOrigin string

// The origins. Files of older versions have none.
const (
	ScopeAsked   ScopeOrigin = "asked"
	ScopeDerived ScopeOrigin = "derived"
)

// Settings are the part of a Config that a later run without addresses repeats. They leave out what
// belongs to one run only, such as timeouts and logging.
type Settings struct {
	Pools pool.Pools `json:"pools"`
	Role  emr.Role   `json:"role,omitempty"` // of --role, not as detected
	Scope string     `json:"snat_scope"`
	// ScopeFrom says whether the operator asked for the scope, or whether the run derived it. A run
	// that is not asked for one derives it again.
	ScopeFrom ScopeOrigin `json:"snat_scope_from,omitempty"`

	Only    []netip.Prefix  `json:"only_cidr,omitempty"`
	Exclude []netip.Prefix  `json:"exclude_cidr,omitempty"`
	Backend string          `json:"nat_backend"`
	Prefix  string          `json:"prefix"`
	NameTag bool            `json:"name_tag"`
	NoUnits bool            `json:"no_units,omitempty"`
	PutRate float64         `json:"ssm_put_rate"`
	Verify  []verify.Target `json:"verify,omitempty"`

	OnError string `json:"on_error,omitempty"` // empty: fail

	NoShutdownAction bool `json:"no_shutdown_action,omitempty"`

	ClaimTags []tag.Tag `json:"claim_tags,omitempty"`
}
