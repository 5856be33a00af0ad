package simulation

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// startEvents chooses the events, starts them, and returns when the last one has begun.
//
// The pools are as small as possible. They have one address for each node that needs one at the
// same time, and one more for each address that a stranger holds or an unreadable record blocks.
func (l *Launch) startEvents(ctx context.Context) error {
	masters, cores, tasks := 1, 1+l.rng.IntN(2), 0
	if l.rng.IntN(10) == 0 {
		cores = 3 + l.rng.IntN(8)
	}
	if l.rng.IntN(10) == 0 {
		masters = 3
	}
	if l.rng.IntN(5) == 0 {
		tasks = 1 + l.rng.IntN(2)
	}
	two := l.rng.IntN(5) == 0 // two clusters with one list at the same time
	taskPool := tasks > 0 && l.rng.IntN(3) > 0
	clusters := 1
	if two {
		clusters = 2
	}
	next := netip.MustParseAddr("10.0.1.64")
	take := func(n int) (list []netip.Addr) {
		for range n {
			list = append(list, next)
			next = next.Next()
		}
		return list
	}
	spare := l.rng.IntN(2)
	l.pools = agent.Pools{Master: take(masters * clusters), Core: take(cores*clusters + spare)}
	if taskPool {
		l.pools.Task = take(tasks * clusters)
	}
	if err := l.obstacles(ctx, take); err != nil {
		return err
	}
	// A read that is older than an obstacle would not show it, and nobody could know.
	if err := pause.Sleep(ctx, ssmcoord.ReadLag); err != nil {
		return err
	}
	l.spare = take(1)[0]
	if l.timers = l.rng.IntN(4) == 0; l.timers && l.rng.IntN(2) == 0 {
		l.putRate = []float64{0.05, 0.1}[l.rng.IntN(2)]
	}
	if l.w.Operators {
		// Parameter Store has no conditional delete, so an operator's view may be older than a
		// node's record. EC2 still decides who has the address, which CheckSafety checks.
		l.races = true
		if err := l.cleanUp(ctx); err != nil {
			return err
		}
	}
	kills := []float64{0, 0.3, 0.6}[l.rng.IntN(3)]
	spec := cloud.ClusterSpec{Subnet: l.subnet, Masters: masters, Cores: cores, Tasks: tasks, NameTag: "sim", SecondENIOnMaster: l.rng.IntN(2) == 0, Fleets: l.rng.IntN(6) == 0}
	var nodes []*Node
	launch := func() (*cloud.Cluster, []*Node, error) {
		cl, err := l.w.Cloud.LaunchCluster(spec)
		if err != nil {
			return nil, nil, err
		}
		l.Stats.Clusters++
		var started []*Node
		for _, cn := range cl.Nodes {
			started = append(started, l.start(ctx, cn, l.pools, kills))
		}
		nodes = append(nodes, started...)
		return cl, started, nil
	}
	first, _, err := launch()
	if err != nil {
		return err
	}
	if two {
		if _, _, err := launch(); err != nil {
			return err
		}
	}
	for range l.rng.IntN(3) {
		if err := pause.Sleep(ctx, time.Duration(l.rng.Float64()*float64(90*time.Second))); err != nil {
			return err
		}
		if err := l.event(ctx, first, &nodes, kills, launch); err != nil {
			return err
		}
	}
	return nil
}

// obstacles creates stale records, unreadable records and addresses of strangers. For each address
// that is lost for good, the pool gets another one.
func (l *Launch) obstacles(ctx context.Context, take func(int) []netip.Addr) error {
	parameter := func(a netip.Addr) string { return Parameter(agent.DefaultPrefix, l.subnet, a) }
	for _, a := range slices.Concat(l.pools.Master, l.pools.Core, l.pools.Task) {
		if l.rng.IntN(4) != 0 {
			continue
		}
		dead := fmt.Sprintf("i-0dead%x", l.rng.IntN(3)) // EC2 has never heard of it
		if err := l.w.PutRecord(ctx, parameter(a), ssmcoord.Record{Instance: dead, ENI: "eni-0dead", Cluster: "j-OLD", Role: "CORE"}); err != nil {
			return err
		}
	}
	if l.rng.IntN(4) == 0 { // as a stranger's secondary or primary address
		a := l.pools.Core[l.rng.IntN(len(l.pools.Core))]
		spec := cloud.InstanceSpec{Subnet: l.subnet}
		if l.rng.IntN(2) == 0 {
			spec.PrimaryIP = a
		} else {
			spec.Secondary = []netip.Addr{a}
		}
		if _, err := l.w.Cloud.RunInstance(spec); err != nil {
			return err
		}
		l.strange[a] = true
		l.pools.Core = append(l.pools.Core, take(1)...)
	}
	if l.rng.IntN(5) == 0 {
		a := l.pools.Core[l.rng.IntN(len(l.pools.Core))]
		if !l.strange[a] {
			l.strange[a] = true
			l.pools.Core = append(l.pools.Core, take(1)...)
			if err := l.w.PutRaw(ctx, parameter(a), []string{"blank", "{", `{"v":9}`}[l.rng.IntN(3)]); err != nil {
				return err
			}
		}
	}
	return nil
}

