package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
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
	VerdictDrifted       Verdict = "drifted"        // ExitDrifted
	VerdictNotConfigured Verdict = "not configured" // ExitNotGiven
	VerdictWithdrawn     Verdict = "withdrawn"      // ExitWithdrawn
)

// The states of an Item.
const (
	itemPresent = "present"
	itemMissing = "missing" // wanted, and not there
	itemForeign = "foreign" // there under this program's name, and not wanted
	itemDiffers = "differs"
	itemPending = "pending" // the timer will see to it
	itemUnknown = "unknown" // could not be looked at: Detail says why
)

// Item is one thing that is wanted or found.
type Item struct {
	What   string `json:"what"`
	State  string `json:"state"` // present, missing, foreign, differs, pending, unknown
	Detail string `json:"detail,omitempty"`

	remedy string // what apply does about it
}

// Status compares what the last run left with what is there.
type Status struct {
	Verdict   Verdict          `json:"verdict"`
	Reasons   []string         `json:"reasons,omitempty"` // why the verdict is not "in order"
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
	case VerdictInOrder:
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

// Inspect compares the wanted with the observed state: kernel, units, IMDS, EC2 and ledger. It changes nothing and takes no lock.
// What cannot be asked is unknown, which is no drift; AWS is asked for a few seconds at most.
func Inspect(ctx context.Context, cfg Config, env Environment) (Status, error) {
	var s Status
	_, err := conduct(ctx, cfg, env, func(r *run, ctx context.Context) error { return r.status(ctx, &s) })
	return s, err
}

func (r *run) status(ctx context.Context, s *Status) error {
	r.reportLastError(s)
	if err := r.recall(""); err != nil {
		if s.LastError == nil {
			return err
		}
		// Why this node has no static IP is not kept back because of another trouble.
		s.Verdict, s.Reasons = VerdictDrifted, append(s.Reasons, withRemedies(err))
		return nil
	}
	s.Verdict = VerdictNotConfigured
	if !r.hasState {
		s.Reasons = append(s.Reasons, r.rep.LeftAlone)
		return nil
	}
	answers, err := r.askIMDS(ctx)
	if !r.hasState { // another instance's
		s.Reasons = append(s.Reasons, r.rep.LeftAlone)
		return nil
	}
	if err != nil {
		return err
	}
	st := r.state
	s.Instance, s.Cluster, s.Role, s.Subnet, s.ENI, s.Link, s.Backend = st.InstanceID, st.ClusterID, st.Role, st.SubnetID, st.ENI, st.Link, st.Backend
	s.Primary, s.Static, s.Phase, s.Written, s.Pending = st.Primary, st.Static, st.Phase, st.Written, st.Intents
	s.Notes = append(s.Notes, append(r.rep.Notes, r.scopeNotes()...)...)
	active := st.Static.IsValid() && st.Phase != PhaseReleased && st.Phase != PhaseWithdrawn
	if err := r.statusKernel(ctx, s, active); err != nil {
		return err
	}
	if active {
		if s.Units, err = r.installedStates(ctx); err != nil {
			return err
		}
	}
	if st.Static.IsValid() {
		s.IMDS = r.listed(answers)
		r.statusAWS(ctx, s, answers)
	}
	s.judge()
	return nil
}

// statusKernel compares the kernel with what is wanted; with nothing where the node uses no static IP.
func (r *run) statusKernel(ctx context.Context, s *Status, active bool) error {
	if err := r.openKernel(ctx); err != nil {
		return err
	}
	o, err := r.kernel.Observe(ctx, r.id.MAC)
	if err != nil {
		return kernelError(err)
	}
	s.Link, s.Backend, s.Conntrack = o.Link.Name, r.kernel.Backend(), o.Conntrack
	s.Notes = append(s.Notes, o.Notes...)
	want := netcfg.RuleSet{}
	if active {
		want = r.wanted(s.Static, nil).Desired(o.Link.Name)
	}
	if s.Static.IsValid() {
		entries := o.Link.Find(s.Static)
		switch {
		case active && len(entries) == 0:
			s.Kernel = append(s.Kernel, Item{What: "address " + s.Static.String(), State: itemMissing})
		case active:
			s.Kernel = append(s.Kernel, Item{What: "address " + entries[0].Prefix.String(), State: itemPresent})
		case len(entries) > 0:
			s.Kernel = append(s.Kernel, Item{What: "address " + entries[0].Prefix.String(), State: itemForeign})
		}
	}
	for _, f := range r.state.Former {
		for _, e := range o.Link.Find(f) {
			s.Kernel = append(s.Kernel, Item{What: "address " + e.Prefix.String(), State: itemForeign, Detail: "a former static IP"})
		}
	}
	lines, same := o.Rules.Differences(want)
	if same > 0 {
		s.Kernel = append(s.Kernel, Item{What: fmt.Sprintf("%d of %d chains and jumps (%s)", same, len(want.Chains)+len(want.Jumps), o.Backend), State: itemPresent})
	}
	for _, line := range lines {
		if text, ok := strings.CutPrefix(line, "+ "); ok {
			s.Kernel = append(s.Kernel, Item{What: text, State: itemMissing})
		} else {
			s.Kernel = append(s.Kernel, Item{What: strings.TrimPrefix(line, "- "), State: itemForeign})
		}
	}
	if v := r.wanted(s.Static, nil).Judge(o); active && (v.Condition == netcfg.Overtaken || v.Condition == netcfg.Dormant) {
		s.Kernel = append(s.Kernel, Item{What: "rules " + string(v.Condition), State: itemDiffers, Detail: v.Detail})
	}
	if o.Unusable != nil && !o.Dormant {
		s.Kernel = append(s.Kernel, Item{What: "backend " + string(o.Backend), State: itemDiffers, Detail: clean(o.Unusable.Error(), maxLine)})
	}
	for _, b := range []netcfg.Backend{netcfg.IptablesLegacy, netcfg.IptablesNFT, netcfg.Nftables} {
		if stray := o.Strays[b]; !stray.Empty() {
			lines, _ := stray.Differences(netcfg.RuleSet{})
			for _, line := range lines {
				s.Kernel = append(s.Kernel, Item{What: strings.TrimPrefix(line, "- "), State: itemForeign, Detail: "in " + string(b) + ", which is not in use"})
			}
		}
	}
	return nil
}

// listed is whether IMDS lists the static IP.
func (r *run) listed(answers bool) *Item {
	item := &Item{What: "IMDS lists " + r.state.Static.String(), State: itemMissing}
	switch {
	case !answers:
		item.State, item.Detail = itemUnknown, "IMDS does not answer"
	case slices.Contains(r.id.Addresses, r.state.Static):
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
		s.EC2.Detail = text.Clean(r.explain(ctx, err).Error(), text.MaxLine)
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
	if own, err := r.ec2.Own(ctx); err != nil {
		s.EC2.Detail = text.Clean(r.explain(ctx, err).Error(), text.MaxLine)
	} else if slices.Contains(own, s.Static) {
		s.EC2.State = itemPresent
	} else {
		s.EC2.State = itemMissing
		if holders, err := r.ec2.Holders(ctx, []netip.Addr{s.Static}); err == nil && holders[s.Static].ENI != "" {
			s.EC2.Detail = "it is in use by " + holders[s.Static].String()
		}
	}
}

func (r *run) statusLedger(ctx context.Context, s *Status) {
	ledger := ssmcoord.NewLedger(r.aws.Config, r.cfg.Prefix, s.Subnet)
	s.Ledger.What = "record " + ledger.Name(s.Static)
	entries, err := ledger.Read(ctx, []netip.Addr{s.Static})
	entry := entries[s.Static]
	switch {
	case err != nil:
		s.Ledger.Detail = text.Clean(r.explain(ctx, err).Error(), text.MaxLine)
	case entry.State == ssmcoord.Absent:
		s.Ledger.State = itemMissing
	case entry.State == ssmcoord.Unreadable:
		s.Ledger.State, s.Ledger.Detail = itemDiffers, text.Clean(entry.Problem.Error(), text.MaxLine)
	case entry.Record.Instance != s.Instance:
		s.Ledger.State, s.Ledger.Detail = itemForeign, "it names "+entry.Record.Instance
	default:
		s.Ledger.State = itemPresent
	}
}

// recordOverdue is how long after its time a pending record is still left to the timer.
const recordOverdue = 5 * time.Minute

// pendingRecord says of a record that is not there, or cannot be asked for, that the timer writes it.
func (r *run) pendingRecord(s *Status) {
	due := r.state.RecordDue
	if due.IsZero() || s.Phase != PhaseProgrammed || s.Ledger.State == itemPresent {
		return
	}
	at := due.UTC().Format(time.RFC3339)
	if time.Since(due) > recordOverdue {
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
		if item == nil || item.State == itemPresent || item.State == itemUnknown || item.State == itemPending {
			return
		}
		reason := item.What + ": " + item.State
		if item.Detail != "" {
			reason += " (" + item.Detail + ")"
		}
		s.Reasons = append(s.Reasons, reason)
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
		s.Reasons = append([]string{"EC2 does not give " + s.Static.String() + " to this node any more: it was taken out of use"}, s.Reasons...)
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
	}
}

// Render writes the status for people, or as JSON.
func (s Status) Render(w io.Writer, format string) error {
	if format == "json" {
		e := json.NewEncoder(text.NewWriter(w))
		e.SetEscapeHTML(false)
		return e.Encode(s)
	}
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-10s %s\n", name, text.Clean(value, text.MaxLine))
		}
	}
	item := func(i Item) string { return fmt.Sprintf("%-8s %s", i.State, with(i.What, i.Detail, i.Detail != "")) }
	list := func(name string, items ...Item) {
		if len(items) > 0 {
			b.WriteString(name + "\n")
		}
		for _, i := range items {
			b.WriteString("  " + text.Clean(item(i), text.MaxLine) + "\n")
		}
	}
	line("version", s.Tool)
	line("instance", s.Instance)
	line("cluster", s.Cluster)
	line("role", string(s.Role))
	line("subnet", s.Subnet)
	line("interface", with(s.Link, s.ENI, s.ENI != ""))
	line("primary IP", address(s.Primary))
	line("static IP", address(s.Static))
	line("back end", s.Backend)
	if s.Conntrack.Max > 0 {
		line("conntrack", fmt.Sprintf("%d of %d connections", s.Conntrack.Count, s.Conntrack.Max))
	}
	if s.Phase != "" {
		line("last run", with(string(s.Phase), s.Written.UTC().Format(time.RFC3339), !s.Written.IsZero()))
	}
	list("kernel", s.Kernel...)
	list("units", s.Units...)
	var cloud []Item
	for _, i := range []*Item{s.IMDS, s.EC2, s.Ledger} {
		if i != nil {
			cloud = append(cloud, *i)
		}
	}
	list("AWS", cloud...)
	for _, n := range s.Notes {
		line("note", strings.Join(text.Lines(n), "; "))
	}
	for _, reason := range s.Reasons {
		line("because", reason)
	}
	if s.LastError != nil {
		b.WriteString("last error\n")
		for _, l := range lastErrorLines(*s.LastError) {
			b.WriteString("  " + text.Clean(l, text.MaxLine) + "\n")
		}
	}
	line("status", string(s.Verdict))
	_, err := io.WriteString(w, b.String())
	return err
}
