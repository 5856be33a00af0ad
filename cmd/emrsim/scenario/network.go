package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// networkExpectations are about packets and the kernel.
func networkExpectations() map[string]Command {
	return map[string]Command{
		"seen":    {Usage: "seen NODES[/container] [ADDRESS]", About: "Each node downloads a file from the data centre, through its firewall, and the file server sees this source address. Without ADDRESS: the static IP that EC2 has assigned.", Negatable: true, patient: true, least: 1, most: 2, parse: parseSeen},
		"refused": {Usage: "refused NODES[/container]", About: "The firewall refuses a download of each node.", Negatable: true, least: 1, most: 1, parse: parseRefused},
		"reached": {Usage: "reached ADDRESS NODE", About: "A connection from the data centre to the address reaches the node, whose service is bound to the primary IP.", Negatable: true, patient: true, least: 2, most: 2, parse: parseReached},
		"inside":  {Usage: "inside NODE OTHER primary|static", About: "Inside the VPC the other node sees the node's primary or static IP.", Negatable: true, patient: true, least: 3, most: 3, parse: parseInside},
		"s3":      {Usage: "s3 NODES", About: "Each node reads from S3 by the gateway endpoint, S3 sees its primary IP, and the bucket policy admits it.", Negatable: true, patient: true, least: 1, most: 1, parse: parseS3},
		"spoofed": {Usage: "spoofed N", About: "The VPC has dropped N packets whose source address EC2 had not given to the sending interface.", Negatable: true, least: 1, most: 1, parse: parseSpoofed},
		"rule":    {Usage: "rule NODES PATTERN", About: "The rules of iptables and nftables on each node match a regular expression.", Negatable: true, least: 2, most: 2, parse: parseRule},
		"same":    {Usage: "same NODES NAME", About: "Addresses, routes and rules of nodes are as at the snapshot.", Negatable: true, least: 2, most: 2, parse: parseSame},
		"settled": {Usage: "settled [NODES]", About: "All is as it should be: each node whose role has a pool has one of its addresses in EC2, on the link, in the ledger and seen on premises, no two have the same, the data centre reaches each by it, and another run changes nothing. Other nodes have none and are refused.", Negatable: true, patient: true, most: 1, parse: parseSettled},
	}
}

// download downloads from a node, or from its container.
func (p *play) download(n *lab.Node, container bool) (netip.Addr, error) {
	if !container {
		return p.cluster.Download(p.ctx, n)
	}
	p.mu.Lock()
	c := p.boxes[n.Name]
	p.mu.Unlock()
	if c == nil {
		return netip.Addr{}, fmt.Errorf("%s %w", n.Name, errNoContainer)
	}
	return c.Download(p.ctx)
}

var errNoContainer = errors.New("has no container")

func parseSeen(words []string) (step, error) {
	var want netip.Addr
	var err error
	if len(words) == 2 {
		if want, err = oneAddress(words[1]); err != nil {
			return nil, err
		}
	}
	pattern, container := strings.CutSuffix(words[0], "/container")
	return onEach(pattern, func(p *play, n *lab.Node) error { return p.seen(n, container, want) }), nil
}

// seen checks a download. If want is the zero Addr, the file server must see the node's static IP.
func (p *play) seen(n *lab.Node, container bool, want netip.Addr) error {
	if !want.IsValid() {
		var err error
		if want, err = p.static(n); err != nil {
			return err
		}
	}
	source, err := p.download(n, container)
	switch {
	case errors.Is(err, errNoContainer):
		return err
	case errors.Is(err, lab.ErrRefused):
		return mismatched("%s: the download was refused; the file server should have seen %s", n.Name, want)
	case err != nil:
		return mismatched("%s: the download broke off; the file server should have seen %s: %v", n.Name, want, err)
	case source != want:
		return mismatched("%s: the file server saw %s, expected %s", n.Name, source, want)
	}
	return nil
}

func parseRefused(words []string) (step, error) {
	pattern, container := strings.CutSuffix(words[0], "/container")
	return onEach(pattern, func(p *play, n *lab.Node) error {
		source, err := p.download(n, container)
		switch {
		case errors.Is(err, lab.ErrRefused):
			return nil
		case errors.Is(err, errNoContainer):
			return err
		case err != nil:
			return mismatched("%s: the download was not refused, it broke off: %v", n.Name, err)
		}
		return mismatched("%s: the download was done, from %s", n.Name, source)
	}), nil
}

func parseReached(words []string) (step, error) {
	a, err := oneAddress(words[0])
	if err != nil {
		return nil, err
	}
	return func(p *play) error {
		n, err := p.node(words[1])
		if err != nil {
			return err
		}
		return p.reached(a, n)
	}, nil
}

func (p *play) reached(a netip.Addr, n *lab.Node) error {
	answer, err := p.cluster.CallNode(p.ctx, a)
	switch {
	case errors.Is(err, lab.ErrRefused):
		return mismatched("a connection from the data centre to %s was refused; expected is %s", a, n.Name)
	case err != nil:
		return err
	case answer.Name != n.Name:
		return mismatched("a connection from the data centre to %s reached %s, expected %s", a, answer.Name, n.Name)
	}
	return nil
}

