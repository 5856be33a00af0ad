package cloud

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Instance states as EC2 names them.
const (
	StatePending      = "pending"
	StateRunning      = "running"
	StateShuttingDown = "shutting-down"
	StateTerminated   = "terminated"
	StateStopping     = "stopping"
	StateStopped      = "stopped"
)

var stateCodes = map[string]int{StatePending: 0, StateRunning: 16, StateShuttingDown: 32, StateTerminated: 48, StateStopping: 64, StateStopped: 80}

// Node has the properties of an instance that do not change after its launch.
type Node struct {
	InstanceID   string
	InstanceType string
	Hostname     string // ip-10-0-1-5.ec2.internal
	ENI          string // the primary interface
	MAC          net.HardwareAddr
	PrimaryIP    netip.Addr
	SubnetID     string
	Subnet       netip.Prefix
	VPCID        string
	VPC          []netip.Prefix
	PublicIP     netip.Addr // mapped to PrimaryIP by the Internet gateway; the zero Addr in a private subnet
	SecondENI    *Interface // EMR's interface on a master in a private subnet; otherwise nil

	Role      string // MASTER, CORE or TASK; empty for an instance outside EMR
	ClusterID string
	GroupID   string // id of the instance group (ig-...) or fleet (if-...)

	cloud *Cloud
}

// Interface is an additional network interface of an instance.
type Interface struct {
	ID        string
	MAC       net.HardwareAddr
	PrimaryIP netip.Addr
	Device    int
}

type stateChange struct {
	at    time.Time
	state string
}

type instance struct {
	Node
	reservation string
	subnet      *subnet
	launched    time.Time
	states      []stateChange // in order of time; the last may be in the future
	enis        []*eni        // by device number
	cluster     *cluster
	tags        tagSet
	caller      *caller
	imdsFrom    time.Time
	chunk       chunk
	imdsTokens  map[string]time.Time // token -> its expiry

	bootstrapping bool      // its bootstrap actions run
	bootstrapped  time.Time // when that was last said
	reason        reason    // for its state by EMR
	// credentialsFrom is when IMDS has the credentials of the role.
	credentialsFrom time.Time
}

// state returns the instance's state as of t. It is empty before the launch.
func (i *instance) state(t time.Time) string {
	s := ""
	for _, ch := range i.states {
		if ch.at.After(t) {
			break
		}
		s = ch.state
	}
	return s
}

// visible reports whether describe calls show the instance as of t.
func (i *instance) visible(t time.Time, after time.Duration) bool {
	if t.Before(i.launched) {
		return false
	}
	last := i.states[len(i.states)-1]
	return last.state != StateTerminated || t.Before(last.at.Add(after))
}

// setStates replaces future state changes by new ones.
func (i *instance) setStates(now time.Time, changes ...stateChange) {
	i.states = slices.DeleteFunc(i.states, func(s stateChange) bool { return s.at.After(now) })
	i.states = append(i.states, changes...)
	i.touch()
}

// InstanceSpec describes an instance outside EMR.
type InstanceSpec struct {
	Subnet       string
	InstanceType string       // default m5.xlarge
	Name         string       // Name tag; empty: none
	PrimaryIP    netip.Addr   // default: a free address outside of CIDR reservations
	Secondary    []netip.Addr // secondary addresses of the primary interface
	Tags         map[string]string
}

// RunInstance launches an instance.
func (c *Cloud) RunInstance(spec InstanceSpec) (*Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.settle(now)
	i, err := c.launch(spec, now)
	if err != nil {
		return nil, fmt.Errorf("launching an instance: %w", err)
	}
	return i.node(), nil
}

// launch creates the instance, its primary interface and its credentials.
func (c *Cloud) launch(spec InstanceSpec, now time.Time) (*instance, error) {
	s := c.findSubnet(spec.Subnet)
	if s == nil {
		return nil, fmt.Errorf("InvalidSubnetID.NotFound: the subnet ID '%s' does not exist", spec.Subnet)
	}
	if spec.InstanceType == "" {
		spec.InstanceType = "m5.xlarge"
	}
	if _, ok := typeOf(spec.InstanceType); !ok {
		return nil, fmt.Errorf("InvalidParameterValue: unknown instance type %s", spec.InstanceType)
	}
	primary := spec.PrimaryIP
	if primary.IsValid() {
		if err := s.usable(primary); err != nil {
			return nil, err
		}
	} else {
		var err error
		if primary, err = s.free(c.nextRand("primary")); err != nil {
			return nil, err
		}
	}
	for _, a := range spec.Secondary {
		if err := s.usable(a); err != nil {
			return nil, err
		}
	}
	e := c.newENI(s, primary, now)
	for _, a := range spec.Secondary {
		e.assign(a, now, 0, 0)
	}
	i := c.launchOn(e, spec, now)
	return i, nil
}

