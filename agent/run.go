package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// run is one run on one node: what it has found out so far.
type run struct {
	cfg   Config
	env   Environment
	log   *zap.Logger
	dir   string // the state directory
	began time.Time

	id       Identity
	files    EMRFiles
	cluster  string
	role     RoleDecision
	state    State // as it is on disk
	hasState bool
	aws      *awsSession
	ec2      *arbiter
	kernel   netcfg.Kernel
	ledgers  []string // prefixes of earlier runs, under which claims of this node may be left
	list     string   // listDigest of the addresses that the operator named for this run
	rep      Report

	installed    bool // ensureProgram has been here
	unprivileged bool // a preview without root: the rules cannot be looked at
}

// Apply gives the node its static IP: it claims an address of the role's pool, attaches it, programs the kernel, and verifies all
// three. Run again, it finds each as it should be and changes nothing; killed at any point and run again, it ends like a run that
// was never killed.
//
// Nothing is changed before every check has passed, and nothing is programmed before EC2 has confirmed the address on the node's own network
// interface. Last it connects to the services of --verify. An error carries its exit code (CodeOf) and remedy; the report then tells what
// had been done.
func Apply(ctx context.Context, cfg Config, env Environment) (Report, error) {
	return conduct(ctx, cfg, env, func(r *run, ctx context.Context) error {
		err := r.locked(ctx, (*run).applyOrRetry)
		r.tellOfRetries(err)
		return err
	})
}

// conduct surrounds a run: its time limit, and the explanation of what failed.
func conduct(ctx context.Context, cfg Config, env Environment, work func(*run, context.Context) error) (Report, error) {
	r := &run{cfg: cfg, env: env, log: env.Log, dir: env.Path(cfg.StateDir), began: time.Now()}
	if r.log == nil {
		r.log = zap.NewNop()
	}
	over := fmt.Errorf("the time of --timeout %s is over: %w", cfg.Timeout, context.DeadlineExceeded)
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.Timeout, over)
	defer cancel()
	err := work(r, ctx)
	if err != nil {
		err = r.explain(ctx, err)
	}
	r.rep.Duration = time.Since(r.began)
	if r.aws != nil {
		r.rep.Calls, r.rep.Throttled = r.aws.tally.snapshot()
	}
	return r.rep, err
}

// locked does the work of a run that changes something: it waits for its lock.
func (r *run) locked(ctx context.Context, work func(*run, context.Context) error) error {
	unlock, err := lockTelling(ctx, r.dir, newPatience(r.log))
	if err != nil {
		return stateDirError(r.dir, err)
	}
	defer unlock()
	return work(r, ctx)
}

// identify finds out who this node is and what its last run left, without changing anything.
func (r *run) identify(ctx context.Context) error {
	var err error
	if r.id, err = openIMDS(r.env).Identity(ctx, r.env, r.cfg.IMDSTimeout); err != nil {
		return err
	}
	r.rep.InstanceID, r.rep.SubnetID, r.rep.ENI, r.rep.Primary = r.id.InstanceID, r.id.SubnetID, r.id.ENI, r.id.PrimaryIP
	r.state, r.hasState, err = LoadState(r.dir, r.id.InstanceID)
	switch {
	case err != nil && r.unprivileged: // said by check
	case errors.Is(err, ErrStateForeign):
		r.rep.Notes = append(r.rep.Notes, err.Error()+"; it is not used")
	case err != nil:
		return stateError(r.dir, err)
	}
	r.list = listDigest(r.cfg.Pools)
	if r.hasState {
		r.cfg = r.cfg.Repeating(r.state.Settings)
		r.ledgers = formerLedgers(r.state, r.cfg.Prefix)
	}
	r.files = ReadEMRFiles(r.env.Root)
	for _, p := range r.files.Problems() {
		r.rep.Warnings = append(r.rep.Warnings, p.Error())
	}
	r.cluster, _ = r.files.ClusterID()
	if r.cluster == "" && r.hasState {
		r.cluster = r.state.ClusterID
	}
	r.rep.ClusterID = r.cluster
	return nil
}

// connect gets the node's credentials for AWS.
func (r *run) connect(ctx context.Context) error {
	for _, name := range r.env.brokenProxies() {
		r.warn(brokenProxyText(name) + "; " + proxyRemedy)
	}
	var err error
	if r.aws, err = openAWS(ctx, r.env, r.id.Region, r.cfg.IMDSTimeout); err != nil {
		return err
	}
	r.ec2 = newArbiter(r.aws.config, r.id, r.cluster, r.env)
	return nil
}

