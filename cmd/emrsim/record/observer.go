package record

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

// An Observer records what happens to the nodes of a lab: see [lab.Spec]. Those that are there when
// the lab is closed have not ended: call Complete before.
type Observer struct {
	Recorder *Recorder
	// Agents are the programs whose runs are recorded. Others, such as ip and iptables, are not.
	Agents []string

	mu    sync.Mutex
	names map[*lab.Node]string
	taken map[string]int
	ran   map[*lab.Node]bool
	done  bool
}

// name returns the node's name in the recording. A node that replaces one of the same name has a
// number behind it.
func (o *Observer) name(n *lab.Node) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if name, known := o.names[n]; known {
		return name
	}
	if o.names == nil {
		o.names, o.taken, o.ran = map[*lab.Node]string{}, map[string]int{}, map[*lab.Node]bool{}
	}
	name := n.Name
	if o.taken[n.Name]++; o.taken[n.Name] > 1 {
		name += " (" + n.Instance + ")"
	}
	o.names[n] = name
	return name
}

// Joined implements lab.Observer.
func (o *Observer) Joined(l *lab.Lab, n *lab.Node) {
	node := Node{Name: o.name(n), Role: n.Role, Instance: n.Instance, Interface: n.Link, Primary: n.Primary.Address, Subnet: l.Plan().Subnet.String()}
	if n.Second != nil {
		node.Second = n.Second.Address
	}
	o.Recorder.Join(node)
}

// Left implements lab.Observer.
func (o *Observer) Left(n *lab.Node) {
	o.mu.Lock()
	done := o.done
	o.mu.Unlock()
	if !done {
		o.Recorder.Leave(o.name(n))
	}
}

// Rebooted implements lab.Observer.
func (o *Observer) Rebooted(n *lab.Node) {
	o.Recorder.Mark(o.name(n), StepRebooted, "the node was rebooted")
}

// agent reports whether a program is emr-static-ip, or a shutdown action that calls it.
func (o *Observer) agent(c lab.Command) bool {
	for _, a := range o.Agents {
		if a == c.Program && !c.OnNode {
			return true
		}
	}
	return c.OnNode && (filepath.Base(c.Program) == "emr-static-ip" || strings.Contains(c.Program, "/shutdown-actions/"))
}

// Started implements lab.Observer.
func (o *Observer) Started(n *lab.Node, c lab.Command) {
	name := o.name(n)
	if !o.agent(c) {
		o.Recorder.Event(name, strings.TrimSpace("runs "+c.Program+" "+strings.Join(c.Args, " ")))
		return
	}
	arguments := c.Args
	if strings.Contains(c.Program, "/shutdown-actions/") {
		arguments = []string{"release", "(shutdown action)"}
	}
	o.Recorder.Begin(name, arguments)
}

// Finished implements lab.Observer.
func (o *Observer) Finished(n *lab.Node, c lab.Command, r lab.Result) {
	if !o.agent(c) {
		return
	}
	name := o.name(n)
	o.mu.Lock()
	o.ran[n] = true
	o.mu.Unlock()
	o.Recorder.End(name, r.ExitCode, r.Stdout, r.Stderr)
}

// Downloaded implements lab.Observer.
func (o *Observer) Downloaded(n *lab.Node, seen netip.Addr, failure error) {
	s := Sighting{Node: o.name(n), Seen: seen, Outcome: "done"}
	switch {
	case errors.Is(failure, lab.ErrRefused):
		s.Outcome = "refused"
	case failure != nil:
		s.Outcome = "failed"
	}
	o.mu.Lock()
	s.After = o.ran[n]
	o.mu.Unlock()
	o.Recorder.See(s)
}

// Event records a line of progress: see [lab.Spec].
func (o *Observer) Event(e lab.Event) { o.Recorder.Event(e.Node, e.Text) }

// Complete records the network of a cluster, the static IPs, addresses and rules of its nodes, and
// what the cloud model knows. It ends the recording.
func (o *Observer) Complete(ctx context.Context, c *lab.Cluster) *Recording {
	plan := c.Plan()
	o.Recorder.Set(func(r *Recording) {
		r.Topology = Topology{
			VPCs:   []VPC{{CIDRs: plan.CIDRs, Subnets: []Subnet{{ID: c.SubnetID, CIDR: plan.Subnet}}}},
			OnPrem: plan.OnPrem, Server: plan.Server, Port: 80, Admitted: c.Admitted(),
		}
		clusters := map[string]*cloud.Node{}
		for _, n := range r.Nodes {
			n.Subnet = c.SubnetID
			if clusters[n.Instance] = c.Cloud.Node(n.Instance); clusters[n.Instance] != nil {
				n.Cluster = clusters[n.Instance].ClusterID
			}
		}
	})
	for _, n := range c.Nodes() {
		text, err := n.Snapshot(ctx)
		if err != nil {
			text = err.Error()
		}
		addresses, rules := Sections(text)
		o.Recorder.Change(o.name(n), func(node *Node) {
			node.Addresses, node.Rules = addresses, rules
			if held := c.Secondary(n); len(held) > 0 {
				node.Static = held[0]
			}
		})
	}
	o.mu.Lock()
	o.done = true
	o.mu.Unlock()
	return o.Recorder.Finish(c.Cloud.Calls())
}

// results returns a table of what is known of each node.
func (r *Recording) results() Table {
	t := Table{Columns: []string{"NODE", "ROLE", "INSTANCE", "PRIMARY IP", "STATIC IP", "SEEN ON PREMISES", "RUNS", "LAST EXIT CODE"}}
	for _, v := range r.views() {
		last := "-"
		if n := len(v.Runs); n > 0 {
			last = exitText(v.Runs[n-1].ExitCode)
		}
		t.Rows = append(t.Rows, []string{v.Name, v.Role, v.Instance, v.Primary.String(), dash(v.Static), dash(v.after.Seen), number(len(v.Runs)), last})
	}
	return t
}

// heading matches the heading of a section of a snapshot.
var heading = regexp.MustCompile(`(?m)^# (.*)\n`)

// Sections returns the addresses of a snapshot of a node, and its rules: of nft, and of
// iptables-legacy.
func Sections(snapshot string) (addresses, rules string) {
	found := heading.FindAllStringSubmatchIndex(snapshot, -1)
	for i, at := range found {
		end := len(snapshot)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		name, body := snapshot[at[2]:at[3]], strings.TrimSpace(snapshot[at[1]:end])
		switch {
		case strings.HasPrefix(name, "ip ") && strings.Contains(name, "address"):
			addresses = body
		case strings.HasPrefix(name, "nft"), strings.HasPrefix(name, "iptables-legacy"):
			rules = strings.TrimSpace(rules + "\n" + body)
		}
	}
	return addresses, rules
}
