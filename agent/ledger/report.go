package ledger

import (
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/output"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord/inventory"
)

// Report is what a ledger command found and did. The JSON form is documented in
// cmd/emr-static-ip/README.md; fields are only ever added. The texts are foreign; Render cleans
// them.
type Report struct {
	output.Head

	Command   string         `json:"command"` // list, gc, repair, remove or watch
	Region    string         `json:"region"`  // empty: all, as in regions
	Regions   []Region       `json:"regions"` // of a list of all regions
	Prefix    string         `json:"prefix"`
	Subnet    string         `json:"subnet,omitempty"` // empty: all that have a record
	Time      time.Time      `json:"time,omitzero"`    // by Parameter Store's clock
	DryRun    bool           `json:"dry_run,omitempty"`
	Addresses []Address      `json:"addresses"`
	Others    []string       `json:"others"` // parameters below the prefix that are no records
	Steps     []Step         `json:"steps"`
	Counts    map[string]int `json:"counts"`   // addresses by state, as they were found
	Problems  int            `json:"problems"` // addresses that somebody should look after, as they were found
	Changed   int            `json:"changed"`  // records
	Changes   []Change       `json:"changes"`  // of watch

	Work  agent.Report `json:"-"` // what was changed, and the calls to AWS
	named int          // addresses that were named
}

// Address is one address as Parameter Store and EC2 show it.
type Address struct {
	Region  string    `json:"region"`
	Subnet  string    `json:"subnet"`
	Address string    `json:"address"`
	State   string    `json:"state"`            // a inventory.Standing
	Reason  string    `json:"reason,omitempty"` // in words
	Problem bool      `json:"problem"`
	Record  *Record   `json:"record,omitempty"`
	Owner   *Instance `json:"owner,omitempty"`  // whom the record names
	Holder  *Holder   `json:"holder,omitempty"` // who has the address by EC2
}

// Record is a parameter.
type Record struct {
	Name     string    `json:"name"`
	Version  int64     `json:"version"` // Parameter Store's
	Modified time.Time `json:"modified"`
	Age      int64     `json:"age_seconds"`
	Instance string    `json:"instance,omitempty"`
	ENI      string    `json:"eni,omitempty"`
	Cluster  string    `json:"cluster,omitempty"`
	Role     string    `json:"role,omitempty"`
	Claimed  time.Time `json:"claimed,omitzero"`  // by the owner's clock
	Problem  string    `json:"problem,omitempty"` // why it cannot be read
}

// Instance is an instance.
type Instance struct {
	ID      string `json:"id"`
	State   string `json:"state"` // EC2's word; unknown: EC2 lists no such instance
	Cluster string `json:"cluster,omitempty"`
	Role    string `json:"role,omitempty"`
	Name    string `json:"name,omitempty"`
}

// Holder is the network interface that carries an address.
type Holder struct {
	ENI      string    `json:"eni"`
	Primary  bool      `json:"primary"` // as its primary address
	Instance *Instance `json:"instance,omitempty"`
}

// Step is what gc, repair or remove does, or would do, about one record.
type Step struct {
	Subnet   string `json:"subnet"`
	Address  string `json:"address"`
	Record   string `json:"record"`             // the parameter's name
	Action   string `json:"action"`             // remove, rewrite, add, leave
	Instance string `json:"instance,omitempty"` // whom the record is to name
	Reason   string `json:"reason"`
	Outcome  string `json:"outcome"` // to do, done, left, taken back
	Detail   string `json:"detail,omitempty"`
}

// outcomeToDo is the outcome of a step that --yes would carry out.
const outcomeToDo = "to do"

// take puts what was seen into the report.
func (l *Report) take(view inventory.View) {
	l.Addresses, l.Counts, l.Problems, l.Others = []Address{}, map[string]int{}, 0, nil
	l.add(l.Region, view)
}