// openKernel reaches the node's kernel.
func (r *run) openKernel(ctx context.Context) (err error) {
	open := r.env.OpenKernel
	if open == nil {
		open = netcfg.Open
	}
	if r.kernel, err = open(ctx, netcfg.Options{Backend: r.cfg.Backend, LockWait: r.cfg.LockWait}); err != nil {
		return kernelError(err)
	}
	r.rep.Backend = r.kernel.Backend()
	return nil
}

func (r *run) apply(ctx context.Context) error {
	if err := r.connect(ctx); err != nil {
		return err
	}
	if done, err := r.check(ctx); err != nil || done {
		return err
	}
	r.supersede(ctx)
	if err := r.remember(ctx); err != nil {
		return err
	}
	if err := r.handOver(ctx); err != nil {
		return err
	}
	c := r.coordinator()
	// Looking for another address may take as long as --timeout allows, and no restore is at work meanwhile.
	c.Gone = func(ctx context.Context) (netip.Addr, error) {
		err := r.handOver(ctx)
		return r.state.Static, err
	}
	before := r.touched() // Acquire forgets what somebody else has; the kernel may still have it
	res, err := c.Acquire(ctx)
	if err != nil {
		return err
	}
	r.rep.Static = res.Addr
	if res.Kept {
		r.rep.Unchanged++
	}
	former := r.former(union(before, c.Intents), res.Addr)
	if err := r.save(PhaseAttached, res.Addr, former, c.Intents); err != nil {
		return err
	}
	if err := r.program(ctx, res.Addr, former); err != nil {
		return err
	}
	if err := r.save(PhaseProgrammed, res.Addr, former, c.Intents); err != nil {
		return err
	}
	if r.cfg.NameTag {
		r.name(ctx)
	}
	changes := len(r.rep.Changes)
	notes, err := c.Settle(ctx, res)
	r.rep.Warnings = append(r.rep.Warnings, notes...)
	if err != nil {
		return err
	}
	if len(r.rep.Changes) == changes {
		r.rep.Unchanged++ // the record
	}
	if err := r.leaveLedgers(ctx); err != nil {
		return err
	}
	if err := forgetAbsence(r.dir); err != nil {
		return err
	}
	r.install(ctx)
	rest := slices.DeleteFunc(slices.Clone(c.Intents), func(a netip.Addr) bool { return a == res.Addr })
	return r.save(PhaseProgrammed, res.Addr, nil, rest)
}

// check does everything that can be refused before anything is changed. True: the node is to be left as it is.
func (r *run) check(ctx context.Context) (bool, error) {
	var err error
	if r.role, err = DetectRole(ctx, r.cfg.Role, r.files, r.ec2.Tags); err != nil {
		return false, err
	}
	r.ec2.role = r.role.Role
	r.rep.Role, r.rep.RoleSource = r.role.Role, r.role.Source
	r.rep.Warnings = append(r.rep.Warnings, r.role.Warnings...)
	r.log.Info("identified the node", zap.String("instance", r.id.InstanceID), zap.String("role", string(r.role.Role)), zap.String("by", r.role.Source),
		zap.String("cluster", r.cluster), zap.String("subnet", r.id.SubnetID), zap.Stringer("primary", r.id.PrimaryIP))
	wrongRegion := CheckRegion(r.cfg.Region, r.id)
	if alone, why := LeftAlone(r.cfg.Pools, r.role.Role); alone && wrongRegion == nil {
		r.rep.LeftAlone = why
		if r.state.Static.IsValid() {
			r.rep.Warnings = append(r.rep.Warnings, fmt.Sprintf("it has the static IP %s of an earlier run, which stays: emr-static-ip release gives it back", r.state.Static))
		}
		return true, nil
	}
	problems := []error{wrongRegion, CheckPools(r.cfg.Pools, r.role.Role, r.id, r.files)}
	pool := r.cfg.Pools.For(r.role.Role)
	carried := slices.ContainsFunc(r.id.Addresses, func(a netip.Addr) bool { return slices.Contains(pool, a) })
	if !carried && len(r.id.Addresses) > 1 { // every instance type allows two
		limit, err := r.ec2.Capacity(ctx)
		if err != nil {
			return false, errors.Join(append(problems, err)...)
		}
		problems = append(problems, CheckRoom(r.id, limit, r.id.Addresses, pool))
	}
	if err := errors.Join(problems...); err != nil {
		return false, err
	}
	if err := r.openKernel(ctx); err != nil {
		return false, err
	}
	if r.unprivileged {
		r.rep.Warnings = append(r.rep.Warnings, "not root: addresses and rules of the kernel and the state file cannot be looked at, and what would be changed there is not shown")
		return false, nil
	}
	return false, kernelError(netcfg.Preflight(ctx, r.kernel, r.wanted(netip.Addr{}, nil), r.candidates(pool), !r.rep.DryRun))
}

