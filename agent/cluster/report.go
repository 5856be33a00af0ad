package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/output"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Report is what Check has seen. The texts are foreign; Render cleans them.
type Report struct {
	output.Head

	Cluster   string         `json:"cluster"`
	Name      string         `json:"name,omitempty"`
	Release   string         `json:"release,omitempty"`
	State     string         `json:"state,omitempty"`  // EMR's word; empty if EMR cannot be asked
	Reason    string         `json:"reason,omitempty"` // of the state, in EMR's words
	Region    string         `json:"region"`
	Prefix    string         `json:"prefix"`
	Time      time.Time      `json:"time,omitzero"`  // by Parameter Store's clock
	List      string         `json:"list,omitempty"` // where the list of addresses comes from
	Complete  bool           `json:"complete"`
	Nodes     []Node         `json:"nodes"`
	Groups    []Group        `json:"groups"`
	Missing   []string       `json:"missing"` // nodes that are requested and have not started
	Counts    map[string]int `json:"counts"`  // nodes by state
	Unseen    []string       `json:"unseen"`  // what could not be seen, and why
	Notes     []string       `json:"notes"`
	Looks     int            `json:"looks"`
	Calls     map[string]int `json:"calls"`
	Throttled int            `json:"throttled"`
	Seconds   float64        `json:"seconds"`

	over bool // the cluster has ended, or is ending
}

// Node is an instance of the cluster.
type Node struct {
	Instance    string    `json:"instance"`
	EMRInstance string    `json:"emr_instance,omitempty"`
	Group       string    `json:"group,omitempty"` // the instance group or fleet
	Role        string    `json:"role"`
	Name        string    `json:"name,omitempty"`
	Subnet      string    `json:"subnet,omitempty"`
	State       string    `json:"state"`
	Expected    bool      `json:"expected"` // it should have an address
	Reason      string    `json:"reason,omitempty"`
	EC2State    string    `json:"ec2_state"`
	EMRState    string    `json:"emr_state,omitempty"`
	ENI         string    `json:"eni,omitempty"`
	Primary     string    `json:"primary,omitempty"`
	Static      string    `json:"static,omitempty"` // by EC2
	Record      *Record   `json:"record,omitempty"`
	Error       string    `json:"error,omitempty"` // the tag emr-static-ip:error
	Launched    time.Time `json:"launched,omitzero"`
	Age         int64     `json:"age_seconds"`
}

// Record is the record of a node's address, or one that names the node.
type Record struct {
	Name     string    `json:"name"`
	Instance string    `json:"instance,omitempty"`
	Cluster  string    `json:"cluster,omitempty"`
	Modified time.Time `json:"modified"`
	Age      int64     `json:"age_seconds"`
	Problem  string    `json:"problem,omitempty"` // why it cannot be read
}

// Group is an instance group or a fleet. A fleet counts units of capacity, not nodes.
type Group struct {
	ID        string `json:"id"`
	Role      string `json:"role"`
	Fleet     bool   `json:"fleet"`
	State     string `json:"state"`
	Requested int    `json:"requested"`
	Running   int    `json:"running"`
}

// take puts what was seen into the report.
func (r *Report) take(f facts, unseen []string) {
	v := f.emr
	r.Name, r.Release, r.State, r.Reason, r.over = v.name, v.release, v.state, v.reason, v.over()
	r.Time = f.now.UTC().Truncate(time.Second)
	r.List = f.list.source
	r.Nodes, r.Groups = f.judge(), v.groups
	r.Missing = f.missing(r.Nodes)
	r.Unseen, r.Notes = unseen, slices.Clone(f.list.notes)
	if !v.described && len(r.Nodes) == 0 { // EMR would have said that it does not know the cluster
		r.Notes = append(r.Notes, "EC2 lists no instance with the tag of this cluster: compare the cluster's id, the region and the account")
	}
	r.Counts = map[string]int{}
	lacking, expected := 0, 0
	for _, n := range r.Nodes {
		r.Counts[n.State]++
		if n.Expected {
			if expected++; n.State != OK {
				lacking++
			}
		}
	}
	r.Complete = expected > 0 && lacking == 0 && len(r.Missing) == 0 && !r.over
	r.Looks++
}

// summary says in a line how far the cluster is.
func (r *Report) summary() string {
	var parts []string
	for _, state := range []string{OK, Starting, NoRecord, Failed, NoAddress, NotAttached, Conflict, Unreadable, NotExpected, Ending} {
		if n := r.Counts[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	return strings.Join(slices.Concat([]string{text.Count(len(r.Nodes), "node", "nodes")}, parts, r.Missing), ", ")
}

// ExitCode returns exit.OK if every node that should have an address has it, else exit.Drifted.
func (r Report) ExitCode() exit.Code {
	if r.Complete {
		return exit.OK
	}
	return exit.Drifted
}
