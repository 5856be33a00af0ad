package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

// A play is a scenario that runs, as one of its commands sees it.
type play struct {
	*world
	out *output // nil in the background
}

// output is what programs have printed.
type output struct{ stdout, stderr []byte }

// A world is the state of a scenario that runs.
type world struct {
	ctx     context.Context
	options Options
	script  *testscript.TestScript // while a command runs

	spec    lab.ClusterSpec // of the first cluster: what the lines before it have set
	cluster *lab.Cluster    // the first cluster, which owns the lab; nil before it is built
	groups  []*group        // all clusters
	faults  *faults

	waiting sync.WaitGroup // programs in the background
	mu      sync.Mutex
	late    []error // problems of the background
	runs    map[string]run
	begun   map[string]bool // nodes on which the bootstrap action was started, by instance
	kept    map[string]string
	boxes   map[string]*lab.Container // by the node's name
}

// A group is one cluster with what its bootstrap action asks for.
type group struct {
	*lab.Cluster
	args   []string
	wanted agent.Config
}

// A run is the last run of a program on a node.
type run struct {
	lab.Result
	args []string
}

func newPlay(ctx context.Context, o Options) *play {
	p := &play{world: &world{
		ctx: ctx, options: o, faults: &faults{cut: map[string][]string{}},
		runs: map[string]run{}, begun: map[string]bool{}, kept: map[string]string{}, boxes: map[string]*lab.Container{},
	}}
	p.spec.Account = account(o.Seed)
	p.spec.Account.Authorize = p.faults.authorize
	p.spec.Observer = o.Observer
	p.spec.Progress = func(e lab.Event) {
		p.faults.heard(e)
		if o.Progress != nil {
			o.Progress(e)
		}
	}
	return p
}

// do runs a step. A context that has ended is the reason of whatever fails then.
func (p *play) do(s step) error {
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	err := s(p)
	if err != nil && p.ctx.Err() != nil {
		return errors.Join(context.Cause(p.ctx), err)
	}
	return err
}

func (p *play) close() {
	for _, c := range p.boxes {
		c.Close()
	}
	if p.cluster != nil {
		p.cluster.Close()
	}
	p.waiting.Wait()
}

// background runs a step beside those that follow.
func (p *play) background(s step) error {
	p.waiting.Go(func() {
		if err := s(&play{world: p.world}); err != nil {
			p.mu.Lock()
			p.late = append(p.late, err)
			p.mu.Unlock()
		}
	})
	return nil
}

// condition reports whether [name] holds.
func (p *play) condition(name string) (bool, error) {
	switch name {
	case "other":
		return p.options.Other != "", nil
	case "root":
		return !lab.OneUser(), nil
	case "iptables", "nft":
		_, err := exec.LookPath(name)
		return err == nil, nil
	}
	return false, errors.New("unknown condition")
}

// built returns the first cluster.
func (p *play) built() (*lab.Cluster, error) {
	if p.cluster == nil {
		return nil, errors.New("there is no cluster yet: begin with the command cluster")
	}
	return p.cluster, nil
}

// nodes returns the nodes that a pattern selects: names with *, separated by commas, or
// all. Each of the names must select a node that those before it do not.
func (p *play) nodes(pattern string) ([]*lab.Node, error) {
	c, err := p.built()
	if err != nil {
		return nil, err
	}
	all := c.Nodes()
	selected := map[*lab.Node]bool{}
	for one := range strings.SplitSeq(pattern, ",") {
		before := len(selected)
		for _, n := range all {
			matches, err := path.Match(one, n.Name)
			if err != nil {
				return nil, fmt.Errorf("pattern %q: %w", one, err)
			}
			if one == "all" || matches {
				selected[n] = true
			}
		}
		if len(selected) == before {
			var names []string
			for _, n := range all {
				names = append(names, n.Name)
			}
			return nil, fmt.Errorf("no node %q: there are %s", one, strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(all, func(n *lab.Node) bool { return !selected[n] }), nil
}

// node returns the one node that has a name.
func (p *play) node(name string) (*lab.Node, error) {
	found, err := p.nodes(name)
	if err == nil && len(found) != 1 {
		return nil, fmt.Errorf("%q: %d nodes, and one is needed", name, len(found))
	}
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// group returns the cluster of a node.
func (p *play) group(n *lab.Node) (*group, error) {
	if i := p.cluster.Cloud.Node(n.Instance); i != nil {
		for _, g := range p.groups {
			if g.ID == i.ClusterID {
				return g, nil
			}
		}
	}
	return nil, fmt.Errorf("%s (%s) is in no cluster", n.Name, n.Instance)
}

// pool returns the addresses that a node may have.
func (p *play) pool(n *lab.Node) ([]netip.Addr, error) {
	g, err := p.group(n)
	if err != nil {
		return nil, err
	}
	return g.wanted.Pools.For(agent.Role(n.Role)), nil
}

// last returns the last run of a program on a node.
func (p *play) last(n *lab.Node) (run, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ran := p.runs[n.Name]
	if !ran {
		return run{}, fmt.Errorf("no program has run on %s", n.Name)
	}
	return r, nil
}

// file reads an embedded file of the scenario.
func (p *play) file(name string) (string, error) {
	text, err := os.ReadFile(p.script.MkAbs(name))
	if err != nil {
		return "", fmt.Errorf("reading the embedded file %s: %w", name, errors.Unwrap(err))
	}
	return string(text), nil
}

// account returns the options of an ordinary AWS account: see Account.
func account(seed uint64) cloud.Options {
	o := Account(seed)
	o.ShutdownTime = cloud.Exactly(time.Second)
	return o
}

// each calls f for all items at once.
func each[T any](items []T, f func(T)) {
	var all sync.WaitGroup
	for _, i := range items {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// static returns the one address that EC2 has assigned to the node beside its primary one.
func (p *play) static(n *lab.Node) (netip.Addr, error) {
	assigned := p.cluster.Secondary(n)
	if len(assigned) != 1 {
		return netip.Addr{}, mismatched("%s: EC2 has assigned %v, and one static IP is expected", n.Name, assigned)
	}
	return assigned[0], nil
}

// addresses parses addresses and ranges: 10.0.1.10, 10.0.1.10-12.
func addresses(words []string) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, w := range words {
		first, last, ranged := strings.Cut(w, "-")
		a, err := netip.ParseAddr(first)
		if err != nil {
			return nil, fmt.Errorf("%q is no address", w)
		}
		end := a
		if ranged {
			if !strings.Contains(last, ".") {
				last = first[:strings.LastIndexByte(first, '.')+1] + last
			}
			if end, err = netip.ParseAddr(last); err != nil || end.Less(a) {
				return nil, fmt.Errorf("%q is no range of addresses", w)
			}
		}
		for ; !end.Less(a); a = a.Next() {
			if all = append(all, a); len(all) > 4096 {
				return nil, fmt.Errorf("%q: too many addresses", w)
			}
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all, nil
}
