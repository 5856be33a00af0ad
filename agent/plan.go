package agent

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
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

// unprivileged reports whether this process may read neither the kernel nor the state file.
func unprivileged(env Environment) bool { return os.Geteuid() != 0 && env.Root == "" }

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
	if err := r.recallClaims(ctx); err != nil {
		return err
	}
	last := r.past().Resumed()
	gone := r.unnamed.Gone
	for _, a := range gone {
		r.report.warn(lostText(a)+", and the kernel has its rules", addressField(a))
	}
	if r.memory.State().GivenBack() {
		gone = last.Touched()
	}
	r.joinGateways(ctx, r.askGateways(ctx))
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
	if err := r.planKernel(ctx, gone, p.Addr, claim, r.former(last.Touched(), p.Addr)); err != nil {
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
	if err := r.planInstalled(ctx); err != nil {
		return err
	}
	return r.planName(ctx)
}

// planName adds the change of the Name tag.
func (r *run) planName(ctx context.Context) error {
	if !r.cfg.NameTag {
		return nil
	}
	name := ""
	if !r.memory.State().Named {
		tags, err := r.session.EC2.Tags(ctx)
		if err != nil {
			return err
		}
		name = r.session.EC2.NewName(tags)
	}
	if name == "" {
		r.report.unchanged(1)
	} else {
		r.report.would(stepName, "name the instance "+text.Quote(name))
	}
	return nil
}

// planKernel adds the changes to the kernel, and between them the calls to AWS, in the order in
// which Apply makes them.
func (r *run) planKernel(ctx context.Context, gone []netip.Addr, static netip.Addr, steps []string, former []netip.Addr) error {
	blind := unprivileged(r.env)
	var o netcfg.Observed
	if !blind {
		var err error
		if o, err = r.session.Kernel.Observe(ctx, r.facts.ID.MAC); err != nil {
			return node.KernelError(err)
		}
		r.report.kernel(r.session.Kernel.Backend(), o.Link.Name)
		for _, note := range o.Notes {
			r.report.note(note)
		}
		if len(gone) > 0 {
			changes, _, err := netcfg.PlanRemoval(gone, o)
			if err != nil {
				return node.KernelError(err)
			}
			for _, c := range changes {
				r.report.would(stepKernel, c.String())
			}
			o = o.Without(gone)
		}
	}
	for _, step := range steps {
		r.report.would(stepClaim, step)
	}
	if blind {
		return nil
	}
	changes, unchanged, err := netcfg.Plan(r.wanted(static, former), o)
	if err != nil {
		return node.KernelError(err)
	}
	for _, c := range changes {
		r.report.would(stepKernel, c.String())
	}
	r.report.unchanged(unchanged)
	return nil
}

// planInstalled adds the installation of units and shutdown action.
func (r *run) planInstalled(ctx context.Context) error {
	parts, err := InspectInstalled(ctx, r.cfg, r.env)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if part.State == systemd.Present {
			r.report.unchanged(1)
		} else {
			r.report.would(stepInstall, part.Remedy)
		}
	}
	return nil
}
