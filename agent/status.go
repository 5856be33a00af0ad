package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// statusAWS bounds how long a status asks AWS.
const statusAWS = 8 * time.Second

// Verdict is a status in a word.
type Verdict string

// The verdicts, each with an exit code of its own.
const (
	VerdictInOrder       Verdict = "in order"       // ExitOK
	VerdictSettling      Verdict = "settling"       // ExitOK: AWS may be late to show what a run has just done
	VerdictDrifted       Verdict = "drifted"        // ExitDrifted
	VerdictNotConfigured Verdict = "not configured" // ExitNotGiven
	VerdictWithdrawn     Verdict = "withdrawn"      // ExitWithdrawn
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
	itemUnknown  = "unknown" // could not be looked at: Detail says why
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
	Verdict   Verdict          `json:"verdict"`
	Reasons   []string         `json:"reasons,omitempty"` // why the verdict is not "in order"
	Remedy    string           `json:"remedy,omitempty"`  // what to do about it
	Tool      string           `json:"tool,omitempty"`    // version of the program
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
	Pending   []netip.Addr     `json:"pending,omitempty"` // further addresses that a run which did not come to its end may have claimed
	Written   time.Time        `json:"written,omitzero"`  // of the state file
	Kernel    []Item           `json:"kernel,omitempty"`  // the address, chains, jumps and rules
	Units     []Item           `json:"units,omitempty"`
	IMDS      *Item            `json:"imds,omitempty"`
	EC2       *Item            `json:"ec2,omitempty"`
	Ledger    *Item            `json:"ledger,omitempty"`
	Notes     []string         `json:"notes,omitempty"`

	LastError *LastError `json:"last_error,omitempty"` // of runs that failed under --on-error continue; none has succeeded since
}

// ExitCode is the verdict's.
func (s Status) ExitCode() ExitCode {
	switch s.Verdict {
	case VerdictInOrder, VerdictSettling:
		return ExitOK
	case VerdictDrifted:
		return ExitDrifted
	case VerdictNotConfigured:
		return ExitNotGiven
	case VerdictWithdrawn:
		return ExitWithdrawn
	}
	return ExitInternal
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
	r.reportLastError(s)
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
	active := last.Static.IsValid() && last.Phase != state.Released && last.Phase != state.Withdrawn
	if err := r.statusKernel(ctx, s, active); err != nil {
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
		r.statusAWS(ctx, s, v.answers)
		r.settle(s)
	}
	s.judge()
	s.remedy()
	return nil
}

// statusKernel compares the kernel with what is wanted; with nothing where the node uses no static
// IP.
func (r *run) statusKernel(ctx context.Context, s *Status, active bool) error {
	if err := r.openKernel(ctx); err != nil {
		return err
	}
	o, err := r.session.Kernel.Observe(ctx, r.facts.ID.MAC)
	if err != nil {
		return node.KernelError(err)
	}
	s.Link, s.Backend, s.Conntrack = o.Link.Name, r.session.Kernel.Backend(), o.Conntrack
	s.Notes = append(s.Notes, o.Notes...)
	s.Kernel = KernelItems(o, r.wanted(s.Static, r.memory.State().Former), active)
	if !active {
		return nil
	}
	others, err := r.session.Kernel.Redirections(ctx, s.Static)
	if err != nil {
		others = []string{"the rules of others for " + s.Static.String() + " could not be looked at: " + err.Error()}
	}
	s.Notes = append(s.Notes, text.Limited(others)...)
	return nil
}

// KernelItems compares what the kernel has with what is wanted of it: want if the static IP is in
// use (active), and otherwise nothing.
func KernelItems(o netcfg.Observed, want netcfg.Config, active bool) (items []Item) {
	add := func(what, state, detail string) {
		items = append(items, Item{What: what, State: state, Detail: detail})
	}
	rules := netcfg.RuleSet{}
	former := want.Former
	want.Former = nil
	if active {
		rules = want.Desired(o.Link.Name)
	}
	if want.Static.IsValid() {
		entries := o.Link.Find(want.Static)
		switch {
		case active && len(entries) == 0:
			add("address "+want.Static.String(), itemMissing, "")
		case active:
			add("address "+entries[0].Prefix.String(), itemPresent, "")
		case len(entries) > 0:
			add("address "+entries[0].Prefix.String(), itemForeign, "")
		}
	}
	for _, f := range former {
		for _, e := range o.Link.Find(f) {
			add("address "+e.Prefix.String(), itemForeign, "a former static IP")
		}
	}
	_, same := o.Rules.Differences(rules)
	if same > 0 {
		add(fmt.Sprintf("%d of %d chains and jumps (%s)", same, len(rules.Chains)+len(rules.Jumps), o.Backend), itemPresent, "")
	}
	for _, f := range o.Rules.Findings(rules) {
		add(f.What, string(f.Kind), f.Detail)
	}
	if active && o.Link.Down {
		add("link "+o.Link.Name, itemDiffers, "it is down")
	}
	if v := want.Judge(o); active && (v.Condition == netcfg.Overtaken || v.Condition == netcfg.Dormant) {
		add("rules "+string(v.Condition), itemDiffers, v.Detail)
	}
	if o.Unusable != nil && !o.Dormant {
		add("backend "+string(o.Backend), itemDiffers, text.Line(o.Unusable.Error()))
	}
	for _, b := range []netcfg.Backend{netcfg.IptablesLegacy, netcfg.IptablesNFT, netcfg.Nftables} {
		if stray := o.Strays[b]; !stray.Empty() {
			lines, _ := stray.Differences(netcfg.RuleSet{})
			for _, line := range lines {
				add(strings.TrimPrefix(line, "- "), itemForeign, "in "+string(b)+", which is not in use")
			}
		}
	}
	return items
}

