package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	cloudiam "github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// A ClusterSpec describes the EMR cluster to launch in the cloud model and to build in the lab, or
// the instances outside EMR.
type ClusterSpec struct {
	Account      cloud.Options // quotas, latency, staleness; the zero value is fast and unlimited
	Subnet       netip.Prefix  // default 10.0.1.0/24
	Shape        Shape         // several subnets, public or shared ones
	Release      string        // default cloud.DefaultRelease
	InstanceType string        // default m5.xlarge
	Masters      int           // default 1
	Cores        int
	Tasks        int
	Fleets       bool            // instance fleets instead of instance groups
	Plain        int             // instances outside EMR instead of a cluster
	Group        string          // their Auto Scaling group; empty: none
	NameTag      string          // Name tag of all instances; empty: none
	Args         []string        // arguments of the bootstrap action, as EMR's files show them
	Files        cloud.FileStyle // which of EMR's files the nodes have

	// EMRFiles returns EMR's files of a node in place of the model's, or nil for a node that has
	// those. nil: all nodes have the model's.
	EMRFiles func(*cloud.Node) map[string][]byte
	// EMRFilesFrom says for people which nodes these are.
	EMRFilesFrom []string

	// Policies are the IAM policies of the instance profile, as documents with the placeholders of
	// package iam. Launch fills in the cluster's place. They decide about all calls of nodes.
	// Without policies everything is allowed.
	Policies []string
	// Prefix is the ledger's prefix in Parameter Store, for the policies. Empty means the default.
	Prefix string

	// Static are the static IPs. A reservation in the subnet keeps them from new instances. Without
	// it, a new instance may get one of them as its primary IP.
	Static []netip.Addr
	// Kept are further addresses that are kept from new instances, such as those of later clusters.
	Kept []netip.Addr
	// Admitted are the addresses that the firewall admits. nil: Static.
	Admitted []netip.Addr

	Iptables        Iptables      // as in Spec
	IMDSDelay       time.Duration // as in Spec
	EndpointBlocked bool          // as in Spec
	Progress        func(Event)   // as in Spec
	Observer        Observer      // as in Spec
}

// A Cluster is a lab whose nodes are an EMR cluster of the cloud model.
type Cluster struct {
	*Lab
	Cloud    *cloud.Cloud
	ID       string // j-...; empty outside EMR
	SubnetID string
	Reserved []netip.Addr // the addresses inside the subnets that are kept from new instances

	prefix string // of the nodes' names
	files  func(*cloud.Node) map[string][]byte
	plain  cloud.InstanceSpec // of instances outside EMR

	mu    sync.Mutex
	count map[string]int // number of nodes built so far, by role
}

// Launch starts the cluster in the cloud model and builds its nodes. Nothing runs on them yet.
func Launch(ctx context.Context, spec ClusterSpec) (*Cluster, error) {
	if !spec.Subnet.IsValid() {
		spec.Subnet = netip.MustParsePrefix("10.0.1.0/24")
	}
	if spec.Release == "" {
		spec.Release = cloud.DefaultRelease
	}
	plan, err := spec.Shape.plan(spec.Subnet)
	if err != nil {
		return nil, err
	}
	var policies cloudiam.Policies
	if len(spec.Policies) > 0 {
		own := spec.Account.Authorize
		spec.Account.Authorize = func(r cloud.AccessRequest) error {
			if own != nil {
				if err := own(r); err != nil {
					return err
				}
			}
			return policies.OnInstances(r)
		}
	}
	account := cloud.New(spec.Account)
	subnets, err := spec.Shape.network(account, plan)
	if err != nil {
		return nil, err
	}
	at := iam.Place{Region: account.Region(), Account: account.Account(), Subnet: strings.Join(subnets, ","), Prefix: spec.Prefix}
	for _, document := range spec.Policies {
		policy, err := cloudiam.ParsePolicy([]byte(at.Fill(document)))
		if err != nil {
			return nil, err
		}
		policies = append(policies, policy)
	}
	var reserved []netip.Addr
	for _, a := range slices.Concat(spec.Static, spec.Kept) {
		if slices.Contains(reserved, a) {
			continue
		}
		if i := slices.IndexFunc(plan.Subnets, func(p netip.Prefix) bool { return p.Contains(a) }); i >= 0 {
			account.ReserveCIDR(subnets[i], netip.PrefixFrom(a, 32), "explicit")
			reserved = append(reserved, a)
		}
	}
	if spec.Admitted == nil {
		spec.Admitted = spec.Static
	}
	c := &Cluster{Cloud: account, Reserved: reserved, files: spec.filesOf, count: map[string]int{}}
	launched, err := c.launch(spec, subnets)
	if err != nil {
		return nil, err
	}
	c.SubnetID = launched[0].SubnetID
	account.Equip(launched[0].VPCID, !spec.EndpointBlocked, policies)
	plan.launchedIn(launched[0].Subnet)
	var nodes []NodeSpec
	for _, n := range launched {
		nodes = append(nodes, c.nodeSpec(n, n.Role == cloud.RoleMaster && spec.Masters <= 1))
	}
	c.Lab, err = Build(ctx, Spec{
		Fabric: cloudFabric{account}, Plan: plan, Release: spec.Release, Nodes: nodes, Admitted: spec.Admitted, Iptables: spec.Iptables,
		IMDSDelay: spec.IMDSDelay, EndpointBlocked: spec.EndpointBlocked, Progress: spec.Progress, Observer: spec.Observer, S3: account.S3Handler(),
	})
	if err != nil {
		return nil, fmt.Errorf("building cluster %s: %w", c.ID, err)
	}
	return c, nil
}

