package scenario

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/pflag"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

// programCommands run programs on nodes.
func programCommands() map[string]Command {
	return map[string]Command{
		"launch": {Usage: "launch [--exit CODES] [--other] [NODES]", About: "Runs the bootstrap action on nodes, on all of them at once. Without NODES: on those on which it has not been started yet. Each must end with one of the exit codes (default: 0).", Prints: true, most: 1, flags: launchFlags},
		"agent":  {Usage: "agent [--exit CODES] [--other] [--env NAME=VALUE] [--user root|hadoop] NODES [ARGUMENT...]", About: "Runs emr-static-ip with other arguments on nodes, on all of them at once.", Prints: true, least: 1, most: -1, flags: agentFlags},
		"on":     {Usage: "on [--exit CODES] NODES PROGRAM [ARGUMENT...]", About: "Runs a program of the machine on nodes.", Prints: true, least: 2, most: -1, flags: onFlags},
		"await":  {Usage: "await", About: "Waits for all programs in the background. It fails if one of their lines has failed.", parse: parseAwait},
	}
}

// A program is a parsed line that runs a program.
type program struct {
	exits string
	codes []int
	other bool
	env   []string
	user  string
	on    bool // a program of the machine, not the agent
	path  string
	args  []string
}

func (g *program) flags(f *pflag.FlagSet) { f.StringVar(&g.exits, "exit", "0", "") }

func (g *program) agentFlags(f *pflag.FlagSet) {
	g.flags(f)
	f.BoolVar(&g.other, "other", false, "")
	f.StringArrayVar(&g.env, "env", nil, "")
	f.StringVar(&g.user, "user", "root", "")
}

// check checks the flags.
func (g *program) check() error {
	if g.user != "" && g.user != "root" && g.user != "hadoop" {
		return fmt.Errorf("--user %q: root or hadoop", g.user)
	}
	if g.exits == "any" {
		return nil
	}
	for c := range strings.SplitSeq(g.exits, ",") {
		code, err := strconv.Atoi(c)
		if err != nil || code < 0 || code > 255 {
			return fmt.Errorf("--exit %q: exit codes with commas between them, or any", g.exits)
		}
		g.codes = append(g.codes, code)
	}
	return nil
}

func launchFlags(f *pflag.FlagSet) reader {
	g := &program{}
	g.agentFlags(f)
	return g.parseLaunch
}

func (g *program) parseLaunch(words []string) (step, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	return func(p *play) error {
		pattern := "all"
		if len(words) == 1 {
			pattern = words[0]
		}
		nodes, err := p.nodes(pattern)
		if err != nil {
			return err
		}
		if len(words) == 0 {
			nodes = slices.DeleteFunc(nodes, func(n *lab.Node) bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.begun[n.Instance]
			})
			if len(nodes) == 0 {
				return errors.New("the bootstrap action was started on every node already: name the nodes")
			}
		}
		byCluster := func(n *lab.Node) ([]string, error) {
			group, err := p.group(n)
			if err != nil {
				return nil, err
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.begun[n.Instance] = true
			return group.args, nil
		}
		return p.run(*g, nodes, byCluster)
	}, nil
}

func agentFlags(f *pflag.FlagSet) reader {
	g := &program{}
	g.agentFlags(f)
	return func(words []string) (step, error) {
		g.args = words[1:]
		return g.step(words[0])
	}
}

func onFlags(f *pflag.FlagSet) reader {
	g := &program{on: true}
	g.flags(f)
	return func(words []string) (step, error) {
		g.path, g.args = words[1], words[2:]
		return g.step(words[0])
	}
}

// step returns the step that runs the program on the nodes that a pattern selects.
func (g *program) step(pattern string) (step, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	return func(p *play) error {
		nodes, err := p.nodes(pattern)
		if err != nil {
			return err
		}
		return p.run(*g, nodes, func(*lab.Node) ([]string, error) { return g.args, nil })
	}, nil
}

// run runs a program on nodes at once and compares the exit codes.
func (p *play) run(g program, nodes []*lab.Node, args func(*lab.Node) ([]string, error)) error {
	path := p.options.Binary
	switch {
	case g.on:
		path = g.path
	case g.other && p.options.Other == "":
		return errors.New("--other: no other version was given: emrsim run --other FILE")
	case g.other:
		path = p.options.Other
	}
	var mu sync.Mutex
	results := map[*lab.Node]lab.Result{}
	problems := map[*lab.Node]error{}
	each(nodes, func(n *lab.Node) {
		list, err := args(n)
		var got lab.Result
		if err == nil {
			got, err = p.cluster.Run(p.ctx, n, lab.Command{Program: path, OnNode: g.on, Args: list, Env: g.env, User: g.user})
		}
		if err == nil && g.codes != nil && !slices.Contains(g.codes, got.ExitCode) {
			err = mismatched("%s: exit code %d, expected %s: %s", n.Name, got.ExitCode, g.exits, reason(got.Stderr))
		}
		p.mu.Lock()
		p.runs[n.Name] = run{got, list}
		p.mu.Unlock()
		mu.Lock()
		defer mu.Unlock()
		results[n] = got
		if err != nil {
			problems[n] = err
		}
	})
	var failed error
	for _, n := range nodes {
		if p.out != nil {
			p.out.stdout = append(p.out.stdout, results[n].Stdout...)
			p.out.stderr = append(p.out.stderr, results[n].Stderr...)
		}
		failed = errors.Join(failed, problems[n])
	}
	return failed
}

// reason returns the line of a log that best explains a failure.
func reason(log string) string {
	last := "it said nothing"
	for line := range strings.Lines(log) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		last = line
		if strings.HasPrefix(line, "emr-static-ip: ") || strings.HasPrefix(line, "emr-static-ip failed: ") {
			break
		}
	}
	return last
}

func parseAwait([]string) (step, error) {
	return func(p *play) error {
		p.waiting.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		late := p.late
		p.late = nil
		return errors.Join(late...)
	}, nil
}
