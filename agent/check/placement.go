package check

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// Placement is a list of addresses as seen from a node's subnet.
type Placement struct {
	pool.Placement
	id ec2.Identity
}

// Placed returns the pools as seen from the node's subnet.
func Placed(p pool.Pools, id ec2.Identity) Placement { return Placement{p.In(id.Subnet, id.VPC), id} }

// Notes returns a note on the addresses for other subnets.
func (at Placement) Notes() []string {
	var all []netip.Addr
	for _, p := range at.Others.Named() {
		all = append(all, p.Addrs...)
	}
	if len(all) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s for nodes in other subnets of the VPC: %s (this node's subnet is %s)",
		text.Count(len(all), "address of the list is", "addresses of the list are"), pool.Spans(all), at.Subnet())}
}

// Missing returns a problem if the node's role has no address in this subnet. It returns a warning
// for each other role that has none: its nodes here will be refused.
func (at Placement) Missing(r emr.Role) (warnings []string, problem error) {
	for _, p := range at.Others.Named() {
		role := p.Role
		if len(p.Addrs) == 0 || len(at.Own.For(role)) > 0 || len(at.Outside.For(role)) > 0 {
			continue
		}
		if role == r {
			problem = fmt.Errorf("no %s address is in this node's subnet %s: the list has them in other subnets only (%s)", p.What, at.Subnet(), pool.Spans(p.Addrs))
			continue
		}
		warnings = append(warnings, fmt.Sprintf("no %s address is in this node's subnet %s: %s nodes here get none", p.What, at.Subnet(), p.What))
	}
	return warnings, problem
}

// Needed says what a list without an address for this role and subnet lacks.
func (at Placement) Needed(r emr.Role, files emr.Files) string {
	many := "an address of " + at.id.Subnet.String() + " for each node"
	if r != emr.None {
		many = strings.TrimSuffix(many, "node") + strings.ToLower(string(r)) + " node"
	}
	n, from := files.Requested(r)
	if r == emr.Master {
		n, from = files.Masters()
	}
	if from != "" && n > 0 {
		many += fmt.Sprintf(" (%d in this cluster)", n)
	}
	return "name " + many + ", or launch the cluster in a subnet of which the list has addresses"
}

// Subnet names the node's subnet in messages.
func (at Placement) Subnet() string {
	return fmt.Sprintf("%s (%s)", at.id.Subnet, text.Clean(at.id.SubnetID, text.MaxQuoted))
}

// VPC lists the VPC's networks in messages.
func (at Placement) VPC() string {
	var texts []string
	for _, p := range at.id.VPC {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ", ")
}