// launchOn creates an instance on an existing interface.
func (c *Cloud) launchOn(e *eni, spec InstanceSpec, now time.Time) *instance {
	s := e.subnet
	i := &instance{
		Node: Node{
			InstanceID: c.newID("i"), InstanceType: spec.InstanceType, Hostname: c.hostname(e.primary()),
			ENI: e.id, MAC: e.mac, PrimaryIP: e.primary(), SubnetID: s.id, Subnet: s.cidr, VPCID: s.vpc.id,
			VPC: slices.Clone(s.vpc.cidrs), cloud: c,
		},
		reservation: c.newID("r"), subnet: s, launched: now, enis: []*eni{e}, imdsTokens: map[string]time.Time{},
	}
	if s.public && !e.public.IsValid() {
		e.public = c.newPublicIP()
	}
	i.PublicIP = e.public
	e.instance, e.device = i, 0
	if spec.Name != "" {
		i.tags.set("Name", spec.Name)
	}
	keys := make([]string, 0, len(spec.Tags))
	for k := range spec.Tags {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		i.tags.set(k, spec.Tags[k])
	}
	r := c.nextRand("boot")
	i.states = []stateChange{{now, StatePending}, {now.Add(c.opts.BootTime.draw(r)), StateRunning}}
	i.imdsFrom = now.Add(c.opts.IMDSBoot.draw(r))
	i.credentialsFrom = now.Add(c.opts.Unverified.CredentialsDelay.draw(r))
	i.caller = c.addCaller(i.InstanceID)
	c.instances = append(c.instances, i)
	c.byID[i.InstanceID] = i
	return i
}

func (c *Cloud) hostname(a netip.Addr) string {
	domain := c.opts.Region + ".compute.internal"
	if c.opts.Region == "us-east-1" {
		domain = "ec2.internal"
	}
	return "ip-" + strings.ReplaceAll(a.String(), ".", "-") + "." + domain
}

// node returns a copy that the caller may keep.
func (i *instance) node() *Node {
	n := i.Node
	if len(i.enis) > 1 {
		e := i.enis[1]
		n.SecondENI = &Interface{ID: e.id, MAC: e.mac, PrimaryIP: e.shown[0].addr, Device: e.device}
	}
	return &n
}

// Node returns an instance by its id, or nil if it does not exist.
func (c *Cloud) Node(instanceID string) *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.byID[instanceID]; i != nil {
		return i.node()
	}
	return nil
}

// Terminate begins the end of an instance. It is first shutting-down and keeps its addresses. After
// Options.ShutdownTime it is terminated and its interfaces are gone. An hour later describe calls
// no longer show it. Terminate does nothing if the end has begun already.
func (c *Cloud) Terminate(instanceID string) {
	c.terminate(instanceID, c.opts.ShutdownTime)
}

// TerminateNow ends an instance at once: it is terminated and its addresses are free.
func (c *Cloud) TerminateNow(instanceID string) { c.terminate(instanceID, Range{}) }

func (c *Cloud) terminate(instanceID string, after Range) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.settle(now)
	if i := c.byID[instanceID]; i != nil {
		c.endInstance(i, now, now.Add(after.draw(c.nextRand("terminate"))))
		c.settle(now)
	}
}

func (c *Cloud) endInstance(i *instance, now, end time.Time) {
	switch i.state(now) {
	case StateTerminated, StateShuttingDown:
		return
	}
	i.setStates(now, stateChange{now, StateShuttingDown}, stateChange{end, StateTerminated})
	for _, e := range i.enis {
		if e.instance == i {
			c.endENI(e, end)
		}
	}
}

// Stop stops a running instance at once. The instance keeps its interfaces and addresses, but its
// IMDS does not answer until Start.
func (c *Cloud) Stop(instanceID string) { c.change(instanceID, StateRunning, StateStopped) }

// Start starts a stopped instance at once.
func (c *Cloud) Start(instanceID string) { c.change(instanceID, StateStopped, StateRunning) }

func (c *Cloud) change(instanceID, from, to string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if i := c.byID[instanceID]; i != nil && i.state(now) == from {
		i.setStates(now, stateChange{now, to})
	}
}
