package simulation

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	cloudiam "github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
	tags "github.com/emr-static-ip/emr-static-ip/internal/tag"
)

// TestSwitches checks that a cluster's life is the same under each answer that AWS may give where
// no source says which one it gives: a launch, reruns, a reboot, a lost state file, a node that is
// replaced, and releases. Strangers hold addresses of the list. The nodes have the shipped policy.
func TestSwitches(t *testing.T) {
	for _, s := range cloud.Switches() {
		if len(s.Positions) < 2 {
			t.Errorf("%s has only one position", s.Fact)
		}
		for _, p := range s.Positions {
			t.Run(s.Fact+"/"+p.Name, func(t *testing.T) {
				t.Parallel()
				underSwitch(t, p)
			})
		}
	}
}

func underSwitch(t *testing.T, p cloud.Position) {
	var o cloud.Options
	if p.Options != nil {
		p.Options(&o)
	}
	var policies cloudiam.Policies
	o.Authorize = func(r cloud.AccessRequest) error { return policies.OnInstances(r) }
	inBubble(t, o, func(t *testing.T, c *cluster) {
		place := iam.Place{Region: "us-east-1", Account: "123456789012", Subnet: c.subnet, Prefix: agent.DefaultPrefix}
		forTags, err := cloudiam.ParsePolicy([]byte(place.Policy(iam.ClaimTags)))
		if err != nil {
			t.Fatal(err)
		}
		policies = cloudiam.Policies{shipped(t, place, p.Without), forTags}
		l := switched{cluster: c, p: p, pools: agent.Pools{
			Master: addrs("10.0.1.64", "10.0.1.65", "10.0.1.66"),
			Core:   addrs("10.0.1.70", "10.0.1.71", "10.0.1.72", "10.0.1.73", "10.0.1.74", "10.0.1.75"),
		}}
		l.live()
	})
}

// switched is the life of a cluster under one position of a switch.
type switched struct {
	*cluster
	p     cloud.Position
	pools agent.Pools
}

func (l *switched) live() {
	t := l.t
	if l.p.Subnet != nil {
		l.p.Subnet(l.Cloud, l.vpc(), l.subnet, l.pools.Core)
	}
	foreign := map[netip.Addr]bool{}
	for i, spec := range []cloud.InstanceSpec{{Secondary: l.pools.Core[2:3]}, {PrimaryIP: l.pools.Core[3]}} {
		spec.Subnet = l.subnet
		if _, err := l.Cloud.RunInstance(spec); err != nil {
			t.Fatal(err)
		}
		foreign[l.pools.Core[2+i]] = true
	}
	spec := cloud.ClusterSpec{Subnet: l.subnet, Masters: 1, Cores: 2, NameTag: "x"}
	if l.p.Cluster != nil {
		l.p.Cluster(&spec)
	}
	cl, err := l.Cloud.LaunchCluster(spec)
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*Node
	for _, cn := range cl.Nodes {
		nodes = append(nodes, l.node(cn))
	}
	if l.p.Fails {
		l.fails(nodes)
		return
	}
	l.mustAll(nodes)
	l.settled(nodes, foreign)

	restarted := nodes[len(nodes)-1]
	restarted.Kernel.Reboot(restarted.primaries()...)
	l.mustAll([]*Node{restarted}) // as if EMR ran bootstrap actions again
	l.settled(nodes, foreign)

	l.retire(restarted)
	cn, err := l.Cloud.AddNode(cl.ID, cloud.RoleCore)
	if err != nil {
		t.Fatal(err)
	}
	nodes[len(nodes)-1] = l.node(cn)
	l.mustAll(nodes)
	l.settled(nodes, foreign)

	for _, n := range nodes {
		l.mustRelease(n)
		l.mustRelease(n)
	}
	l.mustAll(nodes) // within 30 s of the records' deletion
	l.settled(nodes, foreign)
	for _, n := range nodes {
		l.mustRelease(n)
	}
	if left := l.Cloud.Parameters(); len(left) != 0 {
		t.Errorf("the records %v are left", left)
	}
	for _, e := range l.Cloud.ENIs() {
		if i := slices.IndexFunc(nodes, func(n *Node) bool { return n.ENI == e.ID }); i >= 0 && (len(e.Addresses) > 1 || nodes[i].Static().IsValid()) {
			t.Errorf("%s still has %v, and uses %s", nodes[i].InstanceID, e.Addresses, nodes[i].Static())
		}
	}
}

// settled waits until no read is late any more, and checks that further runs change nothing and
// that all agree.
func (l *switched) settled(nodes []*Node, foreign map[netip.Addr]bool) {
	l.t.Helper()
	time.Sleep(2 * time.Minute)
	l.mustAll(nodes) // a record that Parameter Store lost is written again
	time.Sleep(2 * time.Minute)
	for _, n := range nodes {
		o := n.Apply(l.t.Context(), Kill{})
		if o.Err != nil || len(o.Report.Changes) != 0 {
			l.t.Errorf("%s again: %v, changes %q", n.InstanceID, o.Err, o.Report.Changes)
		}
		if !n.Static().IsValid() {
			l.t.Errorf("%s has no static IP", n.InstanceID)
		}
	}
	l.CheckTruth(agent.DefaultPrefix, foreign)
}

// fails checks that runs that cannot succeed say so, and leave nothing in use.
func (l *switched) fails(nodes []*Node) {
	for i, err := range l.all(nodes) {
		if code := exitCode(err); err == nil || code == agent.ExitInternal || remedy(err) == "" {
			l.t.Errorf("%s: code %d, %v; remedy %q", nodes[i].InstanceID, code, err, remedy(err))
		}
	}
	for _, n := range nodes {
		l.mustRelease(n)
	}
	for _, e := range l.Cloud.ENIs() {
		if slices.ContainsFunc(nodes, func(n *Node) bool { return n.ENI == e.ID }) && len(e.Addresses) > 1 {
			l.t.Errorf("%s still has %v", e.ID, e.Addresses)
		}
	}
	if left := l.Cloud.Parameters(); len(left) != 0 {
		l.t.Errorf("the records %v are left", left)
	}
}

func (l *switched) node(cn *cloud.Node) *Node {
	cfg := agent.DefaultConfig()
	cfg.Pools = l.pools
	if l.p.Tagged {
		cfg.ClaimTags = []tags.Tag{{Key: "team", Value: "data"}}
	}
	n := l.newNode(cn, cfg, cloud.FilesFull)
	if len(cn.EMRFiles(cloud.FilesFull)) == 0 {
		n.ClusterID = "" // no file names it, and so the node's record does not
	}
	return n
}

// vpc returns the id of the subnet's VPC.
func (l *switched) vpc() string {
	n, err := l.Cloud.RunInstance(cloud.InstanceSpec{Subnet: l.subnet})
	if err != nil {
		l.t.Fatal(errors.Join(errors.New("an instance that shows the VPC"), err))
	}
	l.Cloud.TerminateNow(n.InstanceID)
	return n.VPCID
}
