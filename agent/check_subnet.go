package agent

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// placement is a list of addresses as seen from this node's subnet.
type placement struct{ pool.Placement }

// placed returns the pools as seen from this node's subnet.
func placed(p Pools, id Identity) placement { return placement{p.In(id.Subnet, id.VPC)} }

// ownPools returns the addresses of the pools that nodes of this subnet use.
func (r *run) ownPools() Pools { return placed(r.cfg.Pools, r.id).Own }

// notes tells once of the addresses that are for other subnets.
func (at placement) notes(id Identity) []string {
	var all []netip.Addr
	for _, p := range at.Others.Named() {
		all = append(all, p.Addrs...)
	}
	if len(all) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s for nodes in other subnets of the VPC: %s (this node's subnet is %s)",
		text.Count(len(all), "address of the list is", "addresses of the list are"), spans(all), subnetOf(id))}
}

// missing returns the problem that the node's role has no address in this subnet. Where another
// role has none, it returns a warning: its nodes here will be refused.
func (at placement) missing(r Role, id Identity) (problem error, warnings []string) {
	for _, p := range at.Others.Named() {
		role := roleOf(p.What)
		if len(p.Addrs) == 0 || len(at.Own.For(role)) > 0 || len(at.Outside.For(role)) > 0 {
			continue
		}
		if role == r {
			problem = fmt.Errorf("no %s address is in this node's subnet %s: the list has them in other subnets only (%s)", p.What, subnetOf(id), spans(p.Addrs))
			continue
		}
		warnings = append(warnings, fmt.Sprintf("no %s address is in this node's subnet %s: %s nodes here get none", p.What, subnetOf(id), p.What))
	}
	return problem, warnings
}

// needed says what a list without an address for this role and subnet lacks.
func (at placement) needed(r Role, id Identity, files emr.Files) string {
	what := strings.ToLower(string(r))
	many := "an address of " + id.Subnet.String() + " for each " + what + " node"
	n, from := files.Requested(r)
	if r == RoleMaster {
		n, from = files.Masters()
	}
	if from != "" && n > 0 {
		many += fmt.Sprintf(" (%d in this cluster)", n)
	}
	return "name " + many + ", or launch the cluster in a subnet that the list has addresses of"
}

// roleOf returns the role of a pool's name in messages.
func roleOf(what string) Role { return Role(strings.ToUpper(what)) }

// subnetOf names this node's subnet in messages.
func subnetOf(id Identity) string {
	return fmt.Sprintf("%s (%s)", id.Subnet, text.Clean(id.SubnetID, text.MaxQuoted))
}

// networks lists networks in messages.
func networks(list []netip.Prefix) string {
	var texts []string
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ", ")
}
