package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/record"
)

// A rehearsal is one launch, from the empty machine to the final table.
type rehearsal struct {
	screen  *screen
	rec     *record.Recorder
	spec    lab.ClusterSpec
	policy  string // origin of the policy
	binary  string
	args    []string
	wanted  agent.Config // the parsed args
	verbose bool
	shell   string
	report  string // file for the recording; empty for none
	saved   bool
	keep    bool
	life    context.Context // of the whole rehearsal, without the bound of --timeout
	start   time.Time

	cluster *lab.Cluster
	rows    []*row

	mu       sync.Mutex
	problems []record.Problem
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
	err := r.rehearse(ctx)
	saved := r.save(ctx, err)
	if failed := r.screen.err(); failed != nil && (err == nil || errors.As(err, new(exitError))) {
		err = failed
	}
	return errors.Join(err, saved)
}

// rehearse builds the cluster, runs all steps, and shows the results.
func (r *rehearsal) rehearse(ctx context.Context) error {
	r.spec.Progress = r.event
	r.rec.Phase("build")
	r.say("", "building %s with %s in subnet %s; seed %d", r.system(), size(r.spec), r.place(), r.spec.Account.Seed)
	r.say("", "the nodes may do what %s allows, and nothing else", r.policy)
	for _, from := range r.spec.EMRFilesFrom {
		r.say("", "%s", from)
	}
	var err error
	if r.cluster, err = lab.Launch(ctx, r.spec); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	defer r.cluster.Close()
	r.describe()
	r.screen.printf("%s", picture(r.cluster.Plan(), r.spec, r.cluster.Nodes()[0]))
	for _, n := range r.cluster.Nodes() {
		r.rows = append(r.rows, &row{node: n, before: errNotTried, after: errNotTried, changed: -1})
		second := ""
		if n.Second != nil {
			second = fmt.Sprintf(", and EMR's own interface %s %s", n.SecondLink, n.Second.Address)
		}
		r.join(n)
		r.screen.join(n.Name, fmt.Sprintf("%s is up: %s %s%s", n.Instance, n.Link, n.Primary.Address, second))
	}
	for _, step := range []func(context.Context){r.lookBefore, r.runFirst, r.lookAfter, r.runSecond, r.compare, r.checkCluster} {
		step(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if err := r.cluster.Err(); err != nil {
		r.problem("", "the lab itself failed: %v", err)
	}
	r.table()
	r.screen.settle()
	if r.report != "" {
		r.lookInside(ctx)
		if err := r.save(ctx, nil); err != nil {
			return err
		}
	}
	if err := r.screen.err(); err != nil {
		return err // nobody would see what is printed from here on
	}
	if r.shell != "" {
		err = r.openShell(ctx)
		if err != nil && !errors.As(err, new(exitError)) {
			return err
		}
	}
	if r.keep {
		if err := r.stay(r.life); err != nil {
			return err
		}
	}
	if err != nil {
		return err // the exit code of the shell
	}
	if len(r.problems) > 0 {
		return exitError(1)
	}
	return nil
}

// place names the cluster's subnet, or those that EMR picks from.
func (r *rehearsal) place() string {
	if subnets := r.spec.Shape.Subnets; len(subnets) > 0 {
		return fmt.Sprintf("one of %v", subnets)
	}
	return r.spec.Subnet.String()
}

// size returns how many nodes of each role there are: "1 master and 3 core nodes".
func size(spec lab.ClusterSpec) string {
	var parts []string
	for _, p := range []struct {
		n    int
		noun string
	}{{spec.Masters, "master"}, {spec.Cores, "core node"}, {spec.Tasks, "task node"}, {spec.Plain, "instance"}} {
		if p.n > 0 {
			parts = append(parts, lab.Count(p.n, p.noun))
		}
	}
	last := len(parts) - 1
	if last == 0 {
		return parts[0]
	}
	return strings.Join(parts[:last], ", ") + " and " + parts[last]
}

// nodeNames returns the names that the nodes of a cluster will have.
func nodeNames(spec lab.ClusterSpec) (names []string) {
	for _, p := range []struct {
		n    int
		role string
	}{{spec.Masters, "master"}, {spec.Cores, "core"}, {spec.Tasks, "task"}, {spec.Plain, "node"}} {
		for i := range p.n {
			names = append(names, fmt.Sprintf("%s-%d", p.role, i+1))
		}
	}
	if spec.Masters == 1 {
		names[0] = "master"
	}
	return names
}

// lookBefore shows that the firewall does not admit any node yet.
func (r *rehearsal) lookBefore(ctx context.Context) {
	r.phase("before: every node downloads from the data centre, %s, whose firewall admits %s only", r.cluster.Plan().Server, lab.Count(len(r.spec.Static), "static IP"))
	r.each(func(w *row) {
		_, w.before = r.cluster.Download(ctx, w.node)
		dropped := 0
		defer func() {
			r.rec.See(record.Sighting{Node: w.node.Name, Outcome: outcome(w.before), Dropped: dropped})
		}()
		switch {
		case w.before == nil:
			r.problem(w.node.Name, "the download was not refused before the node had its static IP")
			return
		case !errors.Is(w.before, lab.ErrRefused):
			r.problem(w.node.Name, "the download before failed in another way: %v", w.before)
			return
		}
		seen, err := r.cluster.Dropped(ctx, w.node)
		dropped = seen
		if err != nil {
			r.problem(w.node.Name, "asking the firewall: %v", err)
		} else if dropped == 0 {
			r.problem(w.node.Name, "the download was refused, but not by the firewall: it has seen nothing from %s", w.node.Primary.Address)
		}
		r.say(w.node.Name, "download refused: the firewall dropped %s from %s", lab.Count(dropped, "packet"), w.node.Primary.Address)
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
	r.phase("all nodes at once: emr-static-ip %s", strings.Join(r.args, " "))
	r.each(func(w *row) {
		w.first = r.runAgent(ctx, w, r.args)
		w.calls = r.cluster.APICalls(w.node)
	})
}

// runSecond runs the agent again without arguments, as an operator would over SSH.
func (r *rehearsal) runSecond(ctx context.Context) {
	again := r.those(func(w *row) bool { return w.first.ExitCode == 0 })
	if again == "" {
		return
	}
	r.phase("a second run on %s, without arguments", again)
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

// those says on how many nodes something is to be done: "every node", "3 of 4 nodes"; empty for
// none.
func (r *rehearsal) those(which func(*row) bool) string {
	n := 0
	for _, w := range r.rows {
		if which(w) {
			n++
		}
	}
	switch {
	case n == 0:
		return ""
	case n == len(r.rows):
		return "every node"
	}
	return fmt.Sprintf("%d of %s", n, lab.Count(len(r.rows), "node"))
}

// runAgent runs the agent on one node and reports a failure.
func (r *rehearsal) runAgent(ctx context.Context, w *row, args []string) lab.Result {
	r.rec.Begin(w.node.Name, args)
	result, err := r.cluster.Run(ctx, w.node, lab.Command{Program: r.binary, Args: args})
	r.rec.End(w.node.Name, result.ExitCode, result.Stdout, result.Stderr)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		r.problem(w.node.Name, "%v", err)
		result.ExitCode = -1
	case result.ExitCode != 0:
		cause, remedy := record.Failure(result.Stderr)
		r.failure(w.node.Name, fmt.Sprintf("emr-static-ip ended with exit code %d: %s", result.ExitCode, cause), remedy)
	}
	if r.verbose {
		for line := range strings.Lines(result.Stdout) {
			r.say(w.node.Name, "| %s", strings.TrimRight(line, "\n"))
		}
	}
	r.say(w.node.Name, "ended with exit code %d after %.1f s: %s", result.ExitCode, result.Duration.Seconds(), summaryOf(result.Stdout))
	return result
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
	r.failure(node, fmt.Sprintf(format, args...), "")
}

// failure records a problem with its remedy.
func (r *rehearsal) failure(node, cause, remedy string) {
	r.screen.problem(node, cause)
	r.rec.Problem(node, cause, remedy)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = record.AddProblem(r.problems, node, cause, remedy)
}

// event shows a line that a node or the lab wrote.
func (r *rehearsal) event(e lab.Event) {
	r.rec.Event(e.Node, e.Text)
	text := e.Text
	if !r.verbose {
		text = brief(text)
	}
	if strings.TrimSpace(text) != "" {
		r.screen.say(e.Node, text)
	}
}

// say shows one line of progress.
func (r *rehearsal) say(node, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.rec.Event(node, text)
	r.screen.say(node, text)
}

// phase begins a phase of the rehearsal.
func (r *rehearsal) phase(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	name, _, _ := strings.Cut(text, ":")
	r.rec.Phase(name)
	r.screen.begin(text)
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
