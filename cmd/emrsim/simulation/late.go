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

// latest is how late a call may take effect after its caller gave up.
const latest = 15 * time.Second

// lateEffects returns a fault hook that makes up to 70 % of the changes take effect only after the
// caller has given up. The other calls get the faults of others.
//
// A late change may hit a state that it was not meant for. A late deletion may remove the record of
// the address's next owner, and a late unassignment may remove an address that the node has got
// again. EC2 still decides who has an address, so no two nodes use the same one, and a node's next
// run repairs the rest. These launches check this. They do not check who may own which record (see
// checkRecordOwners).
func (l *Launch) lateEffects(others func(cloud.Call) cloud.FaultAction) func(cloud.Call) cloud.FaultAction {
	share := l.rng.Float64() * 0.7
	return func(c cloud.Call) cloud.FaultAction {
		if r := rand.New(rand.NewPCG(c.Seed, 0x1a7e)); c.Caller != "" && changes(c.Action) && !l.calm.Load() && r.Float64() < share {
			return cloud.FaultAction{Kind: cloud.FaultLate, Late: time.Duration(r.Float64() * float64(latest)), Then: l.step}
		}
		return others(c)
	}
}

// changes reports whether an action changes state that the nodes share.
func changes(action string) bool {
	switch action {
	case "PutParameter", "DeleteParameter", "AssignPrivateIpAddresses", "UnassignPrivateIpAddresses":
		return true
	}
	return false
}

// tookLate reports whether the node has removed the address from its own interface by a release
// that took effect after a later run. A run cannot foresee such a change; restore notices that the
// address is gone. If another interface has the address, the node must not use it even then, and
// tookLate returns false.
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

// again runs the agent once more on every node. It may find work: a late effect, or a record that
// Parameter Store lost.
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
