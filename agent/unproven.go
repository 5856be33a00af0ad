package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// This file is about addresses with which no run has come to its end.

// asideLimit limits how long a run that failed puts back what it had set aside.
const asideLimit = 30 * time.Second

// setAside takes the rules of unproven addresses out of the kernel if an endpoint did not answer
// because of err: the rules may be the cause, and the run that programmed them was killed before it
// could notice. If it returns addresses, the run begins again, and finds the endpoint as the killed
// one had found it.
//
// The addresses stay this node's, and the state file stays as it is. See putAsideBack.
func (r *run) setAside(ctx context.Context, err error) ([]netip.Addr, error) {
	if !ec2.IsUnreachable(err) || ctx.Err() != nil {
		return nil, nil
	}
	named, lookErr := r.programmedStatics(ctx)
	if lookErr != nil {
		return nil, lookErr
	}
	doubted := slices.DeleteFunc(slices.Clone(named), func(a netip.Addr) bool { return !r.past().Doubts(a) })
	if len(doubted) == 0 {
		if len(named) > 0 {
			r.report.warn(fmt.Sprintf("the kernel has the rules of %s. If they keep the node from the endpoint: emr-static-ip release takes them out before it calls AWS; "+
				"then run again with --only-cidr or --exclude-cidr", addresses(named)))
		}
		return nil, nil
	}
	r.report.note(fmt.Sprintf("an endpoint of AWS does not answer, and the kernel has the rules of %s from a run that was interrupted: "+
		"they are taken out, and this run begins again", addresses(doubted)))
	if err := r.unprogram(ctx, doubted); err != nil {
		return nil, err
	}
	r.session.AWS.Restored()
	return doubted, nil
}

// putAsideBack puts the address that is in use by the state file into use again, after setAside and
// a run that began again and failed. An outage of AWS is not the address's fault, and where no
// timer runs, nothing else would put it back. It need not be one that setAside took out: all rules
// went with that one.
//
// It does what a restore would do, also if the run's time is over.
func (r *run) putAsideBack(ctx context.Context) error {
	s := r.memory.State()
	if s.Phase != state.Attached && s.Phase != state.Programmed || !s.Static.IsValid() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), asideLimit)
	defer cancel()
	changed := false
	_, err := netcfg.Ensure(ctx, r.session.Kernel, r.facts.Wanted(s.Settings, s.Static, r.former(s.Former, s.Static)), func(c netcfg.Change) {
		changed = true
		r.report.changed(c)
	})
	if err == nil && changed {
		r.report.note(fmt.Sprintf("the rules of %s are in the kernel again: the run failed without them, too", s.Static))
	}
	return node.KernelError(err)
}

// cutOff makes a call by the rules. The error says that the rules cut the endpoint off, and is
// nothing else: the run can do without the answer.
func (r *run) cutOff(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, optional(ctx))
	defer cancel()
	if err := call(ctx); ec2.IsCutOff(err) {
		return err
	}
	return nil
}

// probe makes the calls to AWS that the run would make after the address is proven, when there is
// no way back. It calls EC2 if the plan gives other addresses back, and Parameter Store if the
// record is left to the timer. See cutOff for the error.
func (r *run) probe(ctx context.Context, c *ssmcoord.Coordinator, plan ssmcoord.Plan, pending bool) error {
	gives := slices.ContainsFunc(plan.Settle, func(s ssmcoord.Step) bool { return s.Op == ssmcoord.OpGiveBack })
	if gives {
		err := r.cutOff(ctx, func(ctx context.Context) error { _, err := r.session.EC2.Own(ctx); return err })
		if err != nil {
			return err
		}
	}
	if !pending {
		return nil
	}
	return r.cutOff(ctx, func(ctx context.Context) error { _, err := c.Ledger.ReadOne(ctx, plan.Addr); return err })
}

// undo takes the address of the plan back because of err. The error that undo returns says so.
func (r *run) undo(ctx context.Context, c *ssmcoord.Coordinator, plan ssmcoord.Plan, err error) error {
	if backErr := r.takeBack(ctx, c, plan.Addr, ec2.IsCutOff(err)); backErr != nil {
		return errors.Join(r.explain(ctx, err), backErr)
	}
	return errors.Join(r.explain(ctx, err), fmt.Errorf("what the run had done with %s was taken back", plan.Addr))
}
