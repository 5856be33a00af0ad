package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// shutdown is how long an instance keeps its interface while it shuts down.
const shutdown = 30 * time.Second

// maxTries is how often an operator runs the agent on a node after errors.
const maxTries = 4

// Launch is one simulated scenario: clusters in one subnet, events on their nodes, and a cloud with
// faults.
type Launch struct {
	Stats Stats

	w       *World
	rng     *rand.Rand // of the scenario; each node has its own
	subnet  string
	pools   agent.Pools
	strange map[netip.Addr]bool // addresses held or blocked by somebody outside
	races   bool                // a record may be changed by others than the address's holder
	loses   bool                // Parameter Store may lose a record that it has accepted
	style   cloud.FileStyle
	spare   netip.Addr  // an address in no list, for a node whose list changes
	calm    atomic.Bool // there are no more faults

	timers  bool    // systemd runs restore every minute
	putRate float64 // 0 means the default; with a small rate, runs leave their records to the timers

	mu      sync.Mutex
	pending sync.WaitGroup
	minutes sync.WaitGroup // the timers
	quiet   atomic.Bool    // timers start no more runs
}

// Stats count what a launch has covered.
type Stats struct {
	Clusters, Nodes, Runs, Restores, Kills, Errors, TakeOvers, Terminations, Calls, Throttled int
	Cleaned                                                                                   int // records that operators changed
	PutRight                                                                                  int // nodes that had to write their records again
	Pending                                                                                   int // runs that left their record to the timer
}

// Add adds o to s.
func (s *Stats) Add(o Stats) {
	s.Clusters += o.Clusters
	s.Nodes += o.Nodes
	s.Runs += o.Runs
	s.Restores += o.Restores
	s.Kills += o.Kills
	s.Errors += o.Errors
	s.TakeOvers += o.TakeOvers
	s.Terminations += o.Terminations
	s.Calls += o.Calls
	s.Throttled += o.Throttled
	s.Cleaned += o.Cleaned
	s.PutRight += o.PutRight
	s.Pending += o.Pending
}

// Mutation breaks something on purpose, to show that the simulation notices it. The zero value
// breaks nothing.
type Mutation struct {
	Cloud   func(*cloud.Options)                                   // of the account
	Network func(*World) func(instanceID string) http.RoundTripper // the connection of nodes to AWS
}

// RunLaunch runs the scenario of a seed inside a synctest bubble and returns the violations. If
// configure is not nil, it is called with the world before the scenario begins.
func RunLaunch(ctx context.Context, seed uint64, mutation Mutation, configure func(*World)) ([]string, Stats, error) {
	rng := rand.New(rand.NewPCG(seed, 0x5eed))
	o := options(rng, seed)
	if mutation.Cloud != nil {
		mutation.Cloud(&o)
	}
	w, err := NewWorld(o)
	if err != nil {
		return nil, Stats{}, err
	}
	defer w.Close()
	if mutation.Network != nil {
		w.Transport = mutation.Network(w)
	}
	if configure != nil {
		configure(w)
	}
	l := &Launch{w: w, rng: rng, races: w.Late, loses: o.Recreate.Lose > 0, strange: map[netip.Addr]bool{}}
	w.Step = l.step
	if err := l.play(ctx); err != nil {
		return nil, l.Stats, err
	}
	for _, c := range w.Cloud.Counts() {
		l.Stats.Calls += c.Calls
		l.Stats.Throttled += c.Throttled
	}
	return w.violations, l.Stats, nil
}

// options returns the options of this scenario's cloud, with its imperfections.
func options(rng *rand.Rand, seed uint64) (o cloud.Options) {
	ms := func(lo, hi int) time.Duration { return time.Duration(lo+rng.IntN(hi-lo+1)) * time.Millisecond }
	latency := ms(5, 300)
	o = cloud.Options{
		Seed:         seed,
		UniqueTimes:  true,
		ShutdownTime: cloud.Exactly(shutdown),
		BootTime:     cloud.Range{Max: ms(0, 30000)},
		Latency: func(r *rand.Rand, _ cloud.Call) time.Duration {
			return latency/4 + time.Duration(r.ExpFloat64()*float64(latency))
		},
	}
	switch rng.IntN(4) {
	case 0:
		o.Quotas = cloud.WithSSMBurst(cloud.DefaultQuotas(), 0)
	default:
		o.Quotas = cloud.DefaultQuotas()
	}
	if rng.IntN(2) == 0 {
		o.StaleSSM = cloud.Staleness{Probability: rng.Float64() * 0.5, MaxAge: ms(100, 3000)}
	}
	if rng.IntN(2) == 0 {
		o.StaleEC2 = cloud.Staleness{Probability: rng.Float64() * 0.9, MaxAge: ms(100, 5000)}
	}
	if rng.IntN(2) == 0 {
		o.RemapDelay = cloud.Range{Max: ms(100, 5000)}
		o.IMDSDelay = cloud.Range{Max: ms(100, 30000)}
	}
	if rng.IntN(3) == 0 {
		o.IMDSBoot = cloud.Range{Max: ms(0, 20000)}
		o.IMDSBootMode = cloud.BootMode(rng.IntN(4))
	}
	if rng.IntN(2) == 0 {
		o.AssignSameENI = cloud.OutcomeError
	}
	if rng.IntN(4) == 0 {
		o.ConcurrentUpdates = cloud.Race{Probability: 0.5, Window: ms(10, 500)}
	}
	if rng.IntN(8) == 0 {
		o.ConcurrentCreates = cloud.Race{Probability: 0.7, Window: ms(10, 500)}
	}
	switch rng.IntN(12) {
	case 0:
		o.Recreate.Refuse = rng.Float64()
	case 1:
		o.Recreate.Lose = rng.Float64() * 0.5
	}
	return o
}

