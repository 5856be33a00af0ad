package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// Plan finds out what Apply would do now, in the words of ip, iptables and nft for the kernel, and does none of it: it reads from EC2, Parameter
// Store, IMDS, the kernel and the node's files, takes no lock, and writes nothing. The report's Changes are those to be made. Without
// root it says what cannot be looked at.
//
// Other nodes go on meanwhile: the address that Apply gets may be another one.
func Plan(ctx context.Context, cfg Config, env Environment) (Report, error) {
	return conduct(ctx, cfg, env, (*run).preview)
}

func (r *run) preview(ctx context.Context) error {
	r.rep.DryRun = true
	r.unprivileged = os.Geteuid() != 0 && r.env.Root == ""
	if err := r.identify(ctx); err != nil {
		return err
	}
	if err := r.connect(ctx); err != nil {
		return err
	}
	if done, err := r.check(ctx); err != nil || done {
		return err
	}
	if err := r.remember(ctx); err != nil {
		return err
	}
	var gone []netip.Addr
	if r.givenBack() {
		gone = r.touched()
	}
	r.surrender()
	last := r.state.Static
	r.beginGateways(ctx)
	r.joinGateways(ctx)
	c := r.coordinator()
	p, err := c.Plan(ctx)
	if err != nil {
		return err
	}
	r.rep.Static = p.Addr
	r.rep.Notes = append(r.rep.Notes, p.Notes...)
	if p.Doubt && p.Addr != last {
		gone = union(gone, []netip.Addr{last})
	}
	if p.Doubt {
		r.rep.Warnings = append(r.rep.Warnings, fmt.Sprintf("EC2 does not show %s on this node: a run asks EC2 for it, and takes it out of use where another network interface has it", last))
	}
	if p.Kept || p.Addr == last {
		r.rep.Unchanged++
	}
	would := func(text string) { r.rep.Changes = append(r.rep.Changes, text) }
	if err := r.previewKernel(ctx, gone, p.Addr, c.Ledger.Steps(p.Claim, r.id.ENI), r.former(r.touched(), p.Addr)); err != nil {
		return err
	}
	for _, step := range c.Ledger.Steps(p.Settle, r.id.ENI) {
		would(step)
	}
	if len(p.Settle) == 0 {
		r.rep.Unchanged++
	}
	for _, t := range r.cfg.Verify {
		r.rep.Notes = append(r.rep.Notes, fmt.Sprintf("a run then connects to %s with %s", t, p.Addr))
	}
	if err := r.previewInstalled(ctx); err != nil {
		return err
	}
	return r.previewName(ctx)
}

// previewName adds what a run does with the Name tag.
func (r *run) previewName(ctx context.Context) error {
	if !r.cfg.NameTag {
		return nil
	}
	name := ""
	if !r.named {
		tags, err := r.ec2.Tags(ctx)
		if err != nil {
			return err
		}
		name = r.ec2.NewName(tags)
	}
	if name == "" {
		r.rep.Unchanged++
	} else {
		r.rep.Changes = append(r.rep.Changes, "name the instance "+quoted(name))
	}
	return nil
}

// previewKernel adds the changes to the kernel, with those to the account between them as Apply makes them.
func (r *run) previewKernel(ctx context.Context, gone []netip.Addr, static netip.Addr, steps []string, former []netip.Addr) error {
	would := func(text string) { r.rep.Changes = append(r.rep.Changes, text) }
	var o netcfg.Observed
	if !r.unprivileged {
		var err error
		if o, err = r.kernel.Observe(ctx, r.id.MAC); err != nil {
			return kernelError(err)
		}
		r.rep.Link = o.Link.Name
		r.rep.Notes = append(r.rep.Notes, o.Notes...)
		if len(gone) > 0 {
			changes, _, err := netcfg.PlanRemoval(gone, o)
			if err != nil {
				return kernelError(err)
			}
			for _, c := range changes {
				would(c.String())
			}
			o = o.Without(gone)
		}
	}
	for _, step := range steps {
		would(step)
	}
	if r.unprivileged {
		return nil
	}
	changes, unchanged, err := netcfg.Plan(r.wanted(static, former), o)
	if err != nil {
		return kernelError(err)
	}
	for _, c := range changes {
		would(c.String())
	}
	r.rep.Unchanged += unchanged
	return nil
}

// previewInstalled adds what installUnits and installShutdownAction would do.
func (r *run) previewInstalled(ctx context.Context) error {
	state, err := r.installedStates(ctx)
	if err != nil {
		return err
	}
	for _, item := range state {
		if item.State == itemPresent {
			r.rep.Unchanged++
		} else {
			r.rep.Changes = append(r.rep.Changes, item.remedy)
		}
	}
	return nil
}

// installedStates looks at what apply installs on the node beside address and rules: the units, whether they are enabled and active, the EMR
// shutdown action, and the program that these run. Nothing where none of it is wanted.
func (r *run) installedStates(ctx context.Context) ([]Item, error) {
	var items []Item
	add := func(what string, right bool, found bool, remedy string) {
		item := Item{What: what, State: itemPresent, remedy: remedy}
		switch {
		case !right && found:
			item.State = itemDiffers
		case !right:
			item.State = itemMissing
		}
		items = append(items, item)
	}
	withUnits := !r.cfg.NoUnits && hasSystemd(r.env)
	if withUnits || r.wantsShutdownAction() {
		self, err := r.env.ProgramFile()
		if err != nil {
			return nil, err
		}
		same, err := sameContent(self, r.env.Path(unitProgram))
		if err != nil {
			return nil, fmt.Errorf("comparing %s with this program: %w", unitProgram, err)
		}
		add(unitProgram, same, host.Exists(r.env.Path(unitProgram)), "install "+unitProgram)
	}
	if withUnits {
		enabled := true
		for _, u := range units(r.stateDirArgument()) {
			p := filepath.Join(unitDir, u.Name)
			text, err := os.ReadFile(r.env.Path(p))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, err
			}
			add(p, err == nil && string(text) == u.Text, err == nil, "install "+p)
			enabled = enabled && host.Exists(r.env.Path(filepath.Join(unitDir, u.Link)))
		}
		add(unitService+" and "+unitTimer+" enabled", enabled, false, "enable "+unitService+" and "+unitTimer)
		active := systemctl(ctx, r.env, "is-active", "--quiet", unitTimer) == nil
		add(unitTimer+" active", active, false, "start "+unitTimer)
	}
	found := host.Exists(r.env.Path(shutdownAction))
	switch {
	case r.wantsShutdownAction():
		same, err := r.installer().ShutdownActionInPlace()
		if err != nil {
			return nil, fmt.Errorf("looking at the EMR shutdown action: %w", err)
		}
		add(shutdownAction, same, found, "install "+shutdownAction)
	case r.cfg.NoShutdownAction && found:
		items = append(items, Item{What: shutdownAction, State: itemForeign, remedy: "remove " + shutdownAction})
	}
	return items, nil
}