// candidates lists the addresses that this run may program: the one that the node has, or else the
// pool.
func (r *run) candidates(pool []netip.Addr) []netip.Addr {
	if slices.Contains(pool, r.state.Static) {
		return []netip.Addr{r.state.Static}
	}
	return pool
}

func (r *run) coordinator() *ssmcoord.Coordinator {
	c := &ssmcoord.Coordinator{
		Ledger: ssmcoord.NewLedger(r.aws.config, r.cfg.Prefix, r.id.SubnetID),
		EC2:    r.ec2,
		Self:   ssmcoord.Self{Instance: r.id.InstanceID, ENI: r.id.ENI, Cluster: r.cluster, Role: string(r.role.Role)},
		Pools: ssmcoord.Pools{
			string(RoleMaster): r.cfg.Pools.Master, string(RoleCore): r.cfg.Pools.Core, string(RoleTask): r.cfg.Pools.Task,
		},
		Last:     r.state.Static,
		Recorded: r.hasState && len(r.ledgers) == 0, // an interrupted run may have changed --prefix
		Intents:  r.touched(),
		Reassign: r.cfg.AllowReassignment,
		PutRate:  r.cfg.PutRate,
		Rand:     r.env.random(),
		Notify:   r.event,
	}
	c.Intend = func(_ context.Context, intents []netip.Addr) error {
		phase := PhaseClaiming
		if r.state.Static.IsValid() && (r.state.Phase == PhaseAttached || r.state.Phase == PhaseProgrammed) {
			phase = r.state.Phase // that address is in use, whatever becomes of the others
		}
		return r.save(phase, r.state.Static, r.state.Former, intents)
	}
	return c
}

// touched lists the addresses that earlier runs of this node may have claimed, attached or programmed.
func (r *run) touched() []netip.Addr {
	var list []netip.Addr
	for _, a := range slices.Concat([]netip.Addr{r.state.Static}, r.state.Intents, r.state.Former) {
		if a.IsValid() && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
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

func (r *run) former(touched []netip.Addr, static netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(touched), func(a netip.Addr) bool { return a == static || a == r.id.PrimaryIP })
}

func (r *run) program(ctx context.Context, static netip.Addr, former []netip.Addr) error {
	res, err := netcfg.Ensure(ctx, r.kernel, r.wanted(static, former), r.changed)
	r.rep.Unchanged += res.Unchanged
	r.rep.Link, r.rep.Backend = res.Link, res.Backend
	r.rep.Notes = append(r.rep.Notes, res.Notes...)
	r.tellOvertaken(res.Before)
	return kernelError(err)
}

// tellOvertaken warns of chains of others that come before the rules.
func (r *run) tellOvertaken(chains []netcfg.NATChain) {
	for _, c := range chains {
		r.warn(fmt.Sprintf("%s changes the source of packets and comes, or may come, before the rules: the other side may not see the static IP; --nat-backend nftables comes first", c))
	}
}

func (r *run) unprogram(ctx context.Context, addrs []netip.Addr) error {
	res, err := netcfg.Remove(ctx, r.kernel, r.id.MAC, addrs, r.changed)
	r.rep.Link = res.Link
	r.rep.Notes = append(r.rep.Notes, res.Notes...)
	return kernelError(err)
}

// name appends the role to the Name tag. The tag is a convenience: a node is not failed for it.
func (r *run) name(ctx context.Context) {
	name, err := r.ec2.NameRole(ctx)
	switch {
	case err != nil:
		err = r.explain(ctx, err)
		w := err.Error()
		if e := (*Error)(nil); errors.As(err, &e) && e.Remedy != "" {
			w += "; " + e.Remedy
		}
		r.rep.Warnings = append(r.rep.Warnings, w+"; or use --no-name-tag")
	case name != "":
		r.change("named the instance " + quoted(name))
	default:
		r.rep.Unchanged++
	}
}

// event is one line of the claim protocol.
func (r *run) event(e ssmcoord.Event) {
	text := string(e.Kind)
	if e.Addr.IsValid() {
		text += " " + e.Addr.String()
	}
	text += ": " + clean(e.Detail, maxLine)
	if e.Change {
		r.change(text)
		return
	}
	r.log.Info(text)
}

func (r *run) changed(c netcfg.Change) {
	r.change(c.Summary())
	r.log.Debug("the change as a command", zap.String("command", c.String()))
}

func (r *run) change(text string) {
	r.rep.Changes = append(r.rep.Changes, text)
	r.log.Info(text)
}
