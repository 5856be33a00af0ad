package simulation

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// latest is how long after its caller gave up a call may still take effect.
const latest = 15 * time.Second

// lateEffects lets up to seven of ten changes take effect when nobody waits for them any more; the other calls meet the other faults.
//
// What such a change meets is not what it was meant for: a deletion may remove the claim of the address's next owner, and a detachment may take an
// address from a node that has got it again. EC2 still decides who has the address, so that no two nodes use one, and the next run of a node puts things
// right. That is what these launches check; who may claim what is not (see checkClaims).
func (l *Launch) lateEffects(others func(cloud.Call) cloud.FaultAction) func(cloud.Call) cloud.FaultAction {
	share := l.rng.Float64() * 0.7
	return func(c cloud.Call) cloud.FaultAction {
		if r := rand.New(rand.NewPCG(c.Seed, 0x1a7e)); c.Caller != "" && changes(c.Action) && !l.calm.Load() && r.Float64() < share {
			return cloud.FaultAction{Kind: cloud.FaultLate, Late: time.Duration(r.Float64() * float64(latest)), Then: l.step}
		}
		return others(c)
	}
}

// changes tells whether an action changes what the nodes agree on.
func changes(action string) bool {
	switch action {
	case "PutParameter", "DeleteParameter", "AssignPrivateIpAddresses", "UnassignPrivateIpAddresses":
		return true
	}
	return false
}

// tookLate tells whether the node itself took the address from its interface, by a release that took effect after it had been followed by another run. No
// run can know of such a change to come; restore finds that the address is gone. While another interface has the address it must not be in use all the same.
func (w *World) tookLate(n *Node, a netip.Addr) bool {
	if !w.Late || len(w.Cloud.Holders(n.SubnetID, a)) > 0 {
		return false
	}
	calls := w.Cloud.Calls()
	for _, c := range slices.Backward(calls) {
		if c.Applied && c.Action == "UnassignPrivateIpAddresses" && c.Caller == n.InstanceID && slices.Contains(strings.Fields(c.Params), a.String()) {
			return c.Fault == cloud.FaultLate
		}
	}
	return false
}

// again runs the agent once more on every node, which may find something to put right: an effect that
// came late, or a record that Parameter Store lost.
func (l *Launch) again(ctx context.Context) {
	for _, n := range l.w.living() {
		o := n.Apply(ctx, Kill{})
		l.Stats.Runs++
		if o.Err != nil {
			l.w.violate("rerun: %s: %v", n.InstanceID, o.Err)
		}
		if len(o.Report.Changes) > 0 {
			l.Stats.PutRight++
		}
	}
}
