package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/check"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// Apply gives the node its static IP: EC2 assigns an address of the role's pool, the kernel is
// programmed and verified, and the ledger gets the record. Run again, Apply finds each as it should
// be and changes nothing. Killed at any point and run again, it ends like a run that was never
// killed.
//
// Nothing is changed before every check has passed, and nothing is programmed before EC2 has given
// the address to the node's own network interface. Last it connects to the services of --verify. An
// error carries its exit code (CodeOf) and remedy; the report then says what had been done.
func Apply(ctx context.Context, cfg Config, env Environment) (Report, error) {
	return conduct(ctx, cfg, env, func(r *run, ctx context.Context) error {
		err := r.locked(ctx, r.apply)
		r.failures.tell(err)
		return err
	})
}

// apply is Apply with the lock held. A retry may have nothing to do any more.
func (r *run) apply(ctx context.Context) error {
	if err := r.identify(ctx, false); err != nil {
		return err
	}
	if r.cfg.Retrying {
		if over, err := r.failures.superseded(ctx); over || err != nil {
			return err
		}
	}
	static, err := r.giveAddress(ctx)
	if aside, why := r.handover.setAside(ctx, err); why != nil {
		return errors.Join(r.explain(ctx, err), why)
	} else if len(aside) > 0 {
		if static, err = r.giveAddress(ctx); err != nil {
			return errors.Join(r.explain(ctx, err), r.handover.putAsideBack(ctx))
		}
	}
	if err == nil && static.IsValid() {
		err = verifyServices(ctx, r.cfg.Verify, r.env, r.session.Kernel, r.kernel.wanted(static, nil), r.report)
	}
	if err != nil {
		return err
	}
	return r.failures.forget(ctx)
}

// giveAddress gets the node an address and puts it into use. It returns the zero Addr if the node
// is left as it is.
func (r *run) giveAddress(ctx context.Context) (netip.Addr, error) {
	if !r.session.Connected() {
		if err := r.connect(ctx); err != nil {
			return netip.Addr{}, err
		}
	}
	if alone, err := r.check(ctx, true); err != nil || alone {
		return netip.Addr{}, err
	}
	r.failures.supersede(ctx)
	if err := r.recallAddresses(ctx); err != nil {
		return netip.Addr{}, err
	}
	if err := r.handover.withdrawStrays(ctx); err != nil {
		return netip.Addr{}, err
	}
	if err := r.handover.finishGivenBack(ctx); err != nil {
		return netip.Addr{}, err
	}
	gateways := askGateways(ctx, &r.beside, r.session.EC2, r.cfg.Settings(), r.facts.GatewaysAt)
	last := r.memory.past().Resumed()
	c := r.coordinator(last)
	plan, err := c.Acquire(ctx)
	if err != nil {
		return netip.Addr{}, err
	}
	r.report.static(plan.Addr)
	r.handover.foundAgain(plan.Addr)
	if plan.Kept {
		r.report.unchanged(1)
	}
	r.joinGateways(ctx, gateways)
	// The coordinator forgets what is given back; the kernel may still have it.
	former := formerOf(union(last.Touched(), c.Intents()), plan.Addr, r.facts.ID.PrimaryIP)
	naming := r.newNaming()
	if err := r.use(ctx, c, plan, former, last.RecordDue, naming); err != nil {
		if naming.call != nil {
			naming.join(ctx) // the instance may be renamed, whatever else failed
		}
		return netip.Addr{}, err
	}
	if naming.ended() { // a record that was not taken left no time to wait
		naming.join(ctx)
	}
	if err := state.ForgetAbsence(r.env.Root, r.dir); err != nil {
		return netip.Addr{}, err
	}
	return plan.Addr, r.memory.save(state.Programmed, func(s *state.State) {
		s.Static, s.Former, s.Intents, s.Named = plan.Addr, nil, c.Intents(), naming.named
		s.Lost = false
	})
}

