// Package check has the checks of a list of addresses against a node, before anything is changed:
// does it fit the subnet, the VPC, the cluster and the network interface? The checks are pure.
package check

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// reservedAddresses is the number of addresses that AWS reserves at the beginning of a subnet:
// network, router, DNS, future use. AWS also reserves the last one, the broadcast address.
// https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
const reservedAddresses = 4

// LeftAlone reports whether a node of this role gets no static IP, and returns why: a task node
// without a pool, or a core node if only the master is to have an address.
func LeftAlone(p pool.Pools, r emr.Role) (bool, string) {
	if r == emr.Task && len(p.Task) == 0 {
		return true, "this is a task node, and no addresses are named for task nodes (--task-ips): it keeps its primary IP only"
	}
	if r == emr.Core && p.MasterOnly {
		return true, "this is a core node, and the arguments have the form MASTER_IP REGION, for the master alone: it keeps its primary IP only"
	}
	return false, ""
}

// Fit is what a list of addresses means for one node.
type Fit struct {
	Own      pool.Pools // the addresses for nodes of this subnet
	Notes    []string   // about addresses for other subnets
	Warnings []string   // counts that are too small, where that is no reason to refuse the list
}

// Pools checks the pools against the subnet and the cluster, before anything is changed. The
// error names every problem at once and has exit code 2.
//
//   - every address, of all roles, is inside the VPC and named once; one of this subnet is neither
//     reserved by AWS nor the node's primary IP;
//   - the node's role has an address in this subnet;
//   - the core pool has an address in this subnet for each core node that the cluster was asked to
//     have, the master pool for each master. Other roles' pools are counted only where they were
//     named, so that an operator can run one node again by its own pool alone.
//
// Addresses in other subnets of the VPC are for the nodes there: see pool.Placement. A count is a
// warning and no problem if has is set, which means that the node has its address already, or if
// EMR's files only suggest the count.
func Pools(p pool.Pools, r emr.Role, id ec2.Identity, files emr.Files, has bool) (Fit, error) {
	if p.Empty() {
		err := errors.New("Insufficient arguments: no static IPs are named, and no earlier run on this node named any")
		return Fit{}, exit.Invalid(err, "give the addresses: emr-static-ip MASTER_IP CORE_IP...; outside EMR emr-static-ip --ips IPS")
	}
	at := Placed(p, id)
	fit := Fit{Own: at.Own, Notes: at.Notes()}
	problems := checkAddresses(p, at, id)
	elsewhere, missing := at.Missing(r)
	if missing != nil {
		problems = append(problems, missing)
	}
	fit.Warnings = append(fit.Warnings, elsewhere...)
	counts, hints := Counts(p, at.Own, r, files, has)
	fit.Warnings = append(fit.Warnings, hints...)
	remedy := "correct the list of addresses"
	switch {
	case missing != nil:
		remedy = at.Needed(r, files)
	case len(problems) == 0:
		remedy = MoreAddresses
	}
	return fit, exit.Invalid(errors.Join(append(problems, counts...)...), remedy)
}

func checkAddresses(p pool.Pools, at Placement, id ec2.Identity) []error {
	var problems []error
	first := map[netip.Addr]string{}
	for _, pool := range p.Named() {
		var kept []netip.Addr
		for _, a := range pool.Addrs {
			switch {
			case id.Subnet.Contains(a) && Reserved(id.Subnet, a):
				kept = append(kept, a)
			case a == id.PrimaryIP:
				problems = append(problems, fmt.Errorf("%s address %s is this node's primary IP, which EC2 gave it at launch: "+
					"a static IP must be another one", pool.What, a))
			}
			if other, twice := first[a]; twice {
				problems = append(problems, fmt.Errorf("%s address %s is named twice (also as %s)", pool.What, a, other))
			} else {
				first[a] = pool.What
			}
		}
		if outside := at.Outside.For(pool.Role); len(outside) > 0 {
			problems = append(problems, fmt.Errorf("%s %s outside the VPC (%s): this node's subnet is %s",
				pool.What, several(outside), at.VPC(), at.Subnet()))
		}
		if len(kept) > 0 {
			problems = append(problems, fmt.Errorf("%s %s reserved by AWS: the first four and the last of subnet %s", pool.What, several(kept), at.Subnet()))
		}
	}
	return text.Limit(problems)
}

