package agent

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// save writes the state file, unless it says the same already.
func (r *run) save(phase Phase, static netip.Addr, former, intents []netip.Addr) error {
	// The static IP itself is known by its own field.
	intents = slices.DeleteFunc(slices.Clone(intents), func(a netip.Addr) bool { return a == static })
	s := State{
		Version: StateVersion, Tool: Version(), Written: time.Now().UTC(), Phase: phase,
		InstanceID: r.id.InstanceID, ClusterID: r.cluster, Role: r.role.Role, SubnetID: r.id.SubnetID, ENI: r.id.ENI, MAC: r.id.MAC.String(),
		Link: r.rep.Link, Backend: r.rep.Backend, Primary: r.id.PrimaryIP, Static: static,
		VPC: sorted(r.id.VPC), Former: slices.Clip(former), Intents: slices.Clip(intents),
		RecordDue: r.recordDue, Named: r.named, Gateways: r.gateways, GatewaysKnown: r.gatewaysKnown, Settings: r.cfg.Settings(),
	}
	if s.Link == "" {
		s.Link = r.state.Link
	}
	same := s
	same.Written, same.Tool = r.state.Written, r.state.Tool
	if phase == PhaseAttached && r.state.Phase == PhaseProgrammed && r.state.Static == static {
		same.Phase = PhaseProgrammed // a rerun does not step back
	}
	if r.hasState && reflect.DeepEqual(normal(same), normal(r.state)) {
		return nil
	}
	return r.store(s)
}

// store writes the state file.
func (r *run) store(s State) error {
	if err := saveState(r.dir, s, r.env.SaveState); err != nil {
		return stateDirError(r.dir, err)
	}
	r.state, r.hasState = s, true
	return nil
}

// normal makes states comparable: an empty list is no list.
func normal(s State) State {
	for _, list := range []*[]netip.Addr{&s.Former, &s.Intents, &s.Settings.Pools.Master, &s.Settings.Pools.Core, &s.Settings.Pools.Task} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	for _, list := range []*[]netip.Prefix{&s.VPC, &s.Gateways, &s.Settings.Only, &s.Settings.Exclude} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	return s
}

// prefixChanged reports whether this node has addresses in the ledger of another prefix, and which.
func (r *run) prefixChanged() (bool, string) {
	former := r.state.Settings.Prefix
	return r.hasState && len(r.touched()) > 0 && former != "" && former != r.cfg.Prefix, former
}

// checkPrefix refuses a run under another prefix while this node has an address in that ledger.
func (r *run) checkPrefix() error {
	changed, former := r.prefixChanged()
	if !changed {
		return nil
	}
	return coded(ExitUsage, fmt.Errorf("--prefix %s: this node has its address in the ledger %s", quoted(r.cfg.Prefix), quoted(former)),
		"emr-static-ip release first, then run this again")
}
