// Package agent runs on a node: it gives the node its static IP, keeps it there, and gives it back.
// Apply, Restore and Release change the node; Plan and Inspect only look.
//
// The protocol with EC2 and Parameter Store is in package ssmcoord, the kernel's rules are in
// package netcfg. README.md describes a node's life.
package agent

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// run is one run on one node. It holds four things, each with one owner: the facts about the node,
// the session with AWS and the kernel, the memory (the state file), and the report.
type run struct {
	cfg   Config
	env   Environment
	dir   string // the state directory
	began time.Time

	facts   node.Facts
	session node.Session
	memory  *state.Memory
	report  *reporter

	unnamed  Unnamed            // addresses of this node that the state file does not name
	list     string             // listDigest of the addresses that the operator named for this run
	beside   beside             // calls beside the run's own
	installs *systemd.Installer // once installer was called
	gives    bool               // the run gives the address back
	lost     netip.Addr         // which EC2 did not give to this node any more
	naming   *answer[string]    // the Name tag's call, which goes on beside the run's own
	joined   bool               // joinName has waited for it
	named    bool               // no later run needs to look after the Name tag
}

func newRun(cfg Config, env Environment) *run {
	dir := env.Path(cfg.StateDir)
	return &run{
		cfg: cfg, env: env, dir: dir, began: time.Now(), list: listDigest(cfg.Pools),
		memory: state.NewMemory(env.Root, dir, Version(), env.SaveState), report: &reporter{log: env.Logger()},
	}
}

// conduct surrounds a run: its time limit, and the explanation of what failed.
func conduct(ctx context.Context, cfg Config, env Environment, work func(*run, context.Context) error) (Report, error) {
	r := newRun(cfg, env)
	ctx, cancel := cfg.Bound(ctx)
	defer cancel()
	err := work(r, ctx)
	r.beside.end()
	if err != nil {
		err = r.explain(ctx, err)
	}
	return r.report.end(r.began, r.session.AWS), err
}

// locked does the work of a run that changes something, with the node's lock.
func (r *run) locked(ctx context.Context, work func(context.Context) error) error {
	unlock, err := state.LockWith(ctx, r.dir, host.NewProgress(r.report.log, time.Now()))
	if err != nil {
		return StateDirError(r.dir, err)
	}
	defer unlock()
	defer func() { r.report.left(r.memory) }()
	log, stop := watch(ctx, r.report.log)
	defer stop()
	r.report.log, r.env.Log = log, log
	return work(ctx)
}

// identify reads who this node is and what its last run left. It changes nothing. A state file that
// cannot be read is an error, unless blind is set.
func (r *run) identify(ctx context.Context, blind bool) (err error) {
	if r.facts.ID, err = ec2.OpenIMDS(r.env).Identity(ctx, r.env, cmp.Or(r.cfg.IMDSTimeout, DefaultIMDSTimeout)); err != nil {
		return err
	}
	r.report.identity(r.facts)
	switch err := r.memory.Load(r.facts.ID.InstanceID); {
	case err == nil, blind:
	case errors.Is(err, state.ErrForeign):
		r.report.note(err.Error() + "; it is not used")
	case state.Damaged(err) && r.doesWithoutState():
		r.report.warn(err.Error() + ": it is ignored, and renamed when a new state file is written")
	default:
		return StateError(r.dir, err)
	}
	if r.memory.Known() {
		r.repeat(r.memory.State())
	}
	r.cfg = r.cfg.WithScope(r.facts.ID)
	r.facts.ReadFiles(r.env.Root, r.memory.State())
	for _, p := range r.facts.Files.Problems() {
		r.report.warn(p.Error())
	}
	r.report.identity(r.facts)
	return nil
}

// repeat takes those facts from the last run that this one does not look up again.
func (r *run) repeat(last state.State) {
	r.cfg = r.cfg.Repeating(last.Settings)
	r.facts.Gateways, r.facts.GatewaysAt = last.Gateways, last.GatewaysAt
}

// connect gets the node's credentials for AWS.
func (r *run) connect(ctx context.Context) error {
	for _, name := range r.env.BrokenProxies() {
		r.report.warn(host.BrokenProxyText(name) + "; " + host.ProxyRemedy)
	}
	if err := r.session.Connect(ctx, r.env, r.facts, cmp.Or(r.cfg.IMDSTimeout, DefaultIMDSTimeout)); err != nil {
		return err
	}
	for _, other := range r.session.AWS.Elsewhere {
		r.report.warn(other)
	}
	return nil
}

// openKernel reaches the node's kernel.
func (r *run) openKernel(ctx context.Context) error {
	if err := r.session.OpenKernel(ctx, r.env, r.cfg.Backend, cmp.Or(r.cfg.LockWait, DefaultLockWait)); err != nil {
		return err
	}
	r.report.kernel(r.session.Kernel.Backend(), r.facts.Link)
	return nil
}

