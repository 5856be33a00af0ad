package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/record"
)

// These methods tell the recorder what happens. A nil recorder ignores it.

// noteLine records a line of the scenario that is no expectation as a phase.
func (p *play) noteLine(c Command, line string) {
	if !c.Negatable {
		p.options.Recorder.Phase(line)
	}
}

// noteNodes records which nodes have come and gone since the last line.
func (p *play) noteNodes() {
	if p.options.Recorder == nil || p.cluster == nil {
		return
	}
	if len(p.joined) == 0 {
		p.noteNetwork()
	}
	alive := map[string]bool{}
	for _, n := range p.cluster.Nodes() {
		alive[n.Name] = true
		if p.joined[n.Name] {
			continue
		}
		p.joined[n.Name] = true
		one := record.Node{Name: n.Name, Role: n.Role, Instance: n.Instance, Subnet: p.cluster.SubnetID, Interface: n.Link, Primary: n.Primary.Address}
		if g, err := p.group(n); err == nil {
			one.Cluster = g.ID
		}
		if n.Second != nil {
			one.Second = n.Second.Address
		}
		p.options.Recorder.Join(one)
	}
	for name, here := range p.joined {
		if here && !alive[name] {
			p.joined[name] = false
			p.options.Recorder.Leave(name)
		}
	}
}

func (p *play) noteNetwork() {
	plan := p.cluster.Plan()
	p.options.Recorder.Set(func(r *record.Recording) {
		r.Tool, r.Arguments = agent.Version(), p.groups[0].args
		r.Topology = record.Topology{
			VPCs:   []record.VPC{{CIDRs: []netip.Prefix{plan.VPC}, Subnets: []record.Subnet{{ID: p.cluster.SubnetID, CIDR: plan.Subnet}}}},
			OnPrem: plan.OnPrem, Server: plan.Server, Port: 80, Admitted: p.cluster.Admitted(),
		}
		r.Facts = append(r.Facts, record.Fact{Name: "iptables on the nodes", Value: string(p.cluster.Iptables())}, record.Fact{Name: "Seed", Value: fmt.Sprint(p.spec.Account.Seed)})
	})
}

// noteDownload records a connection to the data centre.
func (p *play) noteDownload(n *lab.Node, seen netip.Addr, err error) {
	outcome := "done"
	switch {
	case errors.Is(err, lab.ErrRefused):
		outcome = "refused"
	case err != nil:
		outcome = "failed"
	}
	p.mu.Lock()
	_, after := p.runs[n.Name]
	p.mu.Unlock()
	p.options.Recorder.See(record.Sighting{Node: n.Name, After: after, Seen: seen, Outcome: outcome})
}

// recording ends the recording: with the nodes as they are now, and the problem that has ended the
// scenario.
func (p *play) recording(title string, r *runner) *record.Recording {
	c := p.options.Recorder
	if c == nil {
		return nil
	}
	c.Set(func(r *record.Recording) { r.Title = title })
	for line := range strings.Lines(r.log.String()) {
		if text, found := strings.CutPrefix(line, "FAIL: "); found {
			c.Problem("", strings.TrimSpace(text), "")
		}
	}
	if p.cluster == nil {
		return c.Finish(nil)
	}
	for _, n := range p.cluster.Nodes() {
		addresses, err := n.Addresses(p.ctx, n.Link)
		if err != nil {
			addresses = []string{err.Error()}
		}
		rules, err := n.Rules(p.ctx)
		if err != nil {
			rules = err.Error()
		}
		assigned := p.cluster.Secondary(n)
		c.Change(n.Name, func(r *record.Node) {
			r.Addresses, r.Rules = n.Link+" "+strings.Join(addresses, " "), rules
			if len(assigned) > 0 {
				r.Static = assigned[0]
			}
		})
	}
	return c.Finish(p.cluster.Cloud.Calls())
}