// play runs the whole scenario and checks the result.
func (l *Launch) play(ctx context.Context) error {
	vpc := l.w.Cloud.CreateVPC(netip.MustParsePrefix("10.0.0.0/16"))
	l.subnet = l.w.Cloud.CreateSubnet(vpc, netip.MustParsePrefix("10.0.1.0/24"))
	l.w.Cloud.ReserveCIDR(l.subnet, netip.MustParsePrefix("10.0.1.64/26"), "explicit")
	l.style = cloud.FileStyle(l.rng.IntN(2))
	switch {
	case l.w.Late:
		l.w.Cloud.Fault(l.lateEffects(l.faults()))
	case l.rng.IntN(3) > 0:
		l.w.Cloud.Fault(l.faults())
	}
	if l.rng.IntN(3) == 0 {
		l.w.Cloud.Drain("ssm:PutParameter", l.rng.Float64()*2)
		l.w.Cloud.Drain(cloud.BucketSSMReads, l.rng.Float64()*30)
	}
	if err := l.startEvents(ctx); err != nil {
		return err
	}
	l.pending.Wait()
	l.calm.Store(true)
	if err := sleep(ctx, time.Minute); err != nil {
		return err
	}
	if err := l.awaitRecords(ctx); err != nil {
		return err
	}
	l.quiet.Store(true)
	l.minutes.Wait()
	l.w.CheckSafety()
	if l.w.Late || l.loses {
		l.again(ctx)
	}
	l.checkProgress()
	if l.w.Operators {
		l.putRight(ctx)
	}
	l.w.CheckTruth(agent.DefaultPrefix, l.strange)
	l.rerun(ctx)
	l.w.CheckTruth(agent.DefaultPrefix, l.strange)
	return nil
}

// faults returns a fault hook. There are no more faults after a while, or once the events are over.
func (l *Launch) faults() func(cloud.Call) cloud.FaultAction {
	rates := cloud.FaultRates{
		Fail: l.rng.Float64() * 0.1, Reset: l.rng.Float64() * 0.1, Lose: l.rng.Float64() * 0.1, Hang: l.rng.Float64() * 0.02,
		Slow: l.rng.Float64() * 0.1, MaxSlow: 15 * time.Second,
	}
	random := cloud.RandomFaults(rates, func(c cloud.Call) bool { return c.Caller != "" })
	return func(c cloud.Call) cloud.FaultAction {
		if l.calm.Load() {
			return cloud.FaultAction{}
		}
		return random(c)
	}
}

// rerun runs the agent once more on every node. The run must find nothing to do.
func (l *Launch) rerun(ctx context.Context) {
	for _, n := range l.w.living() {
		o := n.Apply(ctx, Kill{})
		l.Stats.Runs++
		if o.Err != nil {
			l.w.violate("rerun: %s: %v", n.InstanceID, o.Err)
		} else if len(o.Report.Changes) > 0 {
			l.w.violate("rerun: %s changes %q", n.InstanceID, o.Report.Changes)
		}
	}
}

func (l *Launch) checkProgress() {
	for _, n := range l.w.living() {
		pool := n.settings().Pools.For(agent.Role(n.Role))
		if len(pool) > 0 && !slices.Contains(pool, n.Static()) {
			l.w.violate("progress: %s (%s) has no address of its pool", n.InstanceID, n.Role)
		}
		if len(pool) == 0 && n.Static().IsValid() {
			l.w.violate("safety: %s has no pool and uses %s", n.InstanceID, n.Static())
		}
	}
}

// step is called after each effect of any agent.
func (l *Launch) step() {
	l.w.CheckSafety()
	if !l.races {
		l.checkRecordOwners()
	}
}

func (w *World) node(id string) *Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		if n.InstanceID == id {
			return n
		}
	}
	return nil
}

// start starts a node: its bootstrap action runs, with crashes and further runs, until it succeeds
// or the instance ends.
func (l *Launch) start(ctx context.Context, cn *cloud.Node, pools agent.Pools, kills float64) *Node {
	cfg := agent.DefaultConfig()
	cfg.Pools = pools
	if l.putRate > 0 {
		cfg.PutRate = l.putRate
	}
	l.mu.Lock()
	n := l.w.newNode(cn, cfg, l.style)
	if l.timers {
		n.withSystemd()
	}
	l.Stats.Nodes++
	l.mu.Unlock()
	rng := l.streamFor(n)
	n.begin(ctx)
	l.pending.Go(func() { l.runNode(n, rng, kills) })
	if l.timers {
		l.minutes.Go(func() { l.keepRestoring(ctx, n, rand.New(rand.NewPCG(l.w.Seed, ^hash(n.InstanceID)))) })
	}
	return n
}

