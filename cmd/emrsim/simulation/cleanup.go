package simulation

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/netip"
	"path"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/ledger"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// cleanUp lets two operators clean up independently while clusters are launched. At random times
// each of them runs `ledger gc --yes`, `ledger repair --yes` or `ledger remove --yes` on an
// instance of the subnet, with the same faults and stale reads as the nodes.
func (l *Launch) cleanUp(ctx context.Context) error {
	for range 2 {
		bastion, err := l.w.Cloud.RunInstance(cloud.InstanceSpec{Subnet: l.subnet, Name: "bastion"})
		if err != nil {
			return err
		}
		rng := rand.New(rand.NewPCG(l.w.Seed, hash(bastion.InstanceID)))
		l.pending.Go(func() {
			for range 6 {
				if pause.Sleep(ctx, time.Duration(rng.Float64()*float64(time.Minute))) != nil {
					return
				}
				command := []string{ledger.GC, ledger.Repair, ledger.Remove}[rng.IntN(3)]
				l.cleanUpOnce(ctx, bastion, command, rng)
			}
		})
	}
	return nil
}

func (l *Launch) cleanUpOnce(ctx context.Context, from *cloud.Node, command string, rng *rand.Rand) {
	cfg := agent.DefaultConfig()
	cfg.Yes, cfg.IMDSTimeout = true, agent.DefaultIMDSTimeout // as a node, because IMDS may be late
	switch all := slices.Concat(l.pools.Master, l.pools.Core, l.pools.Task); {
	case command == ledger.Repair && rng.IntN(2) == 0:
		cfg.Pools = l.pools
	case command == ledger.Remove:
		cfg.Pools.Master = []netip.Addr{all[rng.IntN(len(all))]}
	}
	env := agent.Environment{HTTP: staggered{l.w.Transport(from.InstanceID)}, Rand: stream(rng.Uint64(), 0), LookupEnv: func(string) (string, bool) { return "", false }}
	if l.w.Log != nil {
		env.Log = l.w.Log.Named("ledger " + command)
	}
	r, err := ledger.Run(ctx, command, cfg, env)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Stats.Cleaned += r.Changed
	if err != nil {
		l.w.violate("ledger %s: %v", command, err)
	}
}

// putRight runs the agent once more on every node. It may find work, because an operator may have
// deleted a record while the node took the address over.
func (l *Launch) putRight(ctx context.Context) {
	// An address that was blocked only by an unreadable record is usable once that record is gone.
	blocked := map[netip.Addr]bool{}
	for _, e := range l.w.Cloud.ENIs() {
		for _, a := range e.Addresses {
			blocked[a] = l.w.node(e.InstanceID) == nil
		}
	}
	for _, p := range l.w.Cloud.Parameters() {
		if _, err := l.w.parse(p.Value); err != nil {
			if a, err := netip.ParseAddr(path.Base(p.Name)); err == nil {
				blocked[a] = true
			}
		}
	}
	maps.DeleteFunc(l.strange, func(a netip.Addr, _ bool) bool { return !blocked[a] })
	for _, n := range l.w.living() {
		o := n.Apply(ctx, Kill{})
		l.Stats.Runs++
		if o.Err != nil {
			l.w.violate("rerun: %s: %v", n.InstanceID, o.Err)
		}
		for _, c := range o.Report.Changes {
			if len(c) > 8 && c[:8] != "repaired" {
				l.w.violate("rerun: %s changes more than its record: %q", n.InstanceID, o.Report.Changes)
			}
		}
		if len(o.Report.Changes) > 0 {
			l.Stats.PutRight++
		}
	}
}
