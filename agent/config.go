package agent

import (
	"net/netip"
	"time"
)

// Role is a node's part in an EMR cluster.
type Role string

// The roles of the EMR tag aws:elasticmapreduce:instance-group-role.
const (
	RoleMaster Role = "MASTER"
	RoleCore   Role = "CORE"
	RoleTask   Role = "TASK"
)

// Pools are the static IPs offered to each role, in the operator's order.
type Pools struct {
	Master []netip.Addr `json:"master,omitempty"`
	Core   []netip.Addr `json:"core,omitempty"`
	Task   []netip.Addr `json:"task,omitempty"`
}

// Config is one run's settings, as the operator gave them (arguments, flags, environment).
type Config struct {
	Pools   Pools          // empty: take the pools of the last run from the state file
	Role    Role           // empty: detect it
	Scope   string         // SNAT scope: external or all
	Only    []netip.Prefix // SNAT only to these networks
	Exclude []netip.Prefix // never SNAT to these
	Backend string         // auto, iptables or nftables

	Prefix            string        // of the ledger in Parameter Store, with a leading slash: /emr-static-ip
	AllowReassignment bool          // take the address from whoever has it
	NameTag           bool          // append the role to the Name tag
	PutRate           float64       // PutParameter calls a second that the account allows, for pacing a launch
	Timeout           time.Duration // bounds the whole run
	IMDSTimeout       time.Duration // how long a late IMDS is waited for
	LockWait          time.Duration // how long the xtables lock is waited for
	StateDir          string        // where state.json is kept
	Verbose           bool
	LogFormat         string // console or json
}
