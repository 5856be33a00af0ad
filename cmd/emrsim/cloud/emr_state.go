package cloud

import (
	"fmt"
	"time"
)

// EMR's names for the states of an instance:
// https://docs.aws.amazon.com/emr/latest/APIReference/API_InstanceStatus.html
const (
	emrAwaiting      = "AWAITING_FULFILLMENT"
	emrProvisioning  = "PROVISIONING"
	emrBootstrapping = "BOOTSTRAPPING"
	emrRunning       = "RUNNING"
	emrTerminated    = "TERMINATED"
)

// BootstrapAction is a bootstrap action of a cluster.
type BootstrapAction struct {
	Name, Path string
	Args       []string
}

// actions returns the cluster's bootstrap actions: this program's, and the others.
func (s *ClusterSpec) actions() []BootstrapAction {
	own := []BootstrapAction{}
	if len(s.Args) > 0 {
		own = append(own, BootstrapAction{Name: "static-ip", Path: "s3://bucket/emr-static-ip/bootstrap.sh", Args: s.Args})
	}
	return append(own, s.OtherActions...)
}

// Await asks for n more nodes of a role, which EC2 cannot start yet. EMR lists them as
// AWAITING_FULFILLMENT, without an EC2 instance. That it lists them so is not verified on AWS. The
// next AddNode calls start them.
func (c *Cloud) Await(clusterID, role string, n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	cl := c.clusters[clusterID]
	if cl == nil {
		return fmt.Errorf("asking for %s nodes: no cluster %q", role, clusterID)
	}
	g := cl.group(role)
	if g == nil {
		g = c.newGroup(cl, role)
	}
	g.requested += n
	g.awaiting += n
	g.asked = c.now()
	return nil
}

// BeginBootstrap says that an instance's bootstrap actions run. EMR calls it BOOTSTRAPPING until
// EndBootstrap. The model starts no bootstrap actions itself.
func (c *Cloud) BeginBootstrap(instanceID string) { c.bootstrap(instanceID, true) }

// EndBootstrap says that an instance's bootstrap actions are over.
func (c *Cloud) EndBootstrap(instanceID string) { c.bootstrap(instanceID, false) }

func (c *Cloud) bootstrap(instanceID string, running bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.byID[instanceID]; i != nil {
		i.bootstrapping, i.bootstrapped = running, c.now()
	}
}

// FailBootstrap ends an instance whose bootstrap action failed, as EMR does.
func (c *Cloud) FailBootstrap(instanceID string) {
	c.mu.Lock()
	if i := c.byID[instanceID]; i != nil {
		i.bootstrapping = false
		i.reason = reason{"BOOTSTRAP_FAILURE", "bootstrap action 1 returned a non-zero return code"}
	}
	c.mu.Unlock()
	c.Terminate(instanceID)
}

// emrState returns EMR's name for an instance's state, and the time of the instance's end.
func (i *instance) emrState(now time.Time) (string, time.Time) {
	switch s := i.state(now); {
	case s == StatePending:
		return emrProvisioning, time.Time{}
	case s == StateTerminated || s == StateShuttingDown:
		return emrTerminated, i.states[len(i.states)-1].at
	case i.bootstrapping:
		return emrBootstrapping, time.Time{}
	}
	return emrRunning, time.Time{}
}

// ready returns when the instance was ready to work, or the zero time.
func (i *instance) ready(now time.Time) time.Time {
	if s := i.state(now); s == StatePending || i.bootstrapping {
		return time.Time{}
	}
	if i.bootstrapped.After(i.launched) {
		return i.bootstrapped
	}
	return i.states[min(1, len(i.states)-1)].at
}

// ready returns when the cluster was ready to work, or the zero time.
func (cl *cluster) ready(now time.Time) (last time.Time) {
	for _, i := range cl.members {
		if i.Role != RoleMaster {
			continue
		}
		t := i.ready(now)
		if t.IsZero() {
			return t
		}
		if t.After(last) {
			last = t
		}
	}
	return last
}

// ended returns when the cluster ended, or the zero time.
func (cl *cluster) ended(now time.Time) (last time.Time) {
	if cl.state(now) != emrTerminated {
		return time.Time{}
	}
	for _, i := range cl.members {
		if _, t := i.emrState(now); t.After(last) {
			last = t
		}
	}
	return last
}

// groupState returns the state of an instance group or fleet.
func (cl *cluster) groupState(g *group, now time.Time) string {
	if !cl.ending.IsZero() {
		return cl.state(now)
	}
	state := emrRunning
	if g.awaiting > 0 {
		state = "RESIZING"
	}
	for _, i := range cl.members {
		if i.GroupID != g.id {
			continue
		}
		switch s, _ := i.emrState(now); s {
		case emrProvisioning:
			return s
		case emrBootstrapping:
			state = s
		}
	}
	return state
}
