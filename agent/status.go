package agent

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/output"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
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

	LastError *LastError `json:"last_error,omitempty"` // of runs that failed under --on-error continue; none has succeeded since
}

// Inspect compares the wanted with the observed state: kernel, units, IMDS, EC2 and ledger. It
// changes nothing and takes no lock. What cannot be asked is unknown, which is no drift; AWS is
// asked for a few seconds at most.
func Inspect(ctx context.Context, cfg Config, env Environment) (Status, error) {
	var s Status
	_, err := conduct(ctx, cfg, env, func(r *run, ctx context.Context) error { return r.status(ctx, &s) })
	return s, err
}

func (r *run) status(ctx context.Context, s *Status) error {
	reportLastError(s, r.dir, r.env)
	s.Verdict = VerdictNotConfigured
	known, err := r.recall()
	switch {
	case err != nil && s.LastError == nil && !state.Damaged(err):
		return err
	case err != nil:
		// Why this node has no static IP is not kept back because of another trouble.
		reason := text.Line(err.Error())
		if carries := r.carries(ctx); carries != "" {
			reason += ", and the kernel carries " + carries
		}
		s.Verdict, s.Reasons, s.Remedy = VerdictDrifted, append(s.Reasons, reason), strings.Join(exit.Remedies(err), "; ")
		return nil
	case !known:
		if err := r.orphaned(ctx); err != nil {
			s.Verdict, s.Reasons, s.Remedy = VerdictDrifted, append(s.Reasons, err.Error()), strings.Join(exit.Remedies(err), "; ")
			return nil
		}
		s.Reasons = append(s.Reasons, r.notConfigured())
		return nil
	}
	v, err := r.askIMDS(ctx)
	if err != nil {
		return err
	}
	if v.foreign != "" {
		s.Reasons = append(s.Reasons, v.foreign)
		return nil
	}
	if v.silent != nil {
		s.Notes = append(s.Notes, v.silent.Error())
	}
	last := r.memory.State()
	s.Instance, s.Cluster, s.Role, s.Subnet, s.ENI, s.Link, s.Backend = last.InstanceID, last.ClusterID, last.Role, last.SubnetID, last.ENI, last.Link, last.Backend
	s.Primary, s.Static, s.Phase, s.Written, s.Pending = last.Primary, last.Static, last.Phase, last.Written, last.Intents
	s.takingBack = last.TakingBack
	s.unfinished = last.Doubts(last.Static)
	s.Notes = append(s.Notes, r.cfg.ScopeNotes(r.facts.ID)...)
	if v.answers && len(r.facts.ID.Public) == 0 && last.Static.IsValid() && DerivedPrivate(last.Settings) && len(last.Settings.Only) == 0 {
		s.Notes = append(s.Notes, PublicGone(last.Settings))
	}
	if warning := r.cfg.ScopeWarning(r.facts.ID); warning != "" {
		s.Notes = append(s.Notes, warning)
	}
	active := last.Static.IsValid() && last.Phase != state.Released && last.Phase != state.Withdrawn
	if err := r.kernel.status(ctx, s, last.Former, active); err != nil {
		return err
	}
	if active {
		parts, err := InspectInstalled(ctx, r.cfg, r.env)
		if err != nil {
			return err
		}
		for _, part := range parts {
			s.Units = append(s.Units, Item{What: part.What, State: string(part.State), Detail: part.Detail})
		}
	}
	if last.Static.IsValid() {
		s.IMDS = v.item(last.Static)
		cloud := cloudStatus{env: r.env, prefix: r.cfg.Prefix, session: &r.session, connect: r.connect, explain: r.explain}
		cloud.ask(ctx, s, v.answers)
		s.pendingRecord(last)
		s.settle(last)
	}
	s.judge()
	s.remedy()
	return nil
}
