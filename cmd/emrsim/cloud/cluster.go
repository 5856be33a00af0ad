package cloud

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Roles, as in the EC2 tag aws:elasticmapreduce:instance-group-role.
const (
	RoleMaster = "MASTER"
	RoleCore   = "CORE"
	RoleTask   = "TASK"
)

// DefaultRelease is the release of a cluster that names none. Support of a release ends two years
// after its first day: https://docs.aws.amazon.com/emr/latest/ReleaseGuide/emr-standard-support.html
const DefaultRelease = "emr-7.13.0"

// ClusterSpec describes an EMR cluster to launch.
type ClusterSpec struct {
	Name   string // default "cluster"; not the instances' Name tag: see NameTag
	Subnet string
	// Subnets are those that instance fleets may be launched in. EMR picks one. Subnet, if set, is
	// the one that it picks; otherwise the seed decides.
	Subnets      []string
	ReleaseLabel string // default DefaultRelease
	InstanceType string // default m5.xlarge
	Masters      int    // default 1; 3 for high availability
	Cores        int
	Tasks        int
	Fleets       bool     // instance fleets instead of instance groups
	NameTag      string   // Name tag of all instances; empty: none
	Args         []string // of the bootstrap action
	OtherActions []BootstrapAction
	FleetWeight  int // units of capacity that one node has in a fleet; default 1
	// InstancePage is how many instances one page of ListInstances has. The default is 2,000, which
	// AWS documents.
	InstancePage int
	// SecondENIOnMaster gives each master the second interface that EMR attaches in private
	// subnets. In a public subnet it has none.
	SecondENIOnMaster bool
}

// Cluster is a snapshot of an EMR cluster.
type Cluster struct {
	ID           string
	Name         string
	ReleaseLabel string
	Fleets       bool
	Args         []string
	State        string  // STARTING, BOOTSTRAPPING, RUNNING, TERMINATING, TERMINATED
	Nodes        []*Node // all nodes that are not terminated, in launch order
}

type cluster struct {
	spec    ClusterSpec
	id      string
	created time.Time
	groups  []*group
	ending  time.Time // time of TerminateCluster
	reason  reason    // for its state
	members []*instance
}

// group is an instance group or fleet.
type group struct {
	id, role  string
	requested int
	awaiting  int       // of the requested ones, those that EC2 has not started
	asked     time.Time // when these were asked for
}

// LaunchCluster launches a cluster with all its instances. Options.BootTime decides whether they
// are pending or running.
func (c *Cloud) LaunchCluster(spec ClusterSpec) (*Cluster, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	spec.defaults()
	if err := c.pickSubnet(&spec); err != nil {
		return nil, fmt.Errorf("launching cluster %s: %w", spec.Name, err)
	}
	now := c.now()
	c.settle(now)
	cl := &cluster{spec: spec, id: c.newEMRID("j"), created: now}
	for _, g := range []struct {
		role string
		n    int
	}{{RoleMaster, spec.Masters}, {RoleCore, spec.Cores}, {RoleTask, spec.Tasks}} {
		if g.n == 0 {
			continue
		}
		grp := c.newGroup(cl, g.role)
		for range g.n {
			if _, err := c.addMember(cl, grp, netip.Addr{}, now); err != nil {
				return nil, fmt.Errorf("launching cluster %s: %w", spec.Name, err)
			}
		}
	}
	c.clusters[cl.id] = cl
	return c.snapshot(cl, now), nil
}

// pickSubnet picks the subnet of a cluster that was given several. Only instance fleets may have
// more than one: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-instance-fleet.html
func (c *Cloud) pickSubnet(s *ClusterSpec) error {
	switch {
	case len(s.Subnets) == 0:
		return nil
	case len(s.Subnets) > 1 && !s.Fleets:
		return fmt.Errorf("ValidationException: instance groups take one subnet, not %d", len(s.Subnets))
	case s.Subnet == "" && len(s.Subnets) == 1:
		s.Subnet = s.Subnets[0]
	case s.Subnet == "":
		s.Subnet = s.Subnets[c.nextRand("subnet").IntN(len(s.Subnets))]
	case !slices.Contains(s.Subnets, s.Subnet):
		return fmt.Errorf("ValidationException: subnet %s is not one of %v", s.Subnet, s.Subnets)
	}
	return nil
}

func (s *ClusterSpec) defaults() {
	if s.Name == "" {
		s.Name = "cluster"
	}
	if s.ReleaseLabel == "" {
		s.ReleaseLabel = DefaultRelease
	}
	if s.InstanceType == "" {
		s.InstanceType = "m5.xlarge"
	}
	if s.Masters == 0 {
		s.Masters = 1
	}
	if s.FleetWeight == 0 {
		s.FleetWeight = 1
	}
	if s.InstancePage == 0 {
		s.InstancePage = 2000
	}
	s.Args = slices.Clone(s.Args)
}

func (c *Cloud) newGroup(cl *cluster, role string) *group {
	prefix := "ig"
	if cl.spec.Fleets {
		prefix = "if"
	}
	g := &group{id: c.newEMRID(prefix), role: role}
	cl.groups = append(cl.groups, g)
	return g
}

func (cl *cluster) group(role string) *group {
	for _, g := range cl.groups {
		if g.role == role {
			return g
		}
	}
	return nil
}

// addMember launches one node in a group.
func (c *Cloud) addMember(cl *cluster, g *group, primary netip.Addr, now time.Time) (*instance, error) {
	i, err := c.launch(cl.instanceSpec(g, primary), now)
	if err != nil {
		return nil, err
	}
	if g.awaiting > 0 {
		g.awaiting--
	} else {
		g.requested++
	}
	if err := c.join(cl, g, i, now); err != nil {
		return nil, err
	}
	return i, nil
}

