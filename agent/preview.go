package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

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
	gone, err := r.gone(ctx)
	if err != nil {
		return err
	}
	if len(gone) > 0 {
		r.state.Phase = PhaseWithdrawn
	}
	if r.givenBack() {
		gone = union(gone, r.touched())
	}
	r.surrender()
	c := r.coordinator()
	c.Intend = func(context.Context, []netip.Addr) error {
		return errors.New("a preview is about to write: this is a mistake in this program")
	}
	p, err := c.Propose(ctx)
	if err != nil {
		return err
	}
	r.rep.Static = p.Addr
	r.rep.Notes = append(r.rep.Notes, p.Notes...)
	if p.Kept {
		r.rep.Unchanged++
	}
	would := func(text string) { r.rep.Changes = append(r.rep.Changes, text) }
	if err := r.previewKernel(ctx, gone, p.Addr, p.Steps, r.former(r.touched(), p.Addr)); err != nil {
		return err
	}
	if r.cfg.NameTag {
		name, err := r.ec2.newName(ctx)
		if err != nil {
			return err
		}
		if name != "" {
			would("name the instance " + quoted(name))
		} else {
			r.rep.Unchanged++
		}
	}
	for _, step := range p.Settle {
		would(step)
	}
	if len(p.Settle) == 0 {
		r.rep.Unchanged++
	}
	for _, t := range r.cfg.Verify {
		r.rep.Notes = append(r.rep.Notes, fmt.Sprintf("a run then connects to %s with %s", t, p.Addr))
	}
	return r.previewInstalled(ctx)
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
		add(unitProgram, same, exists(r.env.Path(unitProgram)), "install "+unitProgram)
	}
	if withUnits {
		enabled := true
		for _, u := range units(r.cfg) {
			p := filepath.Join(unitDir, u.name)
			text, err := os.ReadFile(r.env.Path(p))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, err
			}
			add(p, err == nil && string(text) == u.text, err == nil, "install "+p)
			enabled = enabled && exists(r.env.Path(filepath.Join(unitDir, u.link)))
		}
		add(unitService+" and "+unitTimer+" enabled", enabled, false, "enable "+unitService+" and "+unitTimer)
		active := systemctl(ctx, r.env, "is-active", "--quiet", unitTimer) == nil
		add(unitTimer+" active", active, false, "start "+unitTimer)
	}
	found := exists(r.env.Path(shutdownAction))
	switch {
	case r.wantsShutdownAction():
		same, err := r.shutdownActionInPlace()
		if err != nil {
			return nil, fmt.Errorf("looking at the EMR shutdown action: %w", err)
		}
		add(shutdownAction, same, found, "install "+shutdownAction)
	case r.cfg.NoShutdownAction && found:
		items = append(items, Item{What: shutdownAction, State: itemForeign, remedy: "remove " + shutdownAction})
	}
	return items, nil
}

// gone are the addresses that the last run programmed and that EC2 does not show on this node any more. IMDS is not asked: it goes on listing an
// address for up to half a minute. EC2's describe calls may for a moment be older than the attachment, so that it is looked at for a while.
func (r *run) gone(ctx context.Context) ([]netip.Addr, error) {
	last := r.state.Static
	if !r.hasState || !last.IsValid() {
		return nil, nil
	}
	if shown, err := r.ec2.shows(ctx, last, true); err != nil || shown {
		return nil, err
	}
	r.rep.Warnings = append(r.rep.Warnings, fmt.Sprintf("EC2 does not give %s to this node any more", last))
	return []netip.Addr{last}, nil
}