// filesOf returns EMR's files of a node.
func (s ClusterSpec) filesOf(n *cloud.Node) map[string][]byte {
	if s.EMRFiles != nil {
		if files := s.EMRFiles(n); files != nil {
			return files
		}
	}
	return n.EMRFiles(s.Files)
}

// launch starts the instances in the model: a cluster, or instances outside EMR.
func (c *Cluster) launch(spec ClusterSpec, subnets []string) ([]*cloud.Node, error) {
	if spec.Plain == 0 {
		launched, err := c.Cloud.LaunchCluster(cloud.ClusterSpec{
			Name: "rehearsal", Subnets: subnets, Subnet: spec.Shape.pick(subnets), ReleaseLabel: spec.Release, InstanceType: spec.InstanceType,
			Masters: spec.Masters, Cores: spec.Cores, Tasks: spec.Tasks, Fleets: spec.Fleets, NameTag: spec.NameTag,
			Args: spec.Args, SecondENIOnMaster: true,
		})
		if err != nil {
			return nil, err
		}
		c.ID = launched.ID
		return launched.Nodes, nil
	}
	c.plain = cloud.InstanceSpec{Subnet: subnets[0], InstanceType: spec.InstanceType, Name: spec.NameTag}
	if spec.Group != "" {
		c.plain.Tags = map[string]string{"aws:autoscaling:groupName": spec.Group}
	}
	var nodes []*cloud.Node
	for range spec.Plain {
		n, err := c.Cloud.RunInstance(c.plain)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// nodeSpec returns the spec of an instance. Its name depends on the role: master, or master-1,
// core-1, core-2, ..., and node-1 outside EMR.
func (c *Cluster) nodeSpec(n *cloud.Node, alone bool) NodeSpec {
	c.mu.Lock()
	c.count[n.Role]++
	name := fmt.Sprintf("%s%s-%d", c.prefix, cmp.Or(strings.ToLower(n.Role), "node"), c.count[n.Role])
	c.mu.Unlock()
	if alone {
		name = c.prefix + strings.ToLower(n.Role)
	}
	spec := NodeSpec{
		Name: name, Role: n.Role, Instance: n.InstanceID,
		Primary: Port{ENI: n.ENI, MAC: n.MAC, Address: n.PrimaryIP},
	}
	if n.Role != "" {
		spec.Files = c.files(n)
	}
	if s := n.SecondENI; s != nil {
		spec.Second = &Port{ENI: s.ID, MAC: s.MAC, Address: s.PrimaryIP}
	}
	return spec
}

// Grow adds a node of a role, as a resize does. Outside EMR it adds an instance to the group; there
// the role is empty.
func (c *Cluster) Grow(ctx context.Context, role string) (*Node, error) {
	var n *cloud.Node
	var err error
	switch plain := c.ID == ""; {
	case plain != (role == ""):
		return nil, fmt.Errorf("adding a node: %s", map[bool]string{
			true: "outside EMR there are no roles: emrsim add node", false: "a cluster's nodes have roles: emrsim add core, task or master",
		}[plain])
	case plain:
		n, err = c.Cloud.RunInstance(c.plain)
	default:
		n, err = c.Cloud.AddNode(c.ID, role)
	}
	if err != nil {
		return nil, err
	}
	return c.AddNode(ctx, c.nodeSpec(n, false))
}

// Terminate ends an instance. Its processes and its network end at once; EC2 removes the ENI with
// its addresses later.
func (c *Cluster) Terminate(n *Node) {
	c.Cloud.RemoveNode(n.Instance)
	c.RemoveNode(n)
}

// Replace ends one of three masters and starts another on the same primary interface, which keeps
// the static IP if keepStatic is set.
func (c *Cluster) Replace(ctx context.Context, master *Node, keepStatic bool) (*Node, error) {
	n, err := c.Cloud.ReplaceMaster(master.Instance, keepStatic)
	if err != nil {
		return nil, err
	}
	c.RemoveNode(master)
	return c.AddNode(ctx, c.nodeSpec(n, false))
}

// APICalls returns the number of a node's calls to the AWS API so far. It includes repeated calls
// but no calls to IMDS.
func (c *Cluster) APICalls(n *Node) int {
	return len(c.Calls(n))
}

// Calls returns a node's calls to the AWS API so far.
func (c *Cluster) Calls(n *Node) []cloud.Call {
	return slices.DeleteFunc(c.Cloud.Calls(), func(call cloud.Call) bool { return call.Caller != n.Instance || call.Service == "imds" })
}

// Ledger returns the value of the parameter for an address, and false if there is none. Two
// parameters are an error.
func (c *Cluster) Ledger(a netip.Addr) (value string, found bool, err error) {
	for _, p := range c.Cloud.Parameters() {
		if !strings.HasSuffix(p.Name, "/"+c.SubnetID+"/"+a.String()) {
			continue
		}
		if found {
			return "", false, errors.New("two parameters for " + a.String())
		}
		value, found = p.Value, true
	}
	return value, found, nil
}

// NameTag returns the Name tag of a node's instance.
func (c *Cluster) NameTag(n *Node) string {
	for _, i := range c.Cloud.Instances() {
		if i.InstanceID == n.Instance {
			return i.Tags["Name"]
		}
	}
	return ""
}

// cloudFabric shows the lab the true state of EC2, not the state that describe calls show.
type cloudFabric struct{ cloud *cloud.Cloud }

func (f cloudFabric) Interfaces() []Interface {
	var out []Interface
	for _, e := range f.cloud.ENIs() {
		out = append(out, Interface{ID: e.ID, Addresses: e.Addresses})
	}
	return out
}

func (f cloudFabric) API() http.Handler { return f.cloud.Handler() }

func (f cloudFabric) IMDS(instance string) http.Handler { return f.cloud.IMDSHandler(instance) }
