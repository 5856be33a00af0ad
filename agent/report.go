package agent

import (
	"net/netip"
	"time"
)

// Report is what a run found and did. A run that fails returns the report of what it did until then.
type Report struct {
	Role       Role
	RoleSource string // where the role was found: "job-flow.json"
	InstanceID string
	ClusterID  string
	SubnetID   string
	ENI        string
	Link       string // name of the primary interface
	Backend    string // of the kernel: "iptables v1.8.9 (nf_tables)"
	Primary    netip.Addr
	Static     netip.Addr

	LeftAlone string         // why nothing was to be done on this node; empty on a normal run
	Changes   []string       // in the order they were made: claims, attachments, commands, tags
	Unchanged int            // objects that were as wanted
	Calls     map[string]int // calls to AWS, retries included: "ssm:PutParameter" -> 1
	Duration  time.Duration
	Notes     []string // for the operator's information
	Warnings  []string // for the operator's attention
}
