package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

// expectations are about EC2, the ledger, and the runs of programs.
func expectations() map[string]Command {
	return map[string]Command{
		"has":      {Usage: "has NODES ADDRESS...|none", About: "EC2 has assigned exactly one of these addresses to each node, beside its primary IP, and the link has it as /32.", Negatable: true, least: 2, most: -1, parse: parseHas},
		"distinct": {Usage: "distinct NODES", About: "Each node has one static IP, and no two have the same one.", Negatable: true, least: 1, most: 1, parse: parseDistinct},
		"ledger":   {Usage: "ledger ADDRESS [NODE]", About: "The ledger has a record of the address; with NODE: of this node's instance.", Negatable: true, least: 1, most: 2, parse: parseLedger},
		"records":  {Usage: "records N", About: "The ledger has exactly N records.", Negatable: true, least: 1, most: 1, parse: parseRecords},
		"exited":   {Usage: "exited NODES CODE", About: "The last program on each node ended with this exit code.", Negatable: true, least: 2, most: 2, parse: parseExited},
		"said":     {Usage: "said NODES PATTERN", About: "The last program on each node printed text that matches a regular expression, to stdout or stderr. (?m) makes ^ and $ match at lines.", Negatable: true, least: 2, most: 2, parse: parseSaid},
		"calls":    {Usage: "calls NODES [CALL] N|<N|>N", About: "Each node has made so many calls to AWS so far, IMDS not counted; with CALL: calls of this action.", Negatable: true, least: 2, most: 3, parse: parseCalls},
		"tag":      {Usage: "tag NODES NAME [VALUE]", About: "Each node's instance has this tag; with VALUE: with this value.", Negatable: true, least: 2, most: 3, parse: parseTag},
		"within":   {Usage: "within DURATION EXPECTATION...", About: "The expectation is met before the time is over. It is tried again and again.", least: 2, most: -1, parse: parseWithin},
	}
}

// onEach returns a step that checks each of the nodes that a pattern selects.
func onEach(pattern string, check func(*play, *lab.Node) error) step {
	return func(p *play) error {
		nodes, err := p.nodes(pattern)
		if err != nil {
			return err
		}
		problems := make([]error, len(nodes))
		each(nodes, func(n *lab.Node) { problems[indexOf(nodes, n)] = check(p, n) })
		return combined(problems)
	}
}

// combined joins problems. The result is a mismatch only if all of them are: something that could
// not be looked at is an error under ! too.
func combined(problems []error) error {
	var texts []string
	var other error
	for _, err := range problems {
		var m mismatch
		switch {
		case err == nil:
		case errors.As(err, &m):
			texts = append(texts, err.Error())
		default:
			other = errors.Join(other, err)
		}
	}
	if other != nil {
		return other
	}
	if texts != nil {
		return mismatch{strings.Join(texts, "\n")}
	}
	return nil
}

func parseHas(words []string) (step, error) {
	var allowed []netip.Addr
	var err error
	if len(words) != 2 || words[1] != "none" {
		if allowed, err = addresses(words[1:]); err != nil {
			return nil, err
		}
	}
	return onEach(words[0], func(p *play, n *lab.Node) error { return p.has(n, allowed) }), nil
}

// has checks that a node has one of the addresses, or none if there are no addresses.
func (p *play) has(n *lab.Node, allowed []netip.Addr) error {
	assigned := p.cluster.Secondary(n)
	onLink, err := n.Addresses(p.ctx, n.Link)
	if err != nil {
		return err
	}
	onLink = slices.DeleteFunc(onLink, func(a string) bool { return !strings.HasSuffix(a, "/32") })
	switch {
	case len(allowed) == 0 && len(assigned) == 0 && len(onLink) == 0:
		return nil
	case len(allowed) == 0:
		return mismatched("%s: EC2 has assigned %v, and %s has %v; nothing is expected", n.Name, assigned, n.Link, onLink)
	case len(assigned) != 1 || !slices.Contains(allowed, assigned[0]):
		return mismatched("%s: EC2 has assigned %v; expected is one of %v", n.Name, assigned, allowed)
	case !slices.Equal(onLink, []string{assigned[0].String() + "/32"}):
		return mismatched("%s: %s has %v; expected is %s/32", n.Name, n.Link, onLink, assigned[0])
	}
	return nil
}

func parseDistinct(words []string) (step, error) {
	return func(p *play) error {
		nodes, err := p.nodes(words[0])
		if err != nil {
			return err
		}
		return p.distinct(nodes)
	}, nil
}

func (p *play) distinct(nodes []*lab.Node) error {
	holders := map[netip.Addr]string{}
	var problems []error
	for _, n := range nodes {
		a, err := p.static(n)
		if other := holders[a]; err == nil && other != "" {
			err = mismatched("%s and %s both have %s", other, n.Name, a)
		}
		problems = append(problems, err)
		holders[a] = n.Name
	}
	return combined(problems)
}

