package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

// A rehearsal is one launch, from the empty machine to the final table.
type rehearsal struct {
	out     io.Writer
	spec    lab.ClusterSpec
	policy  string // origin of the policy
	binary  string
	args    []string
	wanted  agent.Config // the parsed args
	verbose bool
	shell   string
	keep    bool
	life    context.Context // of the whole rehearsal, without the bound of --timeout
	start   time.Time

	cluster *lab.Cluster
	rows    []*row

	mu       sync.Mutex
	problems []string
}

// A row has the results for one node.
type row struct {
	node    *lab.Node
	static  netip.Addr // the address that EC2 assigned; the zero Addr for none
	seen    netip.Addr // the source address that the file server saw
	before  error      // error of the download; nil if it succeeded
	after   error
	first   lab.Result
	calls   int
	second  lab.Result
	changed int // changes of the second run; -1 if it did not report them
	other   secondInterface
}

// run rehearses. It returns an exitError if the table has shown the problems.
func (r *rehearsal) run(ctx context.Context) error {
	r.spec.Progress = r.event
	r.say("", "building %s with %d master, %d core and %d task nodes in subnet %s; seed %d", r.spec.Release, r.spec.Masters, r.spec.Cores,
		r.spec.Tasks, r.spec.Subnet, r.spec.Account.Seed)
	r.say("", "the nodes may do what %s allows, and nothing else", r.policy)
	var err error
	if r.cluster, err = lab.Launch(ctx, r.spec); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	defer r.cluster.Close()
	if r.shell != "" && r.named(r.shell) == nil {
		return fmt.Errorf("--shell: there is no node %q", r.shell)
	}
	for _, n := range r.cluster.Nodes() {
		r.rows = append(r.rows, &row{node: n, before: errNotTried, after: errNotTried, changed: -1})
		second := ""
		if n.Second != nil {
			second = fmt.Sprintf(", and EMR's own interface %s %s", n.SecondLink, n.Second.Address)
		}
		r.say(n.Name, "%s is up: %s %s%s", n.Instance, n.Link, n.Primary.Address, second)
	}
	for _, step := range []func(context.Context){r.lookBefore, r.runFirst, r.lookAfter, r.runSecond, r.compare} {
		step(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if err := r.cluster.Err(); err != nil {
		r.problem("", "the lab itself failed: %v", err)
	}
	r.table()
	if r.shell != "" {
		if err := r.openShell(ctx); err != nil {
			return err
		}
	}
	if r.keep {
		if err := r.stay(r.life); err != nil {
			return err
		}
	}
	if len(r.problems) > 0 {
		return exitError(1)
	}
	return nil
}

// lookBefore shows that the firewall does not admit any node yet.
func (r *rehearsal) lookBefore(ctx context.Context) {
	r.say("", "before: every node downloads from the data centre, %s, whose firewall admits %d static IPs only", r.cluster.Plan().Server, len(r.spec.Static))
	r.each(func(w *row) {
		_, w.before = r.cluster.Download(ctx, w.node)
		switch {
		case w.before == nil:
			r.problem(w.node.Name, "the download was not refused before the node had its static IP")
			return
		case !errors.Is(w.before, lab.ErrRefused):
			r.problem(w.node.Name, "the download before failed in another way: %v", w.before)
			return
		}
		dropped, err := r.cluster.Dropped(ctx, w.node)
		if err != nil {
			r.problem(w.node.Name, "asking the firewall: %v", err)
		} else if dropped == 0 {
			r.problem(w.node.Name, "the download was refused, but not by the firewall: it has seen nothing from %s", w.node.Primary.Address)
		}
		r.say(w.node.Name, "download refused: the firewall dropped %d packets from %s", dropped, w.node.Primary.Address)
	})
	each(r.spec.Static, func(a netip.Addr) {
		if answer, err := r.cluster.CallNode(ctx, a); err == nil {
			r.problem("", "%s answered before anybody was given %s", answer.Name, a)
		}
	})
	r.each(func(w *row) { w.other = r.lookAtSecond(ctx, w.node) })
}

// runFirst runs the agent on all nodes at once, as EMR does.
func (r *rehearsal) runFirst(ctx context.Context) {
	r.say("", "all nodes at once: emr-static-ip %s", strings.Join(r.args, " "))
	r.each(func(w *row) {
		w.first = r.runAgent(ctx, w, r.args)
		w.calls = r.cluster.APICalls(w.node)
	})
}

// runSecond runs the agent again without arguments, as an operator would over SSH.
func (r *rehearsal) runSecond(ctx context.Context) {
	r.say("", "a second run on each node, without arguments")
	r.each(func(w *row) {
		if w.first.ExitCode != 0 {
			return
		}
		before, err := w.node.Snapshot(ctx)
		if err != nil {
			r.problem(w.node.Name, "%v", err)
			return
		}
		w.second = r.runAgent(ctx, w, nil)
		w.changed = changedOf(w.second.Stdout)
		switch after, err := w.node.Snapshot(ctx); {
		case err != nil:
			r.problem(w.node.Name, "%v", err)
		case after != before:
			r.problem(w.node.Name, "the second run changed the kernel's state: before\n%s\nafter\n%s", before, after)
		}
		if w.changed != 0 {
			r.problem(w.node.Name, "the second run did not report changed=0")
		}
	})
}

// runAgent runs the agent on one node and reports a failure.
func (r *rehearsal) runAgent(ctx context.Context, w *row, args []string) lab.Result {
	result, err := r.cluster.Run(ctx, w.node, lab.Command{Program: r.binary, Args: args})
	switch {
	case err != nil:
		r.problem(w.node.Name, "%v", err)
		result.ExitCode = -1
	case result.ExitCode != 0:
		r.problem(w.node.Name, "emr-static-ip ended with exit code %d: %s", result.ExitCode, firstError(result.Stderr))
	}
	if r.verbose {
		for line := range strings.Lines(result.Stdout) {
			r.say(w.node.Name, "| %s", strings.TrimRight(line, "\n"))
		}
	}
	r.say(w.node.Name, "ended with exit code %d after %.1f s: %s", result.ExitCode, result.Duration.Seconds(), summaryOf(result.Stdout))
	return result
}

// firstError returns the line of a log that best explains the failure.
func firstError(log string) string {
	last := "it said nothing"
	for line := range strings.Lines(log) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		last = line
		if strings.HasPrefix(line, "emr-static-ip: ") {
			break
		}
	}
	return last
}

// each calls f for all nodes at once.
func (r *rehearsal) each(f func(*row)) { each(r.rows, f) }

func each[T any](items []T, f func(T)) {
	var all sync.WaitGroup
	for _, i := range items {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// problem records a deviation from the expected state.
func (r *rehearsal) problem(node, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.say(node, "PROBLEM: %s", text)
	if node != "" {
		text = node + ": " + text
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, text)
}

// event shows a line that a node or the lab wrote. It drops the log's time, because say adds its
// own, and shortens the line, because other nodes write at the same time.
func (r *rehearsal) event(e lab.Event) {
	text := e.Text
	if !r.verbose {
		text = logTime.ReplaceAllString(text, "")
		if runes := []rune(text); len(runes) > lineWidth {
			text = string(runes[:lineWidth]) + "..."
		}
	}
	r.say(e.Node, "%s", text)
}

// lineWidth is the maximum length of a line of progress, in characters.
const lineWidth = 140

// logTime matches the prefix of the agent's log lines.
var logTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d{4})\s+INFO\s+`)

// say prints one line of progress.
func (r *rehearsal) say(node, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, "%7.2fs  %-9s %s\n", time.Since(r.start).Seconds(), node, fmt.Sprintf(format, args...))
}

// named returns a node by its name.
func (r *rehearsal) named(name string) *lab.Node {
	for _, n := range r.cluster.Nodes() {
		if n.Name == name {
			return n
		}
	}
	return nil
}
