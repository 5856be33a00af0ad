package pool

import (
	"net/netip"
	"slices"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
)

// Placement divides pools by where their addresses are, as seen from one subnet. An instance fleet
// may be launched in any of several subnets, and all its nodes get the same list.
// https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-instance-fleet.html
type Placement struct {
	Own     Pools // in the subnet; MasterOnly is as in the list
	Others  Pools // elsewhere in the VPC: for nodes in its other subnets
	Outside Pools // in no network of the VPC
}

// In divides the pools as seen from a subnet of a VPC. The order of addresses stays.
func (p Pools) In(subnet netip.Prefix, vpc []netip.Prefix) Placement {
	at := Placement{Own: Pools{MasterOnly: p.MasterOnly}}
	for _, role := range []emr.Role{emr.Master, emr.Core, emr.Task, emr.None} {
		for _, a := range p.For(role) {
			into := &at.Outside
			switch {
			case subnet.Contains(a):
				into = &at.Own
			case slices.ContainsFunc(vpc, func(n netip.Prefix) bool { return n.Contains(a) }):
				into = &at.Others
			}
			list := into.list(role)
			*list = append(*list, a)
		}
	}
	return at
}

func (p *Pools) list(r emr.Role) *[]netip.Addr {
	switch r {
	case emr.Master:
		return &p.Master
	case emr.Core:
		return &p.Core
	case emr.Task:
		return &p.Task
	}
	return &p.Any
}
