package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
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
	list     string // listDigest of the addresses that the operator named for this run
	rep      Report

	used      netip.Addr      // the static IP of the last run, which may have a record
	recordDue time.Time       // when the record of the static IP is to be written; zero: it is
	named     bool            // the Name tag was looked after, by this run or an earlier one
	naming    chan nameResult // the Name tag's end, while it is written

	gateways      []netip.Prefix     // networks of S3 and DynamoDB
	gatewaysKnown bool               // EC2 was asked for them, by this run or an earlier one
	gatewaysAsked chan gatewayResult // EC2's answer, while it is on its way

	beside beside // calls beside the run's own

	imdsLists    bool               // a restore has seen that IMDS lists the static IP
	installs     *systemd.Installer // once installer was called
	unprivileged bool               // a preview without root: the rules cannot be looked at
}

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
	r.beside.end()
	if err != nil {
		err = r.explain(ctx, err)
	}
	r.rep.Duration = time.Since(r.began)
	if r.aws != nil {
		r.rep.Calls, r.rep.Throttled = r.aws.Tally.Snapshot()
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
	if r.id, err = openIMDS(r.env).Identity(ctx, r.env, cmp.Or(r.cfg.IMDSTimeout, DefaultIMDSTimeout)); err != nil {
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
		r.used, r.recordDue, r.named = r.state.Static, r.state.RecordDue, r.state.Named
		r.gateways, r.gatewaysKnown = r.state.Gateways, r.state.GatewaysKnown
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
	for _, name := range r.env.BrokenProxies() {
		r.warn(brokenProxyText(name) + "; " + proxyRemedy)
	}
	var err error
	if r.aws, err = openAWS(ctx, r.env, r.id.Region, cmp.Or(r.cfg.IMDSTimeout, DefaultIMDSTimeout)); err != nil {
		return err
	}
	for _, other := range r.aws.Elsewhere {
		r.warn(other)
	}
	r.ec2 = newArbiter(r.aws.Config, r.id, r.cluster, r.env)
	return nil
}

// openKernel reaches the node's kernel.
func (r *run) openKernel(ctx context.Context) (err error) {
	open := r.env.OpenKernel
	if open == nil {
		open = netcfg.Open
	}
	if r.kernel, err = open(ctx, netcfg.Options{Backend: r.cfg.Backend, LockWait: cmp.Or(r.cfg.LockWait, DefaultLockWait)}); err != nil {
		return kernelError(err)
	}
	r.rep.Backend = r.kernel.Backend()
	return nil
}

func (r *run) apply(ctx context.Context) error {
	err := r.applyNode(ctx)
	if r.naming != nil {
		r.joinName(ctx) // the instance may be renamed, whatever else failed
	}
	return err
}

func (r *run) applyNode(ctx context.Context) error {
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
	if err := r.finishGivenBack(ctx); err != nil {
		return err
	}
	r.beginGateways(ctx)
	c := r.coordinator()
	before := r.touched() // the coordinator forgets what is given back; the kernel may still have it
	plan, err := c.Acquire(ctx)
	if err != nil {
		return err
	}
	r.beginName(ctx)
	r.rep.Static = plan.Addr
	if plan.Kept {
		r.rep.Unchanged++
	}
	r.recordDue = c.Due(plan)
	former := r.former(union(before, c.Intents()), plan.Addr)
	r.joinGateways(ctx)
	if err := r.save(PhaseAttached, plan.Addr, former, c.Intents()); err != nil {
		return err
	}
	if err := r.program(ctx, plan.Addr, former); err != nil {
		return err
	}
	if err := r.save(PhaseProgrammed, plan.Addr, former, c.Intents()); err != nil {
		return err
	}
	if err := r.record(ctx, c, plan); err != nil {
		return err
	}
	notes, err := c.Settle(ctx, plan)
	r.rep.Warnings = append(r.rep.Warnings, notes...)
	if err != nil {
		return err
	}
	r.joinName(ctx)
	if err := forgetAbsence(r.dir); err != nil {
		return err
	}
	rest := slices.DeleteFunc(c.Intents(), func(a netip.Addr) bool { return a == plan.Addr })
	return r.save(PhaseProgrammed, plan.Addr, nil, rest)
}

// check does everything that can be refused before anything is changed. True: the node is to be left as it is.
func (r *run) check(ctx context.Context) (bool, error) {
	var err error
	if r.role, err = detectRole(ctx, r.cfg.Role, r.files, r.ec2.Tags); err != nil {
		return false, err
	}
	r.ec2.Role = r.role.Role
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
	problems := []error{wrongRegion, r.checkPrefix(), CheckPools(r.cfg.Pools, r.role.Role, r.id, r.files)}
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

// coordinator returns this node's side of the claim protocol.
func (r *run) coordinator() *ssmcoord.Coordinator {
	past := ssmcoord.Past{Intents: r.touched(), Used: r.state.Former}
	past.Recorded = true
	if r.hasState {
		past.Used = union(past.Used, []netip.Addr{r.used})
		past.Written = r.state.Written
		past.Last, past.Recorded = r.state.Static, r.state.Static.IsValid() && r.recordDue.IsZero()
	}
	switch r.state.Phase {
	case PhaseReleased:
		past.Released = r.state.Written
	case PhaseReleasing: // an interrupted release may have deleted a record later than it said so
		past.Released = time.Now()
	}
	return ssmcoord.New(ssmcoord.Options{
		Ledger: ssmcoord.NewLedger(r.aws.Config, r.cfg.Prefix, r.id.SubnetID),
		EC2:    r.ec2,
		Self:   r.self(),
		Pools: ssmcoord.Pools{
			string(RoleMaster): r.cfg.Pools.Master, string(RoleCore): r.cfg.Pools.Core, string(RoleTask): r.cfg.Pools.Task,
		},
		Past:    past,
		Quick:   r.finished() && len(past.Intents) == 1,
		PutRate: r.cfg.PutRate,
		Rand:    r.env.Random(),
		Notify:  r.event,
		Intend:  r.intend,
		Lost:    r.lostStatic,
	})
}

// self is this node as the claim protocol knows it.
func (r *run) self() ssmcoord.Self {
	return ssmcoord.Self{Instance: r.id.InstanceID, ENI: r.id.ENI, Cluster: r.cluster, Role: string(r.role.Role)}
}

// finished reports whether the last run came to its end: nothing but its address is to be looked at.
func (r *run) finished() bool {
	return r.hasState && r.state.Phase == PhaseProgrammed && r.recordDue.IsZero() && (r.named || !r.cfg.NameTag)
}

// intend stores the addresses that EC2 may have assigned to this node, or is about to be asked for.
func (r *run) intend(_ context.Context, intents []netip.Addr) error {
	phase := PhaseClaiming
	if r.state.Static.IsValid() && (r.state.Phase == PhaseAttached || r.state.Phase == PhaseProgrammed) {
		phase = r.state.Phase // that address is in use, whatever becomes of the others
	}
	return r.save(phase, r.state.Static, r.state.Former, intents)
}

// touched lists the addresses that earlier runs of this node may have been given, or programmed.
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
