package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// imdsBehind is how long after a run IMDS may lack an address that EC2 has assigned.
const imdsBehind = ssmcoord.DescribeLag

// staticFinding compares the state that the last run left with what EC2, IMDS and the kernel have
// now, as status does.
func (d *examination) staticFinding(ctx context.Context) Finding {
	static := d.last.Static
	switch {
	case d.stateErr != nil || !d.hasState && !d.known:
		return Finding{} // state or imds reports it
	case d.hasState && d.last.Phase == state.Released:
		return fine("static-ip", "", "this node has none: it was released")
	case !d.hasState || !static.IsValid():
		return fine("static-ip", "", "this node has none yet")
	case d.last.Phase == state.Withdrawn:
		return failed(exit.Withdrawn, "static-ip", "", "find out who moved it; emr-static-ip gives the node another one", "EC2 no longer assigns %s to this node: it was withdrawn", static)
	case d.last.Phase != state.Programmed:
		return warning("static-ip", "", "run emr-static-ip again: it continues", "the last run did not finish (%s)", d.last.Phase)
	case len(d.last.Intents) > 0:
		return warning("static-ip", "", "run emr-static-ip again: it continues", "a run did not finish, and may have claimed %v", d.last.Intents)
	case d.last.Doubts(static):
		return warning("static-ip", "", "run emr-static-ip again: it continues", "no run has finished with %s", static)
	case !d.known:
		return unknown("static-ip", "", "", "%s: EC2 cannot be asked whether it is still assigned to this node", static)
	}
	given, f := d.given(ctx, static)
	if f.Check != "" {
		return f
	}
	if !d.kernelOK {
		return unknown("static-ip", "", "", "%s; the kernel cannot be read, so whether it is programmed is unknown", given)
	}
	o, err := d.session.Kernel.Observe(ctx, d.facts.ID.MAC)
	if err != nil {
		return of(node.KernelError(err), "static-ip", "")
	}
	var troubles []string
	for _, item := range agent.KernelItems(o, d.wanted(static, d.last.Former), true) {
		if trouble := item.Trouble(); trouble != "" {
			troubles = append(troubles, trouble)
		}
	}
	if len(troubles) > 0 {
		return failed(exit.Drifted, "static-ip", "", "emr-static-ip restore puts it back; emr-static-ip status shows all of it", "%s is not programmed as it should be: %s", static, strings.Join(troubles, "; "))
	}
	return fine("static-ip", "", "%s and its rules are programmed on %s; %s", static, o.Link.Name, given)
}

// tracking reports rules of others that keep the translated traffic from connection tracking, and
// routes that lead past the rules.
func (d *examination) tracking(ctx context.Context) (findings []Finding) {
	if !d.hasState || d.last.Phase != state.Programmed || !d.known || !d.kernelOK {
		return nil
	}
	o, err := d.session.Kernel.Observe(ctx, d.facts.ID.MAC)
	if err != nil {
		return nil // static-ip reports it
	}
	items, notes := agent.UntrackedItems(ctx, d.session.Kernel, d.wanted(d.last.Static, nil), o.Link.Name)
	for _, i := range items {
		if i.Trouble() == "" {
			findings = append(findings, unknown("tracking", "", "", "rules that keep traffic from connection tracking: %s", i.Detail))
			continue
		}
		findings = append(findings, failed(exit.Drifted, "tracking", "",
			"remove that rule, or let it spare what is to have the static IP: only connections that the kernel tracks are translated", "%s", i.Detail))
	}
	for _, note := range notes {
		findings = append(findings, fine("tracking", "", "%s", note))
	}
	items, notes = agent.WayOutItems(ctx, d.session.Kernel, d.wanted(d.last.Static, nil), o.Link.Name)
	for _, i := range items {
		findings = append(findings, failed(exit.Drifted, "routes", "", agent.WayOutRemedy, "%s", i.Detail))
	}
	for _, note := range notes {
		findings = append(findings, fine("routes", "", "%s", note))
	}
	return findings
}

// given returns in words who says that the static IP is this node's. If it is not, given returns a
// finding. EC2 decides: IMDS may list an address for a while after EC2 has taken it away, and may
// not list a new one yet.
func (d *examination) given(ctx context.Context, static netip.Addr) (string, Finding) {
	listed := slices.Contains(d.facts.ID.Addresses, static)
	shown, err := false, error(nil)
	switch why := d.unasked("ec2"); {
	case why != "":
		err = errors.New(why)
	case d.seen.shows(static):
		shown = true
	default: // describe calls may be late
		bounded, cancel := context.WithTimeout(ctx, doctorLook+doctorCall)
		defer cancel()
		if shown, err = d.session.EC2.Shows(bounded, static, true, doctorLook); err != nil {
			err = d.explain(ctx, err)
		}
	}
	const restores = "restore withdraws an address that IMDS does not list in several checks; emr-static-ip attaches it again, or another one where it is in use"
	switch {
	case err == nil && shown && listed:
		return "EC2 and IMDS give it to this node", Finding{}
	case err != nil && listed:
		return fmt.Sprintf("IMDS lists it, EC2 cannot be asked (%v)", err), Finding{}
	case err != nil:
		return "", failed(exit.Drifted, "static-ip", "", restores, "IMDS does not list %s on this node's interface, and EC2 cannot be asked: %v", static, err)
	case shown && time.Since(d.last.Written) < imdsBehind:
		return "EC2 gives it to this node, IMDS does not list it yet", Finding{}
	case shown:
		return "", failed(exit.Drifted, "static-ip", "", "run doctor again in a minute: IMDS follows EC2 within about 30 s. While it does not, restore withdraws the address",
			"EC2 gives %s to this node, but IMDS does not list it", static)
	}
	where := "EC2 has it on no network interface"
	err = d.call(ctx, func(ctx context.Context) error {
		holders, err := d.session.EC2.Holders(ctx, []netip.Addr{static})
		if h := holders[static]; h.ENI != "" {
			where = "it is in use by " + h.String()
		}
		return err
	})
	if err != nil {
		where = fmt.Sprintf("its holder cannot be read: %v", err)
	}
	if uses, err := d.programmed(ctx, static); err == nil && uses {
		where += "; here it is still programmed, until restore takes it out"
	}
	return "", failed(exit.Withdrawn, "static-ip", "", "find out who moved it (CloudTrail: AssignPrivateIpAddresses, UnassignPrivateIpAddresses); run emr-static-ip to get an address of the list again",
		"EC2 no longer assigns %s to this node: %s", static, where)
}

// shows reports whether the look for the plan showed the address in use on the node's interface.
func (v views) shows(static netip.Addr) bool {
	return v.planned && v.Err == nil && v.last == static && !v.Plan.Doubt
}

// programmed reports whether the interface has the address.
func (d *examination) programmed(ctx context.Context, static netip.Addr) (bool, error) {
	if !d.kernelOK {
		return false, errors.New("the kernel cannot be read")
	}
	o, err := d.session.Kernel.Observe(ctx, d.facts.ID.MAC)
	return err == nil && len(o.Link.Find(static)) > 0, err
}

// doctorLook is how long doctor waits for EC2 to show the static IP.
const doctorLook = 10 * time.Second
