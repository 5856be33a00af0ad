package simulation

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

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
	if err := pause.Sleep(ctx, time.Minute); err != nil {
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
	if err := pause.Sleep(ctx, time.Minute); err != nil { // until reads show it all
		return err
	}
	l.checkClusters(ctx)
	return nil
}

// rerun runs the agent once more on every node. The run must find nothing to do.
func (l *Launch) rerun(ctx context.Context) {
	for _, n := range l.w.living() {
		if n.lacks.Load() {
			n.Apply(ctx, Kill{}) // it makes up for what the run before could do without
			l.Stats.Runs++
		}
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