// event starts one random event of a cluster. No event needs more addresses at a time than there
// are, once the terminated instances are gone.
func (l *Launch) event(ctx context.Context, first *cloud.Cluster, nodes *[]*Node, kills float64, launch func() (*cloud.Cluster, []*Node, error)) error {
	var candidates []*Node
	for _, n := range *nodes {
		if !n.ending && n.ClusterID == first.ID {
			candidates = append(candidates, n)
		}
	}
	if len(candidates) == 0 {
		return nil
	}
	n := candidates[l.rng.IntN(len(candidates))]
	switch l.rng.IntN(8) {
	case 0: // a node fails and is replaced
		l.end(n)
		cn, err := l.w.Cloud.AddNode(first.ID, n.Role)
		if err != nil {
			return err
		}
		*nodes = append(*nodes, l.start(ctx, cn, l.pools, kills))
	case 1: // scaled in, with a shutdown action that may be interrupted; perhaps scaled out again
		l.shutdownAction(ctx, n, l.shutdownKill())
		l.end(n)
		if l.rng.IntN(2) == 0 {
			cn, err := l.w.Cloud.AddNode(first.ID, n.Role)
			if err != nil {
				return err
			}
			*nodes = append(*nodes, l.start(ctx, cn, l.pools, kills))
		}
	case 2: // the cluster ends, and a clone is launched while it shuts down
		for _, n := range candidates {
			l.end(n)
		}
		if _, _, err := launch(); err != nil {
			return err
		}
	case 3: // the node reboots with an empty kernel, and somebody runs the agent again
		n.stop()
		if err := pause.Sleep(ctx, time.Second); err != nil {
			return err
		}
		n.Kernel.Reboot(n.primaries()...)
		l.revive(ctx, n, kills)
	case 5: // an operator releases the node's address and then runs the agent again
		n.stop()
		if err := pause.Sleep(ctx, time.Millisecond); err != nil {
			return err
		}
		l.count(n.Release(ctx, Kill{}))
		l.revive(ctx, n, kills)
	case 6: // a clone waits for addresses, which the cluster's nodes release one by one
		if _, _, err := launch(); err != nil {
			return err
		}
		for _, n := range candidates {
			k, d := l.shutdownKill(), time.Duration(l.rng.Float64()*float64(time.Minute))
			n.ending = true
			l.pending.Go(func() {
				if pause.Sleep(ctx, d) == nil {
					l.shutdownAction(ctx, n, k)
					l.terminate(n)
				}
			})
		}
	case 7: // an operator gives a core node another list, and then the old one again
		if n.Role == string(agent.RoleCore) && l.spare.IsValid() {
			return l.changeList(ctx, n)
		}
	case 4: // an operator runs the agent by hand, perhaps during the bootstrap action
		l.pending.Go(func() {
			o := n.Apply(n.life.Load(), Kill{})
			l.count(o)
			if o.Err != nil && n.alive() {
				l.w.violate("progress: %s run by hand: %v", n.InstanceID, o.Err)
			}
		})
	}
	return nil
}

// shutdownKill returns where a shutdown action is killed, if at all.
func (l *Launch) shutdownKill() (k Kill) {
	if l.rng.IntN(2) == 0 {
		k.Point = 1 + l.rng.IntN(60)
	}
	return k
}

// shutdownAction releases the node's address as EMR's shutdown action does. It may be killed half
// way.
func (l *Launch) shutdownAction(ctx context.Context, n *Node, k Kill) {
	n.stop() // EMR kills running processes
	if pause.Sleep(ctx, time.Millisecond) != nil {
		return
	}
	released, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	l.count(n.Release(released, k))
}

// changeList removes the node's address from its list, and adds it again while EC2 may still show
// it. Then the list also has the spare address, because another node may have taken the old one.
func (l *Launch) changeList(ctx context.Context, n *Node) error {
	n.stop()
	if err := pause.Sleep(ctx, time.Millisecond); err != nil {
		return err
	}
	had := n.Static()
	changed := l.pools
	changed.Core = slices.DeleteFunc(append(slices.Clone(l.pools.Core), l.spare), func(a netip.Addr) bool { return a == had })
	n.list(changed)
	n.begin(ctx)
	l.count(n.Apply(ctx, Kill{}))
	if err := pause.Sleep(ctx, time.Duration(l.rng.Float64()*float64(time.Second))); err != nil {
		return err
	}
	back := l.pools
	back.Core = append(slices.Clone(l.pools.Core), l.spare)
	l.spare = netip.Addr{}
	n.list(back)
	l.revive(ctx, n, 0.3)
	return nil
}

func (l *Launch) revive(ctx context.Context, n *Node, kills float64) {
	n.begin(ctx)
	rng := l.streamFor(n)
	l.pending.Go(func() { l.runNode(n, rng, kills) })
}
