package cloud

import (
	"net/netip"
	"slices"
	"time"
)

// ENI is the true state of a network interface, whatever stale describe calls show.
type ENI struct {
	ID         string
	InstanceID string // empty if it is not attached
	Device     int
	SubnetID   string
	Addresses  []netip.Addr // the primary one first
	Shown      []netip.Addr // addresses that describe calls show now, without staleness
	Foreign    bool         // another account's, in a shared subnet
}

// Instance is an instance and its current state.
type Instance struct {
	Node
	State    string
	Launched time.Time
	Tags     map[string]string
}

// Parameter is the newest version of a parameter.
type Parameter struct {
	Name, Value, Type string
	Version           int64
	Modified          time.Time
	ModifiedBy        string // id of the calling instance, empty for the operator
	Tags              map[string]string
}

// ENIs returns the interfaces that exist now, in the order of their creation. Their Addresses are
// the truth about which interface has an address.
func (c *Cloud) ENIs() []ENI {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.settle(now)
	var out []ENI
	for _, e := range c.enis {
		if !e.exists(now) {
			continue
		}
		x := ENI{ID: e.id, Device: e.device, SubnetID: e.subnet.id, Addresses: slices.Clone(e.held), Shown: e.addresses(now), Foreign: e.foreign}
		if e.instance != nil {
			x.InstanceID = e.instance.InstanceID
		}
		out = append(out, x)
	}
	return out
}

// ShownWithin reports whether a describe call as of some moment of the last age showed the address
// on the interface. In that case a caller may have seen it there, stale answers included.
func (c *Cloud) ShownWithin(eniID string, a netip.Addr, age time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, now := c.eniByID[eniID], c.now()
	if e == nil {
		return false
	}
	return slices.ContainsFunc(e.shown, func(s span) bool {
		return s.addr == a && !s.from.After(now) && (s.until.IsZero() || now.Sub(s.until) < age)
	})
}

// Holders returns the ids of all ENIs that have the address in the subnet now. There is at most one
// unless Options.NoArbiter is set.
func (c *Cloud) Holders(subnetID string, a netip.Addr) []string {
	var out []string
	for _, e := range c.ENIs() {
		if e.SubnetID == subnetID && slices.Contains(e.Addresses, a) {
			out = append(out, e.ID)
		}
	}
	return out
}

// Instances returns all instances ever launched, in launch order.
func (c *Cloud) Instances() []Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	out := make([]Instance, len(c.instances))
	for n, i := range c.instances {
		out[n] = Instance{Node: *i.node(), State: i.state(now), Launched: i.launched, Tags: i.tags.toMap()}
	}
	return out
}

// State returns the instance's current state. It is empty for an unknown instance.
func (c *Cloud) State(instanceID string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.byID[instanceID]; i != nil {
		return i.state(c.now())
	}
	return ""
}

// Parameters returns the newest versions of all parameters, sorted by name.
func (c *Cloud) Parameters() []Parameter {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.params.snapshot()
}