func (cl *cluster) instanceSpec(g *group, primary netip.Addr) InstanceSpec {
	return InstanceSpec{Subnet: cl.spec.Subnet, InstanceType: cl.spec.InstanceType, Name: cl.spec.NameTag, PrimaryIP: primary, Tags: map[string]string{
		"aws:elasticmapreduce:job-flow-id":         cl.id,
		"aws:elasticmapreduce:instance-group-role": g.role,
	}}
}

// join makes an instance a member of a group, and attaches EMR's second interface if the cluster
// has one.
func (c *Cloud) join(cl *cluster, g *group, i *instance, now time.Time) error {
	i.cluster, i.Role, i.ClusterID, i.GroupID = cl, g.role, cl.id, g.id
	cl.members = append(cl.members, i)
	if g.role != RoleMaster || !cl.spec.SecondENIOnMaster || i.subnet.public && !c.opts.Unverified.PublicSecondENI {
		return nil
	}
	a, err := i.subnet.free(c.nextRand("second"))
	if err != nil {
		return fmt.Errorf("attaching the second interface of %s: %w", i.InstanceID, err)
	}
	e := c.newENI(i.subnet, a, now)
	e.instance, e.device, e.managed = i, 1, true
	e.description = "ElasticMapReduce-" + cl.id
	i.enis = append(i.enis, e)
	i.touch()
	return nil
}

// AddNode launches one more node of a role, as a resize does. It adds the group if it is missing.
func (c *Cloud) AddNode(clusterID, role string) (*Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cl := c.clusters[clusterID]
	if cl == nil {
		return nil, fmt.Errorf("adding a %s node: no cluster %q", role, clusterID)
	}
	role = strings.ToUpper(role)
	g := cl.group(role)
	if g == nil {
		g = c.newGroup(cl, role)
	}
	now := c.now()
	c.settle(now)
	i, err := c.addMember(cl, g, netip.Addr{}, now)
	if err != nil {
		return nil, fmt.Errorf("adding a %s node to %s: %w", role, clusterID, err)
	}
	return i.node(), nil
}

// RemoveNode scales a node in. It terminates the node as Terminate does, and the requested size of
// its group shrinks by one.
func (c *Cloud) RemoveNode(instanceID string) {
	c.mu.Lock()
	if i := c.byID[instanceID]; i != nil && i.cluster != nil {
		if g := i.cluster.group(i.Role); g.requested > 0 {
			g.requested--
		}
	}
	c.mu.Unlock()
	c.Terminate(instanceID)
}

// ReplaceMaster ends a master at once and launches another on the same primary interface, as EMR
// does in a cluster with three masters. The primary address, the MAC and the ENI stay. Secondary
// addresses stay on the ENI if keepSecondaries is set.
func (c *Cloud) ReplaceMaster(instanceID string, keepSecondaries bool) (*Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.settle(now)
	old := c.byID[instanceID]
	if old == nil || old.cluster == nil || old.Role != RoleMaster || old.enis[0].instance != old || !old.enis[0].deleted.IsZero() {
		return nil, fmt.Errorf("replacing master %q: no living master", instanceID)
	}
	e := old.enis[0]
	e.touch()
	e.instance = nil
	c.endInstance(old, now, now)
	c.settle(now)
	if !keepSecondaries {
		for _, a := range slices.Clone(e.held[1:]) {
			e.unassign(a, now, 0, 0)
		}
	}
	e.attachID = c.newID("eni-attach")
	cl := old.cluster
	g := cl.group(RoleMaster)
	i := c.launchOn(e, cl.instanceSpec(g, netip.Addr{}), now)
	if err := c.join(cl, g, i, now); err != nil {
		return nil, err
	}
	return i.node(), nil
}

// TerminateCluster terminates all nodes of a cluster.
func (c *Cloud) TerminateCluster(clusterID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cl := c.clusters[clusterID]
	if cl == nil {
		return
	}
	now := c.now()
	c.settle(now)
	if cl.ending.IsZero() {
		cl.ending, cl.reason = now, reason{"USER_REQUEST", "Terminated by user request"}
	}
	for _, i := range cl.members {
		c.endInstance(i, now, now.Add(c.opts.ShutdownTime.draw(c.nextRand("terminate"))))
	}
	c.settle(now)
}

// Cluster returns a snapshot of a cluster, or nil if it does not exist.
func (c *Cloud) Cluster(clusterID string) *Cluster {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cl := c.clusters[clusterID]; cl != nil {
		return c.snapshot(cl, c.now())
	}
	return nil
}

func (c *Cloud) snapshot(cl *cluster, now time.Time) *Cluster {
	out := &Cluster{ID: cl.id, Name: cl.spec.Name, ReleaseLabel: cl.spec.ReleaseLabel, Fleets: cl.spec.Fleets, Args: slices.Clone(cl.spec.Args), State: cl.state(now)}
	for _, i := range cl.members {
		if i.state(now) != StateTerminated {
			out.Nodes = append(out.Nodes, i.node())
		}
	}
	return out
}

func (cl *cluster) state(now time.Time) string {
	if cl.ending.IsZero() {
		state := "STARTING"
		for _, i := range cl.members {
			switch s, _ := i.emrState(now); {
			case i.Role != RoleMaster || s == emrProvisioning:
			case s == emrBootstrapping:
				return s
			default:
				state = emrRunning
			}
		}
		return state
	}
	for _, i := range cl.members {
		if i.state(now) != StateTerminated {
			return "TERMINATING"
		}
	}
	return "TERMINATED"
}