// several returns "address 10.0.1.1 is" or "addresses 10.0.1.1, 10.0.1.2 are". It names the first
// ten addresses.
func several(addrs []netip.Addr) string {
	const most = 10
	if len(addrs) == 1 {
		return fmt.Sprintf("address %s is", addrs[0])
	}
	text := "addresses "
	for i, a := range addrs[:min(len(addrs), most)] {
		if i > 0 {
			text += ", "
		}
		text += a.String()
	}
	if more := len(addrs) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text + " are"
}

// Reserved reports whether AWS keeps a for itself in the subnet. Every subnet is at least a /28.
func Reserved(subnet netip.Prefix, a netip.Addr) bool {
	begin := pool.Number(subnet.Masked().Addr())
	end := begin + uint32(uint64(1)<<(32-subnet.Bits())-1)
	return pool.Number(a) < begin+reservedAddresses || pool.Number(a) == end
}

// MoreAddresses is what to do about a list that is too short.
const MoreAddresses = "name more addresses of this subnet: one for each node, and spare ones for nodes that come later"

// Counts compares the pools with the counts in EMR's files. named is the whole list, own what
// nodes of this subnet use of it.
func Counts(named, own pool.Pools, r emr.Role, files emr.Files, has bool) (problems []error, warnings []string) {
	insufficient := func(certain bool, format string, args ...any) {
		err := fmt.Errorf("Insufficient arguments: "+format, args...)
		if certain && !has {
			problems = append(problems, err)
			return
		}
		_, text, _ := strings.Cut(err.Error(), ": ")
		warnings = append(warnings, "too few addresses: "+text)
	}
	here := ""
	if len(own.Master)+len(own.Core)+len(own.Task) < len(named.Master)+len(named.Core)+len(named.Task) {
		here = " in this node's subnet"
	}
	masters, mastersFrom := files.Masters()
	switch {
	case r == emr.Master && len(named.Master) == 0:
		insufficient(true, "this is a master node, and no address is named for it (--master-ips, or the first of the list)")
	case len(own.Master) > 0 && len(own.Master) < masters:
		insufficient(files.Certain(mastersFrom), "%s%s for the master, but %s says that the cluster has %d masters (name %d with --master-ips)",
			text.Count(len(own.Master), "address", "addresses"), here, mastersFrom, masters, masters)
	}
	cores, coresFrom := files.Requested(emr.Core)
	switch {
	case named.MasterOnly:
	case r == emr.Core && len(named.Core) == 0:
		insufficient(true, "this is a core node, and no address is named for core nodes%s", requested(cores, coresFrom))
	case r == emr.Core && len(own.Core) == 0: // said of the role
	case (r == emr.Master || len(named.Core) > 0) && len(own.Core) < cores:
		insufficient(files.Certain(coresFrom), "%s%s for core nodes, but %s asks for %d", text.Count(len(own.Core), "address", "addresses"), here, coresFrom, cores)
	}
	return problems, warnings
}

func requested(n int, from string) string {
	if from == "" {
		return ""
	}
	return fmt.Sprintf(" (0 addresses; %s asks for %d)", from, n)
}

// Room checks that the ENI can take one more address. limit is the number of addresses that
// the instance type allows, the primary one included. If limit is 0, it is unknown and CheckRoom
// returns nil. present are the addresses of the ENI. If one of them is in the pool, the ENI needs
// no further address.
func Room(id ec2.Identity, limit int, present, pool []netip.Addr) error {
	if limit <= 0 || len(present) < limit || slices.ContainsFunc(present, func(a netip.Addr) bool { return slices.Contains(pool, a) }) {
		return nil
	}
	return exit.Invalid(fmt.Errorf("network interface %s has %s, and %s allows %d on an interface: there is no room for a static IP",
		id.ENI, text.Count(len(present), "address", "addresses"), id.InstanceType, limit),
		"unassign a secondary address that nobody needs, or use a larger instance type")
}

// Region checks the region of the form MASTER_IP REGION against the node's.
func Region(region string, id ec2.Identity) error {
	if region == "" || region == id.Region {
		return nil
	}
	return exit.Invalid(fmt.Errorf("the arguments name the region %s, and this node is in %s: the list is perhaps another cluster's", region, text.Quote(id.Region)),
		"give the addresses for this region and name it; or leave the region out and use --master-ips")
}
