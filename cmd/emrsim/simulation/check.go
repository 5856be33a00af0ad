package simulation

import (
	"context"
	"errors"
	"slices"

	"github.com/emr-static-ip/emr-static-ip/agent"
	clustercheck "github.com/emr-static-ip/emr-static-ip/agent/cluster"
)

// checkClusters runs cluster check on a node of each cluster, and compares its verdict on every
// node with the node's kernel. All must be quiet.
func (l *Launch) checkClusters(ctx context.Context) {
	clusters := map[string][]*Node{}
	var ids []string
	for _, n := range l.w.living() {
		if n.ClusterID != "" && !slices.Contains(ids, n.ClusterID) {
			ids = append(ids, n.ClusterID)
		}
		clusters[n.ClusterID] = append(clusters[n.ClusterID], n)
	}
	for _, id := range ids {
		nodes := clusters[id]
		cfg := agent.DefaultConfig()
		cfg.Cluster, cfg.Pools, cfg.IMDSTimeout = id, l.pools, agent.DefaultIMDSTimeout
		env := agent.Environment{HTTP: staggered{l.w.Transport(nodes[0].InstanceID)}, Rand: stream(hash(id), 0), LookupEnv: func(string) (string, bool) { return "", false }}
		r, err := clustercheck.Check(ctx, cfg, env, func([]string) (agent.Config, error) { return agent.Config{}, errors.New("the list is given") })
		if err != nil {
			l.w.violate("cluster check: %v", err)
			continue
		}
		seen := map[string]clustercheck.Node{}
		for _, n := range r.Nodes {
			seen[n.Instance] = n
		}
		for _, n := range nodes {
			used, got := n.Kernel.Uses(n.primaries()...), seen[n.InstanceID]
			switch {
			case len(used) == 1 && (got.State != clustercheck.OK || got.Static != used[0].String()):
				l.w.violate("cluster check: %s uses %v, and is said to be %q with %q: %s", n.InstanceID, used, got.State, got.Static, got.Reason)
			case len(used) == 0 && (got.State == clustercheck.OK || r.Complete && got.Expected):
				l.w.violate("cluster check: %s uses no address, and is said to be %q with %q", n.InstanceID, got.State, got.Static)
			}
		}
		l.Stats.Checked++
	}
}
