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
func (h *handover) setAside(ctx context.Context, err error) ([]netip.Addr, error) {
	if !ec2.IsUnreachable(err) || ctx.Err() != nil {
		return nil, nil
	}
	named, lookErr := h.kernel.statics(ctx)
	if lookErr != nil {
		return nil, lookErr
	}
	doubted := slices.DeleteFunc(slices.Clone(named), func(a netip.Addr) bool { return !h.memory.past().Doubts(a) })
	if len(doubted) == 0 {
		if len(named) > 0 {
			h.report.warn(fmt.Sprintf("the kernel has the rules of %s. If they keep the node from the endpoint: emr-static-ip release takes them out before it calls AWS; "+
				"then run again with --only-cidr or --exclude-cidr", addresses(named)))
		}
		return nil, nil
	}
	h.report.note(fmt.Sprintf("an endpoint of AWS does not answer, and the kernel has the rules of %s from a run that was interrupted: "+
		"they are taken out, and this run begins again", addresses(doubted)))
	if err := h.kernel.unprogram(ctx, doubted); err != nil {
		return nil, err
	}
	h.session.AWS.Restored()
	return doubted, nil
}

// putAsideBack puts the address that is in use by the state file into use again, after setAside and
// a run that began again and failed. An outage of AWS is not the address's fault, and where no
// timer runs, nothing else would put it back. It need not be one that setAside took out: all rules
// went with that one.
//
// It does what a restore would do, also if the run's time is over.
func (h *handover) putAsideBack(ctx context.Context) error {
	s := h.memory.State()
	if s.Phase != state.Attached && s.Phase != state.Programmed || !s.Static.IsValid() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), asideLimit)
	defer cancel()
	changed := false
	facts := h.kernel.facts
	_, err := netcfg.Ensure(ctx, h.session.Kernel, facts.Wanted(s.Settings, s.Static, formerOf(s.Former, s.Static, facts.ID.PrimaryIP)), func(c netcfg.Change) {
		changed = true
		h.report.changed(c)
	})
	if err == nil && changed {
		h.report.note(fmt.Sprintf("the rules of %s are in the kernel again: the run failed without them, too", s.Static))
	}
	return node.KernelError(err)
}

// undo takes the address a back because of err. The error that undo returns says so.
func (h *handover) undo(ctx context.Context, c *ssmcoord.Coordinator, a netip.Addr, err error) error {
	if backErr := h.takeBack(ctx, c, a, ec2.IsCutOff(err)); backErr != nil {
		return errors.Join(h.explain(ctx, err), backErr)
	}
	return errors.Join(h.explain(ctx, err), takenBackError(a))
}

// takenBackError says that a run undid what it had done with an address.
type takenBackError netip.Addr

func (e takenBackError) Error() string {
	return fmt.Sprintf("this run has undone what it did with %s", netip.Addr(e))
}