// add adds what was seen in a region.
func (l *Report) add(region string, view inventory.View) {
	for _, s := range view.Seen {
		a := l.address(s)
		a.Region = region
		l.Counts[a.State]++
		if a.Problem {
			l.Problems++
		}
		l.Addresses = append(l.Addresses, a)
	}
	l.Others = append(l.Others, view.Others...)
}

func (l *Report) address(s inventory.Sighting) Address {
	standing, reason := s.Standing(l.Time)
	a := Address{
		Subnet: s.Subnet, Address: s.Addr.String(), State: string(standing), Reason: reason, Problem: s.Problem(l.Time), Owner: instanceOf(s.Owner),
	}
	if s.Record.State != ssmcoord.Absent {
		r := s.Record.Record
		a.Record = &Record{
			Name: l.name(s), Version: s.Record.Number, Modified: s.Record.Modified.UTC().Truncate(time.Second), Age: int64(l.Time.Sub(s.Record.Modified).Seconds()),
			Instance: r.Instance, ENI: r.ENI, Cluster: r.Cluster, Role: r.Role, Claimed: r.Time.UTC(),
		}
		if s.Record.Problem != nil {
			a.Record.Problem, a.Record.Claimed = s.Record.Problem.Error(), time.Time{}
		}
	}
	if s.Holder.ENI != "" {
		a.Holder = &Holder{ENI: s.Holder.ENI, Primary: s.Holder.Primary, Instance: instanceOf(s.By)}
	}
	return a
}

func (l *Report) name(s inventory.Sighting) string {
	return l.Prefix + "/" + s.Subnet + "/" + s.Addr.String()
}

func instanceOf(i inventory.Instance) *Instance {
	if i.ID == "" {
		return nil
	}
	x := &Instance{ID: i.ID, State: i.State, Cluster: i.Cluster, Role: i.Role, Name: i.Name}
	if x.State == "" {
		x.State = "unknown"
	}
	return x
}

// plan puts the steps that would be done into the report.
func (l *Report) plan(steps []inventory.Step) {
	for _, s := range steps {
		outcome := outcomeToDo
		if s.Kind == inventory.Leave {
			outcome = string(inventory.Passed)
			l.Work.Notes = append(l.Work.Notes, s.String())
		} else {
			l.Work.Changes = append(l.Work.Changes, s.String())
		}
		l.step(s, outcome, "")
	}
}

// results puts the steps that were tried into the report.
func (l *Report) results(results []inventory.StepResult) {
	for _, r := range results {
		switch r.Outcome {
		case inventory.Done:
			l.Changed++
		case inventory.Passed:
			l.Work.Notes = append(l.Work.Notes, r.Addr.String()+" is left: "+r.Detail)
		case inventory.TakenBack:
			l.Work.Notes = append(l.Work.Notes, "the record of "+r.Addr.String()+" is removed again: "+r.Detail)
		}
		l.step(r.Step, string(r.Outcome), r.Detail)
	}
}

func (l *Report) step(s inventory.Step, outcome, detail string) {
	if s.Kind == inventory.Leave {
		detail = "" // it is the reason
	}
	l.Steps = append(l.Steps, Step{
		Subnet: s.Subnet, Address: s.Addr.String(), Record: l.name(s.Sighting), Action: string(s.Kind), Instance: s.Write.Instance,
		Reason: s.Reason, Outcome: outcome, Detail: detail,
	})
}

// ExitCode returns exit.Drifted if list has found problems, if repair leaves any, also for want of
// --yes, or if remove leaves the record.
func (l Report) ExitCode() exit.Code {
	if l.Command == List && l.Problems > 0 {
		return exit.Drifted
	}
	if l.Command == Remove {
		for _, s := range l.Steps {
			if s.Outcome != string(inventory.Done) && s.Outcome != outcomeToDo {
				return exit.Drifted
			}
		}
	}
	if l.Command == Repair {
		for _, s := range l.Steps {
			if s.Outcome != string(inventory.Done) {
				return exit.Drifted
			}
		}
	}
	return exit.OK
}
