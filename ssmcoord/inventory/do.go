package inventory

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/emr-static-ip/emr-static-ip/internal/pause"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// Outcome says how a step ended.
type Outcome string

// The outcomes.
const (
	Done      Outcome = "done"
	Passed    Outcome = "left" // the step was Leave, or the second look differs from the first
	TakenBack Outcome = "taken back"
)

// StepResult is a step and its outcome.
type StepResult struct {
	Step
	Outcome Outcome
	Detail  string // why it was left or taken back
}

// Do carries out the steps that a rule found. It looks at each address once more right before the
// change, and changes only what is still the same.
//
// Parameter Store has no conditional changes. A node may take an address over between the second
// look and the change, and its fresh record is then deleted or overwritten. That puts no address at
// risk: EC2 decides who has it, and the node writes its record again in its next run. The other way
// round, a node may release an address while Do writes a record that names the node. That record
// would keep others from the address. So Do looks at everything it wrote again after ReadLag. If
// EC2 no longer shows the address on that node, Do makes the record name the node that has the
// address now, or deletes it.
//
// Do ends with the first step that fails, after the look at what it wrote. The results cover all
// steps that were begun, also if there is an error.
func (v *Inventory) Do(ctx context.Context, steps []Step, rule Sweep) ([]StepResult, error) {
	results, err := v.carryOut(ctx, steps, rule)
	return results, errors.Join(err, v.confirmAll(ctx, results))
}

// carryOut is Do without the looks afterwards.
func (v *Inventory) carryOut(ctx context.Context, steps []Step, rule Sweep) (results []StepResult, err error) {
	changed := false
	for _, step := range steps {
		if step.Kind == Leave {
			results = append(results, StepResult{step, Passed, step.Reason})
			continue
		}
		if changed {
			if err := pause.Sleep(ctx, stepPause); err != nil {
				return results, err
			}
		}
		r, err := v.do(ctx, step, rule)
		if err != nil {
			return results, err
		}
		changed = r.Outcome == Done
		results = append(results, r)
	}
	return results, nil
}

// confirmAll looks again at what was written. The error names each address that it could not look
// at.
func (v *Inventory) confirmAll(ctx context.Context, results []StepResult) error {
	var written []*StepResult
	for i := range results {
		if r := &results[i]; r.Outcome == Done && r.Kind != Remove {
			written = append(written, r)
		}
	}
	if len(written) == 0 {
		return nil
	}
	if v.Notify != nil {
		v.Notify(ssmcoord.Event{Kind: ssmcoord.EventWaiting, Detail: fmt.Sprintf("%s, then a check that each record still names the holder of its address", ssmcoord.ReadLag)})
	}
	err := pause.Sleep(ctx, ssmcoord.ReadLag)
	var problems []error
	for _, r := range written {
		if err == nil {
			if cerr := v.confirm(ctx, r); cerr != nil {
				problems = append(problems, fmt.Errorf("checking %s after its record was written: %w", r.Addr, cerr))
			}
			continue
		}
		problems = append(problems, fmt.Errorf("the record of %s was written, and not checked afterwards", r.Addr))
	}
	return errors.Join(append(problems, err)...)
}

func (v *Inventory) do(ctx context.Context, step Step, rule Sweep) (StepResult, error) {
	again, err := v.again(ctx, step.Sighting)
	if err != nil {
		return StepResult{}, err
	}
	if still, why := step.Still(again, rule, v.Now()); !still {
		return StepResult{step, Passed, why}, nil
	}
	ledger := v.ledger(step.Subnet)
	name := ledger.Name(step.Addr)
	switch step.Kind {
	case Remove:
		deleted, err := ledger.Delete(ctx, step.Addr, step.Record.unchanged)
		if err != nil {
			return StepResult{}, err
		}
		if !deleted {
			return StepResult{step, Passed, "its record has changed meanwhile"}, nil
		}
		v.notify(EventRemoved, step.Addr, "%s: %s", name, step.Reason)
	case Rewrite:
		if err := ledger.Overwrite(ctx, step.Addr, step.Write); err != nil {
			return StepResult{}, err
		}
		v.notify(ssmcoord.EventRepaired, step.Addr, "%s names %s now", name, step.Write.Owner())
	case Add:
		created, err := ledger.Create(ctx, step.Addr, step.Write)
		if err != nil {
			return StepResult{}, err
		}
		if !created {
			return StepResult{step, Passed, "somebody has just written its record"}, nil
		}
		v.notify(ssmcoord.EventRepaired, step.Addr, "%s names %s now", name, step.Write.Owner())
	}
	return StepResult{step, Done, ""}, nil
}

// confirm acts on a record that Do wrote if the instance in it no longer has the address, unless
// somebody has written the record since. It makes the record name the node that has the address
// now, whose own record Do may have overwritten. If there is no such node, or if overwriting is
// denied, it deletes the record. A record with another value may be a late read, so confirm reads
// it twice.
func (v *Inventory) confirm(ctx context.Context, r *StepResult) error {
	var again Sighting
	for i := 1; ; i++ {
		var err error
		again, err = v.again(ctx, r.Sighting)
		if err != nil || again.Holder.Instance == r.Write.Instance {
			return err
		}
		if again.Record.Value == r.Write.Render() {
			break
		}
		if i == 2 {
			return nil
		}
		if err := pause.Sleep(ctx, ssmcoord.ReadLag); err != nil {
			return err
		}
	}
	ledger := v.ledger(r.Subnet)
	if next, ok := r.nextRecord(again, v.Now()); ok {
		err := ledger.Overwrite(ctx, r.Addr, next)
		if denied := (*ssmcoord.OverwriteError)(nil); !errors.As(err, &denied) {
			if err == nil {
				r.Write = next
				v.notify(ssmcoord.EventRepaired, r.Addr, "%s names %s now, which got the address meanwhile", ledger.Name(r.Addr), next.Owner())
			}
			return err
		}
	}
	deleted, err := ledger.Delete(ctx, r.Addr, func(e ssmcoord.Entry) bool { return e.Record.Instance == r.Write.Instance })
	if err != nil || !deleted {
		return err
	}
	r.Outcome, r.Detail = TakenBack, fmt.Sprintf("%s has given the address away meanwhile", r.Write.Instance)
	v.notify(EventRemoved, r.Addr, "%s: %s", ledger.Name(r.Addr), r.Detail)
	return nil
}

// EventRemoved is the kind of event for a record that an operator's command deleted.
const EventRemoved ssmcoord.EventKind = "removed"

func (v *Inventory) notify(kind ssmcoord.EventKind, a netip.Addr, format string, args ...any) {
	if v.Notify != nil {
		v.Notify(ssmcoord.Event{Kind: kind, Addr: a, Detail: fmt.Sprintf(format, args...), Change: true})
	}
}
