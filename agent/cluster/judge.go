package cluster

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord/inventory"
)

// The states of nodes. They are part of the documented output.
const (
	OK          = "ok"           // it has an address, and the record names it
	NotExpected = "not expected" // its role has no addresses, and it has none
	Starting    = "starting"     // its bootstrap actions may still run
	Failed      = "failed"       // a run failed on it: the error tag says how
	NoAddress   = "no address"   // its bootstrap actions are over
	NoRecord    = "no record"    // EC2 gives it an address, and no record says so yet
	Conflict    = "conflict"     // EC2 gives it an address, and the record names another instance
	Unreadable  = "unreadable"   // EC2 gives it an address, and the record cannot be read
	NotAttached = "not attached" // a record names it, and the address is not on its interface
	Ending      = "ending"       // it is shutting down or stopped
)

// startupTime is how long after its launch a node may still be starting if EMR does not say.
// Bootstrap actions end within an hour.
const startupTime = time.Hour

// record is what the ledger says of an address.
type record struct {
	subnet string
	addr   netip.Addr
}

// facts are what EC2, EMR and the ledger show of a cluster at one time.
type facts struct {
	emr     sight
	list    list
	members []ec2.Member
	ledger  map[record]inventory.Sighting
	now     time.Time // by Parameter Store's clock
}

// judge returns the nodes in the order of role and launch.
func (f facts) judge() []Node {
	byEC2 := map[string]emrInstance{}
	for _, i := range f.emr.instances {
		if i.ec2 != "" {
			byEC2[i.ec2] = i
		}
	}
	roles := map[string]string{}
	for _, g := range f.emr.groups {
		roles[g.ID] = g.Role
	}
	var nodes []Node
	for _, m := range f.members {
		i := byEC2[m.ID]
		delete(byEC2, m.ID)
		nodes = append(nodes, f.node(m, i, cmp.Or(m.Role, roles[i.group])))
	}
	for _, i := range byEC2 { // EC2 does not list them yet, or no longer
		n := Node{Instance: i.ec2, EMRInstance: i.id, Group: i.group, Role: roles[i.group], EMRState: i.state, EC2State: "unknown",
			State: Starting, Reason: "EMR lists it, and EC2 does not list it yet"}
		n.Expected = f.list.expects(n.Role)
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(roleOrder(a.Role), roleOrder(b.Role)), a.Launched.Compare(b.Launched), cmp.Compare(a.Instance, b.Instance))
	})
	return nodes
}

func roleOrder(role string) int {
	order := []string{string(emr.Master), string(emr.Core), string(emr.Task)}
	if n := slices.Index(order, role); n >= 0 {
		return n
	}
	return len(order)
}

// node returns one node that EC2 lists.
func (f facts) node(m ec2.Member, i emrInstance, role string) Node {
	n := Node{
		Instance: m.ID, EMRInstance: i.id, Group: i.group, Role: role, Name: m.Name, Subnet: m.Subnet, ENI: m.ENI,
		EC2State: m.State, EMRState: i.state, Launched: m.Launched.UTC(), Age: int64(max(0, f.now.Sub(m.Launched)).Seconds()), Error: m.Error,
	}
	if m.Primary.IsValid() {
		n.Primary = m.Primary.String()
	}
	n.Expected = f.list.expects(role)
	switch m.State {
	case "pending", "running":
	default:
		n.State, n.Expected, n.Reason = Ending, false, "EC2 says "+m.State
		return n
	}
	if s, ok := f.static(m, role); ok {
		n.Static, n.Expected = s.Addr.String(), true
		n.Record = recordOf(s, f.list.prefix, f.now)
		n.State, n.Reason = f.held(s, m)
		return n
	}
	n.State, n.Reason = f.without(m, i, n.Expected)
	if r, ok := f.naming(m); ok {
		n.Record = recordOf(r, f.list.prefix, f.now)
	}
	return n
}

