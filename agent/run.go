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
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// run is one run on one node. It conducts what the commands do, step by step. It holds four things,
// each with one owner: the facts about the node, the session with AWS and the kernel, the memory
// (the state file), and the report. Each part of a run has those of them that it works with.
type run struct {
	cfg   Config
	env   Environment
	dir   string // the state directory
	began time.Time

	facts   node.Facts
	session node.Session
	memory  *memory
	report  *reporter

	kernel    *kernel
	handover  *handover
	installed *installed
	failures  *failures
	beside    beside // calls beside the run's own

	named bool // the operator named addresses for this run
	gives bool // the run gives the address back
}

func newRun(cfg Config, env Environment) *run {
	dir := env.Path(cfg.StateDir)
	r := &run{cfg: cfg, env: env, dir: dir, began: time.Now(), named: !cfg.Pools.Empty(), report: &reporter{log: env.Logger()}}
	r.facts.Plain = cfg.Pools.Plain()
	r.memory = &memory{Memory: state.NewMemory(env.Root, dir, Version(), env.SaveState), dir: dir, cfg: &r.cfg, facts: &r.facts, session: &r.session}
	r.kernel = &kernel{cfg: &r.cfg, env: env, facts: &r.facts, session: &r.session, report: r.report}
	r.handover = &handover{memory: r.memory, kernel: r.kernel, session: &r.session, report: r.report, explain: r.explain}
	r.installed = newInstalled(&r.cfg, env, r.report)
	r.failures = &failures{
		cfg: &r.cfg, env: env, dir: dir, list: listDigest(cfg.Pools), facts: &r.facts, session: &r.session, memory: r.memory,
		installed: r.installed, report: r.report, connect: r.connect, explain: r.explain,
	}
	return r
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
	defer func() { r.report.left(r.memory.Memory) }()
	log, stop := watch(ctx, r.report.log)
	defer stop()
	r.report.log, r.env.Log = log, log
	return work(ctx)
}

// identify reads who this node is and what its last run left. It changes nothing. A state file that
// cannot be read is an error, unless blind is set.
func (r *run) identify(ctx context.Context, blind bool) (err error) {
	if r.facts.ID, err = r.session.OpenIMDS(r.env).Identity(ctx, r.env, cmp.Or(r.cfg.IMDSTimeout, DefaultIMDSTimeout)); err != nil {
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
	r.facts.Plain = r.cfg.Pools.Plain()
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
	r.facts.Plain = r.cfg.Pools.Plain()
	r.facts.Gateways, r.facts.GatewaysAt = last.Gateways, last.GatewaysAt
}

// keepPrefix makes a command that works on what the last run left use the ledger that has this
// node's record. It returns a note if --prefix names another one, and else "".
func (r *run) keepPrefix() (note string) {
	prefix := r.memory.claimant().formerPrefix()
	if prefix == "" {
		return ""
	}
	r.cfg.Prefix = prefix
	return "the record of this node is below the prefix " + text.Quote(prefix) + ": --prefix is ignored"
}

// backendOfLast returns the last run's --nat-backend if this command was given another one, or "".
func (r *run) backendOfLast() string {
	last := cmp.Or(r.memory.State().Settings.Backend, DefaultBackend)
	if !r.cfg.Given.Backend || r.cfg.Backend == last {
		return ""
	}
	return last
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

// explain gives an error its exit code and remedy.
func (r *run) explain(ctx context.Context, err error) error {
	return r.session.Explain(ctx, err, r.facts.Place(r.cfg.Prefix))
}

// coordinator returns this node's side of the claim protocol. last is what earlier runs have left.
func (r *run) coordinator(last state.State) *ssmcoord.Coordinator {
	o := r.memory.claimant().Options(last)
	o.Rand, o.Notify, o.Intend, o.Lost = r.env.Random(), r.report.event, r.memory.intend, r.handover.lostStatic
	return ssmcoord.New(o)
}

// newNaming returns what looks after the Name tag.
func (r *run) newNaming() *naming {
	return &naming{ec2: r.session.EC2, wanted: r.cfg.names(), before: r.memory.State().Named, report: r.report, explain: r.explain}
}

// joinGateways waits for the networks of S3 and DynamoDB.
func (r *run) joinGateways(ctx context.Context, asked *answer[[]netip.Prefix]) {
	joinGateways(ctx, asked, &r.facts, r.report, r.explain)
}

// recallAddresses finds the addresses of this node that the state file does not name.
func (r *run) recallAddresses(ctx context.Context) error {
	statics, err := r.kernel.statics(ctx)
	if err != nil {
		return err
	}
	return r.memory.findUnnamed(ctx, statics)
}

// logIdentity logs who the node is, once its role is known.
func (r *run) logIdentity() {
	fields := []zap.Field{zap.String("step", stepIdentify)}
	if role := r.facts.Role; role.Role != emr.None {
		fields = append(fields, zap.String("role", string(role.Role)), zap.String("by", role.Source), zap.String("cluster", r.facts.Cluster))
	}
	r.report.log.Info("identified the node "+r.facts.ID.InstanceID, append(fields, zap.String("subnet", r.facts.ID.SubnetID), zap.Stringer("primary", r.facts.ID.PrimaryIP))...)
}
