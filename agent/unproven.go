package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// This file is about addresses with which no run has come to its end.

// setAside takes the rules of an unproven address out of the kernel if an endpoint did not answer
// because of err: the rules may be the cause, and the run that programmed them was killed before it
// could notice. True: the run begins again, and finds the endpoint as the killed one had found it.
//
// The address stays this node's, and the state file stays as it is.
func (r *run) setAside(ctx context.Context, err error) (bool, error) {
	if !ec2.IsUnreachable(err) || ctx.Err() != nil {
		return false, nil
	}
	named, lookErr := r.programmedStatic(ctx)
	if lookErr != nil {
		return false, lookErr
	}
	doubted := slices.DeleteFunc(slices.Clone(named), func(a netip.Addr) bool { return !r.past().Doubts(a) })
	if len(doubted) == 0 {
		if len(named) > 0 {
			r.report.warn(fmt.Sprintf("the kernel has the rules of %s. If they keep the node from the endpoint: emr-static-ip release takes them out before it calls AWS; "+
				"then run again with --only-cidr or --exclude-cidr", addresses(named)))
		}
		return false, nil
	}
	r.report.note(fmt.Sprintf("an endpoint of AWS does not answer, and the kernel has the rules of %s from a run that was interrupted: "+
		"they are taken out, and this run begins again", addresses(doubted)))
	if err := r.unprogram(ctx, doubted); err != nil {
		return false, err
	}
	r.session.AWS.Restored()
	return true, nil
}

// undo takes the address of the plan back because of err. The error that undo returns says so.
func (r *run) undo(ctx context.Context, c *ssmcoord.Coordinator, plan ssmcoord.Plan, err error) error {
	if backErr := r.takeBack(ctx, c, plan.Addr, ec2.IsCutOff(err)); backErr != nil {
		return errors.Join(r.explain(ctx, err), backErr)
	}
	return errors.Join(r.explain(ctx, err), fmt.Errorf("what the run had done with %s was taken back", plan.Addr))
}