// static returns the static IP that EC2 gives a node: a secondary address of its primary interface
// that a record says is the node's, or else one of the list. If no list is known, any will do.
func (f facts) static(m ec2.Member, role string) (inventory.Sighting, bool) {
	var found []inventory.Sighting
	r, _ := emr.ParseRole(role)
	for _, a := range m.Secondary {
		s, ok := f.ledger[record{m.Subnet, a}]
		if !ok {
			s = inventory.Sighting{Subnet: m.Subnet, Addr: a}
		}
		if names(s, m.ID) {
			return s, true
		}
		if !f.list.known || slices.Contains(f.list.pools.For(r), a) {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return inventory.Sighting{}, false
	}
	return found[0], true
}

// names reports whether the record names the instance.
func names(s inventory.Sighting, instance string) bool {
	return s.Record.State == ssmcoord.Claimed && s.Record.Record.Instance == instance
}

// naming returns a record that names a node, if there is one.
func (f facts) naming(m ec2.Member) (found inventory.Sighting, ok bool) {
	for _, s := range f.ledger {
		if names(s, m.ID) && (!ok || s.Addr.Less(found.Addr)) {
			found, ok = s, true
		}
	}
	return found, ok
}

// held returns the state of a node that has an address. A run programs the kernel before it writes
// the record. So only the record shows that the address works.
func (f facts) held(s inventory.Sighting, m ec2.Member) (state, reason string) {
	switch {
	case names(s, m.ID):
		if m.Error != "" {
			return OK, "a later run failed: " + m.Error
		}
		return OK, ""
	case s.Record.State == ssmcoord.Unreadable:
		return Unreadable, fmt.Sprintf("the record of %s cannot be read: %v: emr-static-ip ledger repair %s", s.Addr, s.Record.Problem, s.Addr)
	case s.Record.State == ssmcoord.Claimed:
		return Conflict, fmt.Sprintf("the record of %s names %s: emr-static-ip on this node, or ledger repair %s", s.Addr, s.Record.Record.Owner(), s.Addr)
	case m.Error != "":
		return NoRecord, "no record of " + s.Addr.String() + ", and a run failed: " + m.Error
	}
	return NoRecord, "no record of " + s.Addr.String() + " yet: a run writes it when the node's rules are in place"
}

// without returns the state of a node that has no address.
func (f facts) without(m ec2.Member, i emrInstance, expected bool) (state, reason string) {
	if m.Error != "" {
		return Failed, m.Error
	}
	if s, ok := f.naming(m); ok {
		reason = fmt.Sprintf("a record says it has %s, and no interface carries that", s.Addr)
		if s.Holder.ENI != "" {
			reason = fmt.Sprintf("a record says it has %s, which is on %s", s.Addr, s.Holder)
			if free := s.Holder.Unassign(s.Addr); free != "" && s.By.Cluster == "" {
				reason += ": to free it, " + free
			}
		}
		return NotAttached, reason
	}
	switch {
	case !expected && m.Role == string(emr.Task):
		return NotExpected, "a task node, and no list for task nodes"
	case !expected:
		return NotExpected, "no list for its role"
	case i.state == "BOOTSTRAPPING":
		return Starting, "its bootstrap actions run"
	case i.state != "" && i.state != "RUNNING":
		return Starting, "EMR says " + i.state
	case m.State == "pending":
		return Starting, "EC2 says pending"
	case i.state == "" && f.now.Sub(m.Launched) < startupTime:
		return Starting, "its bootstrap actions may still run"
	case f.emr.actionsKnown && !f.list.known:
		return NoAddress, "its bootstrap actions are over, and none of them has a list of addresses"
	}
	return NoAddress, "no record, no address, no error tag, and its bootstrap actions are over: emr-static-ip status on the node"
}

// missing returns what is requested and has not started, by group.
func (f facts) missing(nodes []Node) (lines []string) {
	if f.emr.over() {
		return nil
	}
	groups, of, when := f.emr.groups, func(n Node) string { return n.Group }, ""
	if f.emr.former { // nothing says any more in which group a node is
		groups, of, when = byRole(groups), func(n Node) string { return n.Role }, ", as EMR last showed it"
	}
	for _, g := range groups {
		if !f.list.expects(g.Role) {
			continue
		}
		started := 0
		for _, n := range nodes {
			if of(n) == g.ID && n.State != Ending {
				started++
			}
		}
		switch {
		case g.Fleet && g.Running < g.Requested:
			lines = append(lines, fmt.Sprintf("%s: the fleet has %d of %d units of capacity (%s%s)", g.Role, g.Running, g.Requested, g.State, when))
		case !g.Fleet && (f.emr.listed || f.emr.former) && started < g.Requested:
			lines = append(lines, fmt.Sprintf("%s: %d of %d requested nodes started (%s%s)", g.Role, started, g.Requested, g.State, when))
		case !g.Fleet && !f.emr.listed && g.Running < g.Requested && !f.emr.former:
			lines = append(lines, fmt.Sprintf("%s: %d of %d requested nodes run (%s)", g.Role, g.Running, g.Requested, g.State))
		}
	}
	if !f.emr.grouped { // nothing says which role they have
		waiting := 0
		for _, i := range f.emr.instances {
			if i.ec2 == "" {
				waiting++
			}
		}
		if waiting > 0 {
			lines = append(lines, text.Count(waiting, "node", "nodes")+" of an unknown role requested and not started")
		}
	}
	return lines
}

// byRole returns one group for each role, with the role as its id.
func byRole(groups []Group) (merged []Group) {
	for _, g := range groups {
		i := slices.IndexFunc(merged, func(m Group) bool { return m.Role == g.Role })
		if i < 0 {
			i, merged = len(merged), append(merged, Group{ID: g.Role, Role: g.Role, State: g.State})
		}
		m := &merged[i]
		m.Fleet, m.Requested, m.Running = m.Fleet || g.Fleet, m.Requested+g.Requested, m.Running+g.Running
	}
	return merged
}

func recordOf(s inventory.Sighting, prefix string, now time.Time) *Record {
	if s.Record.State == ssmcoord.Absent {
		return nil
	}
	r := &Record{
		Name: strings.Join([]string{prefix, s.Subnet, s.Addr.String()}, "/"), Instance: s.Record.Record.Instance, Cluster: s.Record.Record.Cluster,
		Modified: s.Record.Modified.UTC().Truncate(time.Second), Age: int64(max(0, now.Sub(s.Record.Modified)).Seconds()),
	}
	if s.Record.Problem != nil {
		r.Problem = s.Record.Problem.Error()
	}
	return r
}