// use puts the address of the plan into use: into the kernel first, then into the ledger. Last it
// gives back what the node had before. beforeDue is when the record of the address in use so far is
// to be written.
//
// The Name tag's call is the run's only one to EC2 that has to go by the rules, so it is made after
// them.
func (r *run) use(ctx context.Context, c *ssmcoord.Coordinator, plan ssmcoord.Plan, former []netip.Addr, beforeDue time.Time, naming *naming) error {
	due := c.Due(plan)
	inUse := func(s *state.State) {
		s.Static, s.Former, s.Intents, s.RecordDue = plan.Addr, former, c.Intents(), due
		s.Before, s.BeforeDue = netip.Addr{}, time.Time{}
		if last := c.Past.Last; last.IsValid() && last != plan.Addr {
			s.Before, s.BeforeDue = last, beforeDue
		}
	}
	if err := r.memory.save(state.Attached, inUse); err != nil {
		return err
	}
	if err := r.kernel.program(ctx, plan.Addr, former, r.report.changed); err != nil {
		return err
	}
	items, notes := WayOutItems(ctx, r.session.Kernel, r.kernel.wanted(plan.Addr, nil), r.facts.Link)
	for _, i := range items {
		r.report.warn(i.Detail + "; " + WayOutRemedy)
	}
	for _, note := range notes {
		r.report.warn(note)
	}
	r.session.AWS.Rerouted()
	if err := r.memory.save(state.Programmed, inUse); err != nil {
		return err
	}
	naming.begin(ctx, &r.beside)
	recording := recording{
		c: c, plan: plan, due: due, timer: timerWrites(r.cfg, r.env), memory: r.memory, ec2: r.session.EC2, naming: naming,
		installed: r.installed, report: r.report, explain: r.explain,
		undo: func(ctx context.Context, err error) error { return r.handover.undo(ctx, c, plan.Addr, err) },
	}
	if err := recording.write(ctx); err != nil {
		return err
	}
	notes, err := c.Settle(ctx, plan)
	for _, note := range notes {
		r.report.warn(note)
	}
	return err
}

// check does everything that can be refused before anything is changed. True: the node is to be
// left as it is. forReal says that a run follows, and not only the plan of one.
func (r *run) check(ctx context.Context, forReal bool) (alone bool, err error) {
	if r.facts.Role, err = node.DetectRole(ctx, r.cfg.Pools, r.cfg.Role, r.facts.Files, r.session.EC2.Tags); err != nil {
		return false, err
	}
	role := r.facts.Role.Role
	r.session.EC2.Role = role
	r.report.role(r.facts)
	r.logIdentity()
	wrongRegion := check.Region(r.cfg.Region, r.facts.ID)
	if alone, why := check.LeftAlone(r.cfg.Pools, role); alone && wrongRegion == nil {
		r.report.leftAlone(why)
		if static := r.memory.State().Static; static.IsValid() {
			r.report.warn(fmt.Sprintf("this node keeps the static IP %s of an earlier run: emr-static-ip release gives it back", static))
		}
		return true, nil
	}
	pool := check.Placed(r.cfg.Pools, r.facts.ID).Own.For(role)
	carried := slices.ContainsFunc(r.facts.ID.Addresses, func(a netip.Addr) bool { return slices.Contains(pool, a) })
	fit, unfit := check.Pools(r.cfg.Pools, role, r.facts.ID, r.facts.Files, carried || slices.Contains(pool, r.memory.State().Static))
	for _, note := range append(fit.Notes, r.cfg.ScopeNotes(r.facts.ID)...) {
		r.report.note(note)
	}
	if last := r.memory.State().Settings; len(r.facts.ID.Public) == 0 && r.memory.Known() && DerivedPrivate(last) && !r.cfg.Given.Scope && r.cfg.Scope != last.Scope {
		r.report.note(fmt.Sprintf("the node has no public IPv4 address any more: --snat-scope is %s (derived), and was %s", r.cfg.Scope, last.Scope))
	}
	for _, warning := range append(fit.Warnings, r.cfg.ScopeWarning(r.facts.ID)) {
		if warning != "" {
			r.report.warn(warning)
		}
	}
	problems := []error{wrongRegion, r.memory.claimant().CheckPrefix(), unfit, r.cfg.CheckScope(r.facts.ID)}
	if !carried && len(r.facts.ID.Addresses) > 1 { // every instance type allows two
		limit, err := r.session.EC2.Capacity(ctx)
		if err != nil {
			return false, errors.Join(append(problems, err)...)
		}
		problems = append(problems, check.Room(r.facts.ID, limit, r.facts.ID.Addresses, pool))
	}
	if err := errors.Join(problems...); err != nil {
		return false, err
	}
	if err := r.kernel.open(ctx); err != nil {
		return false, err
	}
	if !forReal && unprivileged(r.env) {
		r.report.warn("not root: the kernel's addresses and rules and the state file cannot be read, so changes there are not shown")
		return false, nil
	}
	return false, node.KernelError(netcfg.Preflight(ctx, r.session.Kernel, r.kernel.wanted(netip.Addr{}, nil), candidates(pool, r.memory.State().Static), forReal))
}

// candidates lists the addresses that this run may program: the one that the node has, or else the
// pool.
func candidates(pool []netip.Addr, static netip.Addr) []netip.Addr {
	if slices.Contains(pool, static) {
		return []netip.Addr{static}
	}
	return pool
}