func parseLedger(words []string) (step, error) {
	a, err := oneAddress(words[0])
	if err != nil {
		return nil, err
	}
	return func(p *play) error {
		if _, err := p.built(); err != nil {
			return err
		}
		if len(words) == 2 {
			n, err := p.node(words[1])
			if err != nil {
				return err
			}
			return p.recorded(a, n)
		}
		_, found, err := p.cluster.Ledger(a)
		if err == nil && !found {
			err = mismatched("the ledger has no record of %s", a)
		}
		return err
	}, nil
}

// recorded checks that the ledger gives an address to a node.
func (p *play) recorded(a netip.Addr, n *lab.Node) error {
	record, found, err := p.cluster.Ledger(a)
	switch {
	case err != nil:
		return err
	case !found:
		return mismatched("the ledger has no record of %s; expected is %s (%s)", a, n.Name, n.Instance)
	case !strings.Contains(record, `"`+n.Instance+`"`):
		return mismatched("the record of %s does not name %s (%s): %s", a, n.Name, n.Instance, record)
	}
	return nil
}

func parseRecords(words []string) (step, error) {
	want, err := strconv.Atoi(words[0])
	if err != nil || want < 0 {
		return nil, fmt.Errorf("%q is no number", words[0])
	}
	return onCluster(func(p *play, c *lab.Cluster) error {
		if list := c.Cloud.Parameters(); len(list) != want {
			var names []string
			for _, r := range list {
				names = append(names, r.Name)
			}
			return mismatched("the ledger has %s, expected %d: %v", lab.Count(len(list), "record"), want, names)
		}
		return nil
	}), nil
}

func parseExited(words []string) (step, error) {
	code, err := strconv.Atoi(words[1])
	if err != nil {
		return nil, fmt.Errorf("%q is no exit code", words[1])
	}
	return onEach(words[0], func(p *play, n *lab.Node) error {
		r, err := p.last(n)
		if err == nil && r.ExitCode != code {
			err = mismatched("%s: exit code %d, expected %d: %s", n.Name, r.ExitCode, code, reason(r.Stderr))
		}
		return err
	}), nil
}

func parseSaid(words []string) (step, error) {
	pattern, err := regexp.Compile(words[1])
	if err != nil {
		return nil, err
	}
	return onEach(words[0], func(p *play, n *lab.Node) error {
		r, err := p.last(n)
		if err == nil && !pattern.MatchString(r.Stdout) && !pattern.MatchString(r.Stderr) {
			err = mismatched("%s did not print %q:\n%s%s", n.Name, words[1], r.Stdout, r.Stderr)
		}
		return err
	}), nil
}

var number = regexp.MustCompile(`^([<>]?)(\d+)$`)

func parseCalls(words []string) (step, error) {
	m := number.FindStringSubmatch(words[len(words)-1])
	if m == nil {
		return nil, fmt.Errorf("%q: a number, with < or > before it", words[len(words)-1])
	}
	want, err := strconv.Atoi(m[2])
	if err != nil {
		return nil, err
	}
	return onEach(words[0], func(p *play, n *lab.Node) error {
		got := 0
		for _, c := range p.cluster.Calls(n) {
			if len(words) == 2 || c.Key() == words[1] {
				got++
			}
		}
		what := lab.Count(got, "call")
		if len(words) == 3 {
			what += " of " + words[1]
		}
		if (m[1] == "" && got == want) || (m[1] == "<" && got < want) || (m[1] == ">" && got > want) {
			return nil
		}
		return mismatched("%s has made %s, expected %s%d", n.Name, what, m[1], want)
	}), nil
}

func parseTag(words []string) (step, error) {
	return onEach(words[0], func(p *play, n *lab.Node) error {
		for _, i := range p.cluster.Cloud.Instances() {
			if i.InstanceID != n.Instance {
				continue
			}
			value, found := i.Tags[words[1]]
			switch {
			case !found:
				return mismatched("%s has no tag %s", n.Name, words[1])
			case len(words) == 3 && value != words[2]:
				return mismatched("%s: the tag %s is %q, expected %q", n.Name, words[1], value, words[2])
			}
		}
		return nil
	}), nil
}

func parseWithin(words []string) (step, error) {
	limit, err := time.ParseDuration(words[0])
	if err != nil {
		return nil, err
	}
	words = words[1:]
	negative := words[0] == "!"
	if negative {
		words = words[1:]
	}
	if len(words) == 0 || !commands[words[0]].Negatable {
		return nil, errors.New("within is for expectations")
	}
	do, err := commands[words[0]].prepare(words[0], negative, words[1:])
	if err != nil {
		return nil, err
	}
	return func(p *play) error {
		for deadline := time.Now().Add(limit); ; {
			err := do(p)
			var m mismatch
			if !errors.As(err, &m) {
				return err
			}
			if time.Now().After(deadline) {
				return mismatched("not within %s: %v", limit, err)
			}
			select {
			case <-p.ctx.Done():
				return p.ctx.Err()
			case <-time.After(100 * time.Millisecond):
			}
		}
	}, nil
}