// awaitRecords waits until the timers have written the records that runs have left to them.
func (l *Launch) awaitRecords(ctx context.Context) error {
	const atMost = 15 // minutes, for a dozen nodes with the smallest rate
	for i := 0; l.timers; i++ {
		late := slices.DeleteFunc(l.w.living(), func(n *Node) bool { return !n.pending() })
		if len(late) == 0 {
			return nil
		}
		if i == atMost {
			l.w.violate("truth: after %d quiet minutes the record of %s is still pending", atMost, late[0].InstanceID)
			return nil
		}
		if err := sleep(ctx, time.Minute); err != nil {
			return err
		}
	}
	return nil
}

// pending reports whether the state file says that the node's record has yet to be written.
func (n *Node) pending() bool {
	s, found, err := agent.LoadState(filepath.Join(n.root, agent.DefaultStateDir), n.InstanceID)
	if err != nil {
		n.world.violate("truth: the state file of %s: %v", n.InstanceID, err)
	}
	return found && !s.RecordDue.IsZero()
}

// keepRestoring is the systemd timer of a node. It runs restore every minute, at the same time as
// other runs on the node.
func (l *Launch) keepRestoring(ctx context.Context, n *Node, rng *rand.Rand) {
	for d := time.Duration(rng.Float64() * float64(time.Minute)); sleep(ctx, d) == nil && !l.quiet.Load() && !n.gone.Load(); d = time.Minute {
		if !n.alive() {
			continue // the node is rebooting
		}
		var k Kill
		if rng.IntN(10) == 0 {
			k.Point = 1 + rng.IntN(30)
		}
		o := n.run(n.life.Load(), k, agent.Restore)
		l.mu.Lock()
		l.Stats.Restores++
		if o.Err != nil && !o.Killed && n.alive() {
			l.w.violate("restore: %s: %v", n.InstanceID, o.Err)
		}
		l.mu.Unlock()
	}
}

func (l *Launch) runNode(n *Node, rng *rand.Rand, kills float64) {
	// Boot times differ, so that no two nodes start at the same nanosecond.
	if sleep(n.life.Load(), time.Duration(rng.Float64()*float64(40*time.Second))) != nil {
		return
	}
	tries := 0
	for n.alive() {
		var k Kill
		if rng.Float64() < kills {
			k = Kill{Point: 1 + rng.IntN(90), Fail: rng.IntN(4) == 0}
		}
		o := n.Apply(n.life.Load(), k)
		l.count(o)
		switch {
		case !n.alive():
			return
		case o.Killed:
			kills /= 2
		case o.Err == nil:
			return
		case k.Point > 0 && errors.Is(o.Err, errFailed):
			kills /= 2
		default:
			tries++
			l.mu.Lock()
			l.Stats.Errors++
			l.w.violate("progress: %s (%s) fails: %v", n.InstanceID, n.Role, o.Err)
			l.mu.Unlock()
			if tries == maxTries {
				return
			}
		}
		if sleep(n.life.Load(), time.Duration(rng.Float64()*float64(30*time.Second))) != nil {
			return
		}
	}
}

func (l *Launch) count(o Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Stats.Runs++
	if o.Killed {
		l.Stats.Kills++
	}
	for _, c := range o.Report.Changes {
		if strings.HasPrefix(c, "taken over") {
			l.Stats.TakeOvers++
		}
	}
	for _, w := range o.Report.Warnings {
		if strings.HasPrefix(w, "record pending") {
			l.Stats.Pending++
		}
	}
}

// end terminates a node's instance. The instance runs for a while; then its processes and its
// kernel stop. Nodes that are terminated together stop a microsecond apart. Events at the same
// instant have no order, and the seed could not be replayed.
func (l *Launch) end(n *Node) {
	if n.ending {
		return
	}
	n.ending = true
	l.terminate(n)
}

func (l *Launch) terminate(n *Node) {
	l.mu.Lock()
	l.Stats.Terminations++
	l.mu.Unlock()
	l.w.Cloud.RemoveNode(n.InstanceID)
	early := time.Millisecond + time.Duration(n.place)*time.Microsecond
	l.pending.Go(func() {
		time.Sleep(shutdown - early)
		n.stop()
		n.gone.Store(true)
	})
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// String summarizes what a launch has covered.
func (s Stats) String() string {
	return fmt.Sprintf("%d clusters, %d nodes, %d runs (%d killed, %d ended in an error), %d restores, %d terminations, %d take-overs, %d records left to timers, %d calls (%d throttled)",
		s.Clusters, s.Nodes, s.Runs, s.Kills, s.Errors, s.Restores, s.Terminations, s.TakeOvers, s.Pending, s.Calls, s.Throttled)
}