// item says whether IMDS lists the static IP.
func (v view) item(static netip.Addr) *Item {
	item := &Item{What: "IMDS lists " + static.String(), State: itemMissing}
	switch {
	case !v.answers:
		item.State, item.Detail = itemUnknown, "IMDS does not answer"
	case v.lists:
		item.State = itemPresent
	}
	return item
}

// statusAWS asks EC2 and Parameter Store who has the static IP.
func (r *run) statusAWS(ctx context.Context, s *Status, answers bool) {
	s.EC2 = &Item{What: "EC2 gives " + s.Static.String() + " to " + s.ENI, State: itemUnknown}
	s.Ledger = &Item{What: "record of " + s.Static.String(), State: itemUnknown}
	defer r.pendingRecord(s)
	if !answers {
		s.EC2.Detail, s.Ledger.Detail = "IMDS does not answer", "IMDS does not answer"
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statusAWS)
	defer cancel()
	if err := r.connect(ctx); err != nil {
		s.EC2.Detail = text.Line(r.explain(ctx, err).Error())
		s.Ledger.Detail = s.EC2.Detail
		return
	}
	// Side by side: one that is not reachable must not use up the time of the other.
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.statusLedger(ctx, s)
	}()
	defer func() { <-done }()
	if own, err := r.session.EC2.Own(ctx); err != nil {
		s.EC2.Detail = text.Line(r.explain(ctx, err).Error())
	} else if slices.Contains(own, s.Static) {
		s.EC2.State = itemPresent
	} else {
		s.EC2.State = itemMissing
		if holders, err := r.session.EC2.Holders(ctx, []netip.Addr{s.Static}); err == nil && holders[s.Static].ENI != "" {
			s.EC2.Detail = "it is in use by " + holders[s.Static].String()
		}
	}
}

func (r *run) statusLedger(ctx context.Context, s *Status) {
	ledger := ssmcoord.NewLedger(r.session.AWS.Config, r.cfg.Prefix, s.Subnet)
	s.Ledger.What = "record " + ledger.Name(s.Static)
	entries, err := ledger.Read(ctx, []netip.Addr{s.Static})
	entry := entries[s.Static]
	switch {
	case err != nil:
		s.Ledger.Detail = text.Line(r.explain(ctx, err).Error())
	case entry.State == ssmcoord.Absent:
		s.Ledger.State = itemMissing
	case entry.State == ssmcoord.Unreadable:
		s.Ledger.State, s.Ledger.Detail = itemDiffers, text.Line(entry.Problem.Error())
	case entry.Record.Instance != s.Instance:
		s.Ledger.State, s.Ledger.Detail = itemForeign, "it names "+entry.Record.Instance
	default:
		s.Ledger.State = itemPresent
	}
}

// recordOverdue is how long after its time a pending record is still left to the timer.
const recordOverdue = 5 * time.Minute

// pendingRecord says of a record that is not there, or cannot be asked for, that the timer writes
// it.
func (r *run) pendingRecord(s *Status) {
	due := r.memory.State().RecordDue
	if due.IsZero() || s.Phase != PhaseProgrammed || s.Ledger.State == itemPresent {
		return
	}
	wait := r.memory.State().RecordWait(time.Now())
	at := time.Now().Add(wait).UTC().Format(time.RFC3339)
	if wait < -recordOverdue {
		s.Notes = append(s.Notes, "record pending since "+at+": emr-static-ip restore writes it, or run emr-static-ip again")
		return
	}
	s.Notes = append(s.Notes, "record pending: "+systemd.Timer+" writes it at about "+at)
	if s.Ledger.State != itemUnknown {
		s.Ledger.State, s.Ledger.Detail = itemPending, "due at "+at
	}
}

// judge is the verdict on what was found. What is unknown does not count.
func (s *Status) judge() {
	bad := func(item *Item) {
		if item == nil {
			return
		}
		if trouble := item.Trouble(); trouble != "" {
			s.Reasons = append(s.Reasons, trouble)
		}
	}
	for i := range s.Kernel {
		bad(&s.Kernel[i])
	}
	for i := range s.Units {
		bad(&s.Units[i])
	}
	switch s.Phase {
	case PhaseWithdrawn:
		s.Verdict = VerdictWithdrawn
		s.Reasons = append([]string{"EC2 does not give " + s.Static.String() + " to this node any more: it was withdrawn"}, s.Reasons...)
		return
	case PhaseReleased:
		if s.Verdict = VerdictNotConfigured; len(s.Reasons) > 0 {
			s.Verdict = VerdictDrifted // what a release leaves must be nothing
		}
		return
	case PhaseProgrammed:
		if len(s.Pending) > 0 {
			s.Reasons = append(s.Reasons, fmt.Sprintf("a run did not come to its end, and may have claimed %v: run it again", s.Pending))
		}
	default:
		s.Reasons = append(s.Reasons, "the last run did not come to its end ("+string(s.Phase)+"): run it again")
	}
	if !s.Static.IsValid() {
		s.Verdict = VerdictNotConfigured
		return
	}
	bad(s.IMDS)
	bad(s.EC2)
	bad(s.Ledger)
	if s.LastError != nil {
		s.Reasons = append(s.Reasons, "the last run failed: see last error")
	}
	if s.Verdict = VerdictInOrder; len(s.Reasons) > 0 {
		s.Verdict = VerdictDrifted
	} else if s.settles() {
		s.Verdict = VerdictSettling
	}
}
