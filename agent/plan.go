package agent

import (
	"context"
	"fmt"
	"net/netip"
)

// Plan reports what Apply would change, in the words of ip, iptables and nft for the kernel, and
// changes nothing. It reads from EC2, Parameter Store, IMDS, the kernel and the node's files, takes
// no lock, and writes nothing. The report's Changes are those to be made. Without root it says what
// it cannot look at.
//
// Other nodes go on meanwhile, so Apply may get another address.
func Plan(ctx context.Context, cfg Config, env Environment) (Report, error) {
	return conduct(ctx, cfg, env, (*run).plan)
}

func (r *run) plan(ctx context.Context) error {
	r.report.dryRun()
	if err := r.identify(ctx, unprivileged(r.env)); err != nil {
		return err
	}
	if err := r.connect(ctx); err != nil {
		return err
	}
	if alone, err := r.check(ctx, false); err != nil || alone {
		return err
	}
	if err := r.recallAddresses(ctx); err != nil {
		return err
	}
	last := r.memory.past().Resumed()
	gone := r.memory.unnamed.Gone
	for _, a := range gone {
		r.report.warn(lostText(a)+", and the kernel has its rules", addressField(a))
	}
	if r.memory.State().GivenBack() {
		gone = last.Touched()
	}
	r.joinGateways(ctx, askGateways(ctx, &r.beside, r.session.EC2, r.cfg.Settings(), r.facts.GatewaysAt))
	c := r.coordinator(last)
	p, err := c.Plan(ctx)
	if err != nil {
		return err
	}
	r.report.static(p.Addr)
	for _, note := range p.Notes {
		r.report.note(note)
	}
	if p.Doubt {
		r.report.warn(DoubtText(last.Static))
		if p.Addr != last.Static {
			gone = union(gone, []netip.Addr{last.Static})
		}
	}
	if p.Kept || p.Addr == last.Static {
		r.report.unchanged(1)
	}
	claim, settle := c.Ledger.Steps(p.Claim, r.facts.ID.ENI), c.Ledger.Steps(p.Settle, r.facts.ID.ENI)
	if err := r.kernel.plan(ctx, gone, p.Addr, claim, formerOf(last.Touched(), p.Addr, r.facts.ID.PrimaryIP)); err != nil {
		return err
	}
	for _, step := range settle {
		r.report.would(stepClaim, step)
	}
	if len(settle) == 0 {
		r.report.unchanged(1)
	}
	for _, t := range r.cfg.Verify {
		r.report.note(fmt.Sprintf("a run then connects to %s with %s", t, p.Addr))
	}
	if err := r.installed.plan(ctx); err != nil {
		return err
	}
	return r.newNaming().plan(ctx)
}
