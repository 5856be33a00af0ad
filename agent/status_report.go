package agent

import (
	"net/netip"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/output"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// The states of an Item.
const (
	itemPresent = string(systemd.Present)
	itemMissing = string(systemd.Missing) // wanted, and not there
	itemForeign = string(systemd.Foreign) // there under this program's name, and not wanted
	itemDiffers = string(systemd.Differs)
	itemPending = "pending" // the timer will see to it
	// itemSettling: not shown yet, and a run that has just ended had AWS's answer.
	itemSettling = "settling"
	itemNotFirst = string(netcfg.NotFirst)
	itemUnknown  = "unknown" // could not be read: Detail says why
)

// Item is one thing that is wanted or found.
type Item struct {
	What   string `json:"what"`
	State  string `json:"state"` // present, missing, not first, foreign, differs, pending, settling, unknown
	Detail string `json:"detail,omitempty"`
}

// Trouble returns what is wrong with the item, or "". What is unknown or pending does not count.
func (i Item) Trouble() string {
	switch i.State {
	case itemPresent, itemUnknown, itemPending, itemSettling:
		return ""
	}
	return with(i.What+": "+i.State, i.Detail, i.Detail != "")
}

// Status compares what the last run left with what is there.
type Status struct {
	output.Head

	Verdict   Verdict          `json:"verdict"`
	Reasons   []string         `json:"reasons"`          // why the verdict is not "in order"
	Remedy    string           `json:"remedy,omitempty"` // what to do about it
	Instance  string           `json:"instance,omitempty"`
	Cluster   string           `json:"cluster,omitempty"`
	Role      Role             `json:"role,omitempty"`
	Subnet    string           `json:"subnet,omitempty"`
	ENI       string           `json:"eni,omitempty"`
	Link      string           `json:"link,omitempty"`
	Backend   string           `json:"backend,omitempty"`
	Conntrack netcfg.Conntrack `json:"conntrack,omitzero"` // how full connection tracking is
	Primary   netip.Addr       `json:"primary,omitzero"`
	Static    netip.Addr       `json:"static,omitzero"`
	Phase     Phase            `json:"phase,omitempty"`
	Pending   []netip.Addr     `json:"pending"`          // further addresses that a run which did not finish may have claimed
	Written   time.Time        `json:"written,omitzero"` // of the state file
	Kernel    []Item           `json:"kernel"`           // the address, chains, jumps and rules
	Units     []Item           `json:"units"`
	IMDS      *Item            `json:"imds,omitempty"`
	EC2       *Item            `json:"ec2,omitempty"`
	Ledger    *Item            `json:"ledger,omitempty"`
	Notes     []string         `json:"notes"`

	takingBack bool // see state.State
	unfinished bool // no run has come to its end with Static
	// otherBackend is the --nat-backend that this look was given, if the last run had another one.
	otherBackend string

	LastError *LastError `json:"last_error,omitempty"` // of runs that failed under --on-error continue; none has succeeded since
}