// explain gives an error its exit code and remedy.
func (r *run) explain(ctx context.Context, err error) error {
	return r.session.Explain(ctx, err, r.facts.Place(r.cfg.Prefix))
}

// claimant returns what this node's coordinator is made of.
func (r *run) claimant() *Claimant {
	c := &Claimant{
		Config: r.cfg, Facts: r.facts, EC2: r.session.EC2,
		File: r.memory.State(), Known: r.memory.Known(), Unnamed: r.unnamed,
	}
	if r.session.AWS != nil {
		c.AWS = r.session.AWS.Config
	}
	return c
}

// past returns what earlier runs have left, as this one may use it.
func (r *run) past() state.State { return r.claimant().State() }

// save writes the state file: what the run has found, the phase, and what edit changes of the rest.
func (r *run) save(phase state.Phase, edit func(*state.State)) error {
	s := r.past()
	s.Phase = phase
	s.InstanceID, s.SubnetID, s.ENI, s.MAC = r.facts.ID.InstanceID, r.facts.ID.SubnetID, r.facts.ID.ENI, r.facts.ID.MAC.String()
	s.ClusterID, s.Role, s.Primary, s.VPC = r.facts.Cluster, r.facts.Role.Role, r.facts.ID.PrimaryIP, node.Sorted(r.facts.ID.VPC)
	s.Gateways, s.GatewaysAt = r.facts.Gateways, r.facts.GatewaysAt
	s.Backend, s.Settings = r.session.Kernel.Backend(), r.cfg.Settings()
	if r.facts.Link != "" {
		s.Link = r.facts.Link
	}
	edit(&s)
	return r.store(s)
}

// store makes s the state file.
func (r *run) store(s state.State) error {
	if err := r.memory.Save(s); err != nil {
		return StateDirError(r.dir, err)
	}
	return nil
}

// coordinator returns this node's side of the claim protocol. last is what earlier runs have left.
func (r *run) coordinator(last state.State) *ssmcoord.Coordinator {
	o := r.claimant().Options(last)
	o.Rand, o.Notify, o.Intend, o.Lost = r.env.Random(), r.report.event, r.intend, r.lostStatic
	return ssmcoord.New(o)
}

// intend stores the addresses that EC2 may have assigned to this node, or is about to be asked for.
//
// One that the node did not have in use, and that EC2 is asked for, is unproven from then on.
func (r *run) intend(_ context.Context, intents []netip.Addr, asked netip.Addr) error {
	phase, last := state.Claiming, r.past()
	if last.Static.IsValid() && (last.Phase == state.Attached || last.Phase == state.Programmed) {
		phase = last.Phase // that address is in use, whatever becomes of the others
	}
	return r.save(phase, func(s *state.State) {
		s.Intents = intents
		if asked.IsValid() && asked != last.Resumed().Static {
			s.Unproven = union(s.Unproven, []netip.Addr{asked})
		}
	})
}

// program puts a static IP into use in the kernel, and ends the use of former ones.
func (r *run) program(ctx context.Context, static netip.Addr, former []netip.Addr, onChange func(netcfg.Change)) error {
	res, err := netcfg.Ensure(ctx, r.session.Kernel, r.wanted(static, former), onChange)
	r.facts.Link = res.Link
	r.report.programmed(res)
	return node.KernelError(err)
}

// unprogram takes addresses, and all rules, out of the kernel.
func (r *run) unprogram(ctx context.Context, addrs []netip.Addr) error {
	res, err := netcfg.Remove(ctx, r.session.Kernel, r.facts.ID.MAC, addrs, r.report.changed)
	r.facts.Link = res.Link
	r.report.kernel(res.Backend, res.Link)
	for _, note := range res.Notes {
		r.report.note(note)
	}
	return node.KernelError(err)
}

// wanted returns the kernel's wanted state.
func (r *run) wanted(static netip.Addr, former []netip.Addr) netcfg.Config {
	return r.facts.Wanted(r.cfg.Settings(), static, former)
}

// former lists the addresses that the node must not keep beside static.
func (r *run) former(touched []netip.Addr, static netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(touched), func(a netip.Addr) bool { return a == static || a == r.facts.ID.PrimaryIP })
}

// union lists each address of a and b once, in their order.
func union(a, b []netip.Addr) []netip.Addr {
	list := slices.Clone(a)
	for _, x := range b {
		if !slices.Contains(list, x) {
			list = append(list, x)
		}
	}
	return list
}

// without returns list without a.
func without(list []netip.Addr, a netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(list), func(b netip.Addr) bool { return a == b })
}

// logIdentity logs who the node is, once its role is known.
func (r *run) logIdentity() {
	r.report.log.Info("identified the node "+r.facts.ID.InstanceID, zap.String("step", stepIdentify), zap.String("role", string(r.facts.Role.Role)), zap.String("by", r.facts.Role.Source),
		zap.String("cluster", r.facts.Cluster), zap.String("subnet", r.facts.ID.SubnetID), zap.Stringer("primary", r.facts.ID.PrimaryIP))
}
