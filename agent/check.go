package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// reservedAddresses is how many addresses at the beginning of a subnet AWS keeps for itself (network, router, DNS, future use);
// the last one, the broadcast address, is the fifth.
const reservedAddresses = 4

// LeftAlone tells whether a node of this role is to be left as it is, and why: a task node for which no pool is named, and a core node
// where the master alone is to have an address.
func LeftAlone(p Pools, r Role) (bool, string) {
	if r == RoleTask && len(p.Task) == 0 {
		return true, "this is a task node, and no addresses are named for task nodes (--task-ips): it keeps its primary IP only"
	}
	if r == RoleCore && p.MasterOnly {
		return true, "this is a core node, and the arguments have the form MASTER_IP REGION, for the master alone: it keeps its primary IP only"
	}
	return false, ""
}

// CheckPools checks the pools against the subnet and the cluster, before anything is changed. The error names every problem at once
// and has exit code 2.
//
//   - every address, of all roles, is inside the subnet, not kept by AWS, not the node's primary IP, and named once;
//   - the node's role has a pool;
//   - the core pool has an address for each core node that the cluster was asked to have, the master pool for each master. Other
//     roles' pools are counted only where they were named, so that an operator can run one node again by its own pool alone.
func CheckPools(p Pools, r Role, id Identity, files emr.Files) error {
	var problems []error
	if p.Empty() {
		problems = append(problems, errors.New("Insufficient arguments: no static IPs are named, and no earlier run on this node named any"))
		return exit.Invalid(errors.Join(problems...), "give the addresses: emr-static-ip MASTER_IP CORE_IP...")
	}
	problems = append(problems, checkAddresses(p, id)...)
	problems = append(problems, CheckCounts(p, r, files)...)
	return exit.Invalid(errors.Join(problems...), "correct the list of addresses")
}

func checkAddresses(p Pools, id Identity) []error {
	var problems []error
	first := map[netip.Addr]string{}
	for _, pool := range p.Named() {
		var outside, kept []netip.Addr
		for _, a := range pool.Addrs {
			switch {
			case !id.Subnet.Contains(a):
				outside = append(outside, a)
			case Reserved(id.Subnet, a):
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
		if len(outside) > 0 {
			problems = append(problems, fmt.Errorf("%s %s not in this node's subnet %s (%s)",
				pool.What, several(outside), id.Subnet, text.Clean(id.SubnetID, text.MaxQuoted)))
		}
		if len(kept) > 0 {
			problems = append(problems, fmt.Errorf("%s %s reserved by AWS: the first four and the last of subnet %s (%s)",
				pool.What, several(kept), id.Subnet, text.Clean(id.SubnetID, text.MaxQuoted)))
		}
	}
	return text.Limit(problems)
}

// several is "address 10.0.1.1 is", "addresses 10.0.1.1, 10.0.1.2 are", with the first ten spelled out.
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

// CheckCounts checks that the node's role has a pool, and that there are as many addresses as EMR's
// files say that nodes were asked for. It returns every problem.
func CheckCounts(p Pools, r Role, files emr.Files) []error {
	var problems []error
	insufficient := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("Insufficient arguments: "+format, args...))
	}
	masters, mastersFrom := files.Masters()
	switch {
	case r == RoleMaster && len(p.Master) == 0:
		insufficient("this is a master node, and no address is named for it (--master-ips, or the first of the list)")
	case len(p.Master) > 0 && len(p.Master) < masters:
		insufficient("%s for the master, but %s says that the cluster has %d masters (name %d with --master-ips)",
			text.Count(len(p.Master), "address", "addresses"), mastersFrom, masters, masters)
	}
	cores, coresFrom := files.Requested(RoleCore)
	switch {
	case p.MasterOnly:
	case r == RoleCore && len(p.Core) == 0:
		insufficient("this is a core node, and no address is named for core nodes%s", requested(cores, coresFrom))
	case (r == RoleMaster || len(p.Core) > 0) && len(p.Core) < cores:
		insufficient("%s for core nodes, but %s says that %d are requested", text.Count(len(p.Core), "address", "addresses"), coresFrom, cores)
	}
	return problems
}

func requested(n int, from string) string {
	if from == "" {
		return ""
	}
	return fmt.Sprintf(" (0 addresses; %s says that %d are requested)", from, n)
}

// CheckRoom checks that the ENI can take one more address. limit is how many its instance type allows, the primary one included
// (0: not known, then there is nothing to check); present are the addresses that it has. An ENI that has an address of the pool
// already needs no more.
func CheckRoom(id Identity, limit int, present, pool []netip.Addr) error {
	if limit <= 0 || len(present) < limit || slices.ContainsFunc(present, func(a netip.Addr) bool { return slices.Contains(pool, a) }) {
		return nil
	}
	return exit.Invalid(fmt.Errorf("network interface %s has %s, and %s allows %d on an interface: there is no room for a static IP",
		id.ENI, text.Count(len(present), "address", "addresses"), id.InstanceType, limit),
		"unassign a secondary address that nobody needs, or use a larger instance type")
}

// CheckRegion checks the region of the form MASTER_IP REGION against the node's.
func CheckRegion(region string, id Identity) error {
	if region == "" || region == id.Region {
		return nil
	}
	return exit.Invalid(fmt.Errorf("the arguments name the region %s, and this node is in %s: the list is perhaps another cluster's", region, text.Quote(id.Region)),
		"give the addresses for this region and name it; or leave the region out and use --master-ips")
}
