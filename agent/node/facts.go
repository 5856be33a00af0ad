// Package node is what a run knows of its node, and how it reaches AWS and the node's kernel.
package node

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// Facts are what a run finds out about its node. Each of them is fixed once it was found.
type Facts struct {
	ID      ec2.Identity
	Files   emr.Files
	Cluster string // may be empty
	Role    emr.Decision
	Link    string // name of the primary interface
	Plain   bool   // the list is for instances outside EMR

	// Gateways are the networks of S3 and DynamoDB, as EC2 named them at GatewaysAt.
	Gateways   []netip.Prefix
	GatewaysAt time.Time
}

// Remembered returns who the node was by the state file: what a restore needs of it.
func Remembered(s state.State) ec2.Identity {
	mac, err := net.ParseMAC(s.MAC)
	if err != nil {
		mac = nil // files of old versions have none
	}
	return ec2.Identity{InstanceID: s.InstanceID, MAC: mac, ENI: s.ENI, SubnetID: s.SubnetID, VPC: s.VPC, PrimaryIP: s.Primary}
}

// ReadFiles reads EMR's files below root. If they do not name the cluster, the last run's is taken.
func (f *Facts) ReadFiles(root string, last state.State) {
	f.Files = emr.ReadFiles(root)
	if f.Cluster, _ = f.Files.ClusterID(); f.Cluster == "" {
		f.Cluster = last.ClusterID
	}
}

// Self returns this node as the claim protocol knows it.
func (f Facts) Self() ssmcoord.Self {
	return ssmcoord.Self{Instance: f.ID.InstanceID, ENI: f.ID.ENI, Cluster: f.Cluster, Role: string(f.Role.Role)}
}

// Place returns where the node's ledger is, for the statements of policies.
func (f Facts) Place(prefix string) iam.Place {
	return iam.Place{Region: f.ID.Region, Subnet: f.ID.SubnetID, Prefix: prefix, Plain: f.Plain}
}

// Wanted returns the wanted state of the kernel. static is the zero Addr if the node has no static
// IP; former are those that it must not keep.
func (f Facts) Wanted(s state.Settings, static netip.Addr, former []netip.Addr) netcfg.Config {
	exclude := s.Exclude
	if WantsGateways(s) && len(f.Gateways) > 0 {
		exclude = Sorted(slices.Concat(exclude, f.Gateways))
	}
	return netcfg.Config{
		MAC: f.ID.MAC, Primary: f.ID.PrimaryIP, Static: static, Former: former, VPC: f.ID.VPC,
		Scope: netcfg.Scope(s.Scope), Only: s.Only, Exclude: exclude,
	}
}

// WantsGateways reports whether the rules need the networks of S3 and DynamoDB. Through a gateway
// endpoint they see the node's own address, and AWS's sample bucket policies compare that with the
// primary IP:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
func WantsGateways(s state.Settings) bool {
	return netcfg.Scope(s.Scope) == netcfg.ScopeExternal && len(s.Only) == 0
}

// Sorted returns a list of networks in a fixed order, each once: IMDS promises none.
func Sorted(list []netip.Prefix) []netip.Prefix {
	list = slices.Clone(list)
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}
