package simulation

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// policyScenarios returns scenarios of clusters. They do not check whether a run succeeded, but
// record its outcome.
func policyScenarios() []struct {
	name string
	play func(*policed)
} {
	large := agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21", "10.0.1.22"), Core: addrs("10.0.1.23", "10.0.1.24", "10.0.1.25"), Task: addrs("10.0.1.26", "10.0.1.27")}
	return []struct {
		name string
		play func(*policed)
	}{
		{"three masters, core and task nodes: plan, first launch, rerun, status", func(p *policed) {
			_, nodes := p.start(cloud.ClusterSpec{Masters: 3, Cores: 3, Tasks: 2}, large)
			p.plan(nodes...)
			p.apply(nodes...)
			for _, n := range nodes {
				if n.Static().IsValid() {
					n.Config.Pools = agent.Pools{} // the next run has no arguments
				}
			}
			p.apply(nodes...)
			p.plan(nodes...)
			p.status(nodes...)
		}},
		{"instance fleets", func(p *policed) {
			_, nodes := p.start(cloud.ClusterSpec{Cores: 2, Fleets: true}, smallPools)
			p.apply(nodes...)
			p.apply(nodes...)
		}},
		{"another prefix", func(p *policed) {
			p.prefix = "/team/static-ip"
			_, nodes := p.start(cloud.ClusterSpec{Cores: 2}, smallPools)
			p.apply(nodes...)
			p.release(nodes...)
		}},
		{"take-over of stale records", func(p *policed) {
			p.stale("10.0.1.20", "10.0.1.21", "10.0.1.22")
			_, nodes := p.start(cloud.ClusterSpec{Cores: 2}, smallPools)
			p.apply(nodes...)
			p.status(nodes...)
		}},
		{"release, and again", func(p *policed) {
			_, nodes := p.start(cloud.ClusterSpec{Cores: 2}, smallPools)
			p.apply(nodes...)
			p.release(nodes...)
			p.release(nodes...)
			p.apply(nodes...)
		}},
		{"release without a state file", func(p *policed) {
			_, nodes := p.start(cloud.ClusterSpec{Cores: 1}, smallPools)
			p.apply(nodes...)
			for _, n := range nodes {
				if err := os.Remove(filepath.Join(n.root, agent.DefaultStateDir, "state.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
					p.t.Fatal(err)
				}
			}
			p.release(nodes...)
		}},
		{"resize, a node that is replaced", func(p *policed) {
			id, nodes := p.start(cloud.ClusterSpec{Cores: 1}, smallPools)
			p.apply(nodes...)
			second := p.add(id, cloud.RoleCore, smallPools)
			p.apply(second)
			p.release(second) // runs the shutdown action
			for _, n := range []*Node{second, nodes[1]} {
				n.gone.Store(true)
				p.Cloud.RemoveNode(n.InstanceID)
			}
			time.Sleep(time.Minute)
			p.apply(p.add(id, cloud.RoleCore, smallPools), p.add(id, cloud.RoleCore, smallPools))
		}},
		{"waiting for a cluster that shuts down", func(p *policed) {
			pools := agent.Pools{Master: addrs("10.0.1.20"), Core: addrs("10.0.1.21")}
			_, old := p.start(cloud.ClusterSpec{Cores: 1}, pools)
			p.apply(old...)
			_, nodes := p.start(cloud.ClusterSpec{Cores: 1}, pools)
			var ended sync.WaitGroup
			defer ended.Wait()
			ended.Go(func() {
				time.Sleep(time.Minute)
				p.retire(old...)
			})
			p.apply(nodes...)
		}},
		{"a stranger has the address, and is left alone", func(p *policed) {
			_, err := p.Cloud.RunInstance(cloud.InstanceSpec{Subnet: p.subnet, Secondary: addrs("10.0.1.21")})
			if err != nil {
				p.t.Fatal(err)
			}
			_, nodes := p.start(cloud.ClusterSpec{Cores: 1}, smallPools)
			p.apply(nodes...)
		}},
		{"the list has changed", func(p *policed) {
			_, nodes := p.start(cloud.ClusterSpec{Cores: 1}, smallPools)
			p.apply(nodes...)
			nodes[1].Config.Pools.Core = addrs("10.0.1.24", "10.0.1.25")
			p.apply(nodes...)
		}},
		{"a node with an address of its own", func(p *policed) {
			_, nodes := p.start(cloud.ClusterSpec{Cores: 1}, smallPools)
			if err := p.Take(p.t.Context(), nodes[1].Node, addrs("10.0.1.28")[0]); err != nil {
				p.t.Fatal(err)
			}
			time.Sleep(time.Minute) // long enough for IMDS to list it
			p.plan(nodes...)
			p.apply(nodes...)
		}},
		{"the ledger was lost", func(p *policed) {
			_, nodes := p.start(cloud.ClusterSpec{Cores: 1}, smallPools)
			p.apply(nodes...)
			for _, a := range addrs("10.0.1.20", "10.0.1.21", "10.0.1.22") {
				if err := p.Delete(p.t.Context(), Parameter(p.prefix, p.subnet, a)); err != nil {
					p.t.Fatal(err)
				}
			}
			p.apply(nodes...)
		}},
		{"a failure that --on-error continue suppresses, and the run that mends it", func(p *policed) {
			stranger, err := p.Cloud.RunInstance(cloud.InstanceSpec{Subnet: p.subnet, Secondary: addrs("10.0.1.20")})
			if err != nil {
				p.t.Fatal(err)
			}
			_, nodes := p.start(cloud.ClusterSpec{}, smallPools)
			if o := nodes[0].Apply(p.t.Context(), Kill{}); o.Err != nil { // a stranger has its only address
				p.run("suppress", func(n *Node) Outcome {
					return n.run(p.t.Context(), Kill{}, func(ctx context.Context, cfg agent.Config, env agent.Environment) (agent.Report, error) {
						s := agent.Suppress(ctx, cfg, env, agent.Failed{Code: exitCode(o.Err), Err: o.Err})
						return agent.Report{Warnings: s.Problems}, nil
					})
				}, nodes...)
			}
			p.Cloud.TerminateNow(stranger.InstanceID)
			p.apply(nodes...)
		}},
		{"the account as it is on a bad day", func(p *policed) {
			_, nodes := p.start(cloud.ClusterSpec{Masters: 3, Cores: 3}, large)
			p.apply(nodes...)
		}},
	}
}
