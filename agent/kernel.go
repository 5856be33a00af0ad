package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// kernel is the part of a run that looks at its node's kernel and changes it.
type kernel struct {
	cfg     *Config
	env     Environment
	facts   *node.Facts
	session *node.Session
	report  *reporter
}

// open reaches the node's kernel.
func (k *kernel) open(ctx context.Context) error {
	if err := k.session.OpenKernel(ctx, k.env, k.cfg.Backend, cmp.Or(k.cfg.LockWait, DefaultLockWait)); err != nil {
		return err
	}
	k.report.kernel(k.session.Kernel.Backend(), k.facts.Link)
	return nil
}

// wanted returns the kernel's wanted state.
func (k *kernel) wanted(static netip.Addr, former []netip.Addr) netcfg.Config {
	return k.facts.Wanted(k.cfg.Settings(), static, former)
}

// program puts a static IP into use, and ends the use of former ones. seen is what the caller has
// just observed of the kernel, if it has.
func (k *kernel) program(ctx context.Context, static netip.Addr, former []netip.Addr, onChange func(netcfg.Change), seen ...netcfg.Observed) error {
	res, err := netcfg.Ensure(ctx, k.session.Kernel, k.wanted(static, former), onChange, seen...)
	k.facts.Link = res.Link
	k.report.programmed(res)
	return node.KernelError(err)
}

// unprogram takes addresses, and all rules, out of the kernel.
func (k *kernel) unprogram(ctx context.Context, addrs []netip.Addr) error {
	res, err := netcfg.Remove(ctx, k.session.Kernel, k.facts.ID.MAC, addrs, k.report.changed)
	k.facts.Link = res.Link
	k.report.kernel(res.Backend, res.Link)
	for _, note := range res.Notes {
		k.report.note(note)
	}
	return node.KernelError(err)
}

// withdraw is unprogram for a release, which a lock file that cannot be opened does not stop.
func (k *kernel) withdraw(ctx context.Context, addrs []netip.Addr) error {
	err := k.unprogram(ctx, addrs)
	if errors.Is(err, netcfg.ErrLockFile) {
		// The lock cannot be opened, so the rules stay. They do no harm: EC2 drops packets with an
		// address that the node does not have.
		k.report.warn(withRemedies(err) + "; rules of this program may be left in the kernel")
		return nil
	}
	return err
}

// observe looks at the kernel, which it opens if the run has not yet.
func (k *kernel) observe(ctx context.Context) (netcfg.Observed, error) {
	if k.session.Kernel == nil {
		if err := k.open(ctx); err != nil {
			return netcfg.Observed{}, err
		}
	}
	o, err := k.session.Kernel.Observe(ctx, k.facts.ID.MAC)
	return o, node.KernelError(err)
}

// statics returns the static IPs that the rules in the kernel name. It returns none to a plan that
// may not look at the kernel, and has said so.
func (k *kernel) statics(ctx context.Context) ([]netip.Addr, error) {
	if unprivileged(k.env) {
		return nil, nil
	}
	o, err := k.observe(ctx)
	if errors.Is(err, netcfg.ErrNoLink) {
		return nil, nil // others report that
	} else if err != nil {
		return nil, err
	}
	return ProgrammedStatics(o, k.facts.ID.PrimaryIP), nil
}

// carries says what the kernel has of this program. It returns "" if there is nothing, or if that
// cannot be found out.
func (k *kernel) carries(ctx context.Context) string {
	o, err := k.observe(ctx)
	if err != nil {
		return ""
	}
	sets := ruleSets(o)
	i := slices.IndexFunc(sets, func(s netcfg.RuleSet) bool { return !s.Empty() })
	if i < 0 {
		return ""
	}
	static, ok := sets[i].Static()
	switch {
	case !ok:
		return "rules of emr-static-ip"
	case len(o.Link.Find(static)) > 0:
		return fmt.Sprintf("the static IP %s and its rules", static)
	}
	return fmt.Sprintf("rules for the static IP %s", static)
}

// linkWait limits how long awaitLink waits.
const linkWait = 20 * time.Second

// awaitLink waits a moment for the primary interface and its address, which may be late at boot.
// Later steps report what is missing. It returns the last look at the kernel, if there was one.
func (k *kernel) awaitLink(ctx context.Context, former []netip.Addr) (seen []netcfg.Observed, err error) {
	began := time.Now()
	interval := func() time.Duration { return time.Second }
	done, err := pause.Poll(ctx, interval, func() (bool, error) {
		o, err := k.session.Kernel.Observe(ctx, k.facts.ID.MAC, former...)
		switch {
		case err != nil && !errors.Is(err, netcfg.ErrNoLink):
			return true, node.KernelError(err)
		case err == nil:
			seen = []netcfg.Observed{o}
		}
		return len(seen) > 0 && len(o.Link.Find(k.facts.ID.PrimaryIP)) > 0 || time.Since(began) >= linkWait, nil
	})
	if !done {
		return nil, fmt.Errorf("waiting for %s on the interface %s: %w", k.facts.ID.PrimaryIP, k.facts.ID.MAC, err)
	}
	return seen, err
}

// plan reports the changes to the kernel, and between them the steps of the claim protocol, in the
// order in which Apply makes them. gone are addresses that are taken out before.
func (k *kernel) plan(ctx context.Context, gone []netip.Addr, static netip.Addr, steps []string, former []netip.Addr) error {
	blind := unprivileged(k.env)
	var o netcfg.Observed
	if !blind {
		var err error
		if o, err = k.session.Kernel.Observe(ctx, k.facts.ID.MAC); err != nil {
			return node.KernelError(err)
		}
		k.report.kernel(k.session.Kernel.Backend(), o.Link.Name)
		for _, note := range o.Notes {
			k.report.note(note)
		}
		if len(gone) > 0 {
			changes, _, err := netcfg.PlanRemoval(gone, o)
			if err != nil {
				return node.KernelError(err)
			}
			for _, c := range changes {
				k.report.would(stepKernel, c.String())
			}
			o = o.Without(gone)
		}
	}
	for _, step := range steps {
		k.report.would(stepClaim, step)
	}
	if blind {
		return nil
	}
	changes, unchanged, err := netcfg.Plan(k.wanted(static, former), o)
	if err != nil {
		return node.KernelError(err)
	}
	for _, c := range changes {
		k.report.would(stepKernel, c.String())
	}
	k.report.unchanged(unchanged)
	return nil
}
