package simulation

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// shutdown is how long an instance keeps its interface while it shuts down.
const shutdown = 30 * time.Second

// maxTries is how often an operator runs the agent on a node after errors.
const maxTries = 4

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

func (l *Launch) runNode(n *Node, rng *rand.Rand, kills float64) {
	// Boot times differ, so that no two nodes start at the same nanosecond.
	if pause.Sleep(n.life.Load(), time.Duration(rng.Float64()*float64(40*time.Second))) != nil {
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
		if pause.Sleep(n.life.Load(), time.Duration(rng.Float64()*float64(30*time.Second))) != nil {
			return
		}
	}
}

// keepRestoring is the systemd timer of a node. It runs restore every minute, at the same time as
// other runs on the node.
func (l *Launch) keepRestoring(ctx context.Context, n *Node, rng *rand.Rand) {
	for d := time.Duration(rng.Float64() * float64(time.Minute)); pause.Sleep(ctx, d) == nil && !l.quiet.Load() && !n.gone.Load(); d = time.Minute {
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
		if err := pause.Sleep(ctx, time.Minute); err != nil {
			return err
		}
	}
	return nil
}

// pending reports whether the state file says that the node's record has yet to be written.
func (n *Node) pending() bool {
	s, found, err := state.Load(filepath.Join(n.root, agent.DefaultStateDir), n.InstanceID)
	if err != nil {
		n.world.violate("truth: the state file of %s: %v", n.InstanceID, err)
	}
	return found && !s.RecordDue.IsZero()
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