func parseInside(words []string) (step, error) {
	if words[2] != "primary" && words[2] != "static" {
		return nil, fmt.Errorf("%q: primary or static", words[2])
	}
	return func(p *play) error {
		from, err := p.node(words[0])
		if err != nil {
			return err
		}
		to, err := p.node(words[1])
		if err != nil {
			return err
		}
		want := from.Primary.Address
		if words[2] == "static" {
			if want, err = p.static(from); err != nil {
				return err
			}
		}
		answer, err := p.cluster.Call(p.ctx, from, to)
		switch {
		case errors.Is(err, lab.ErrRefused):
			return mismatched("a connection from %s to %s was refused", from.Name, to.Name)
		case err != nil:
			return err
		case answer.Source != want:
			return mismatched("%s saw %s as %s, expected %s", to.Name, from.Name, answer.Source, want)
		}
		return nil
	}, nil
}

func parseSpoofed(words []string) (step, error) {
	if !number.MatchString(words[0]) {
		return nil, fmt.Errorf("%q is no number", words[0])
	}
	return onCluster(func(p *play, c *lab.Cluster) error {
		n, err := c.Spoofed(p.ctx)
		if err == nil && fmt.Sprint(n) != words[0] {
			err = mismatched("the VPC dropped %s with a source address that is not the sender's, expected %s", lab.Count(n, "packet"), words[0])
		}
		return err
	}), nil
}

func parseRule(words []string) (step, error) {
	pattern, err := regexp.Compile("(?m)" + words[1])
	if err != nil {
		return nil, err
	}
	return onEach(words[0], func(p *play, n *lab.Node) error {
		rules, err := n.Rules(p.ctx)
		if err == nil && !pattern.MatchString(rules) {
			err = mismatched("%s has no rule %q:\n%s", n.Name, words[1], rules)
		}
		return err
	}), nil
}

func parseSame(words []string) (step, error) {
	return onEach(words[0], func(p *play, n *lab.Node) error {
		p.mu.Lock()
		before, kept := p.kept[n.Name+" "+words[1]]
		p.mu.Unlock()
		if !kept {
			return fmt.Errorf("there is no snapshot %s of %s", words[1], n.Name)
		}
		now, err := n.Snapshot(p.ctx)
		if err == nil && now != before {
			err = mismatched("%s: addresses, routes and rules were\n%s\nand are\n%s", n.Name, before, now)
		}
		return err
	}), nil
}

func parseSettled(words []string) (step, error) {
	pattern := "all"
	if len(words) == 1 {
		pattern = words[0]
	}
	return func(p *play) error {
		nodes, err := p.nodes(pattern)
		if err != nil {
			return err
		}
		var holders []*lab.Node
		for _, n := range nodes {
			pool, err := p.pool(n)
			if err != nil {
				return err
			}
			if len(pool) > 0 {
				holders = append(holders, n)
			}
		}
		if err := onEach(pattern, (*play).settled)(p); err != nil {
			return err
		}
		return p.distinct(holders)
	}, nil
}

// changeless matches the report of a run that has changed nothing.
var changeless = regexp.MustCompile(`(?m)^changed=0 `)

// settled checks everything about one node.
func (p *play) settled(n *lab.Node) error {
	pool, err := p.pool(n)
	if err != nil {
		return err
	}
	if err := p.has(n, pool); err != nil {
		return err
	}
	if len(pool) == 0 {
		if _, err := p.download(n, false); !errors.Is(err, lab.ErrRefused) {
			return mismatched("%s: no addresses are named for %s nodes, and its download was not refused: %v", n.Name, n.Role, err)
		}
		return nil
	}
	static, err := p.static(n)
	if err != nil {
		return err
	}
	group, err := p.group(n)
	if err != nil {
		return err
	}
	sources := []netip.Addr{n.Primary.Address}
	checks := []error{p.seen(n, false, static), p.reached(static, n), p.recorded(static, n)}
	if got := n.IMDSSources(); group.wanted.Scope != string(netcfg.ScopeAll) && !slices.Equal(got, sources) {
		checks = append(checks, mismatched("%s: IMDS was asked from %v, expected %v", n.Name, got, sources))
	}
	if err := combined(checks); err != nil {
		return err
	}
	before, err := n.Snapshot(p.ctx)
	if err != nil {
		return err
	}
	got, err := p.cluster.Run(p.ctx, n, lab.Command{Program: p.options.Binary})
	if err != nil {
		return err
	}
	after, err := n.Snapshot(p.ctx)
	switch {
	case err != nil:
		return err
	case got.ExitCode != 0:
		return mismatched("%s: another run ended with exit code %d: %s", n.Name, got.ExitCode, reason(got.Stderr))
	case !changeless.MatchString(got.Stdout) || before != after:
		return mismatched("%s: another run has changed something:\n%s", n.Name, got.Stdout)
	}
	return nil
}
