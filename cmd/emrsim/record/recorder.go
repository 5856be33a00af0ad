package record

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// A Recorder collects a Recording. Its methods may be used concurrently. The methods of a nil
// *Recorder do nothing, so that a rehearsal without a report needs no branches.
type Recorder struct {
	now func() time.Time

	mu      sync.Mutex
	r       Recording
	byName  map[string]*Node
	signals map[string][]signal // by node
	open    map[string]int      // node -> index of its run under way
}

// New returns a Recorder that begins now. The clock now is time.Now but for virtual time.
func New(title, command string, arguments []string, now func() time.Time) *Recorder {
	if now == nil {
		now = time.Now
	}
	return &Recorder{
		now: now, byName: map[string]*Node{}, signals: map[string][]signal{}, open: map[string]int{},
		r: Recording{Version: Version, Title: title, Command: command, Arguments: slices.Clone(arguments), Start: now(), Outcome: Passed},
	}
}

// at returns the seconds since the start, to the microsecond.
func (c *Recorder) at(t time.Time) float64 {
	return math.Round(max(0, t.Sub(c.r.Start).Seconds())*1e6) / 1e6
}

// Set changes properties of the recording: its title, topology, facts.
func (c *Recorder) Set(change func(*Recording)) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.r)
}

// Fact adds a property.
func (c *Recorder) Fact(name, value string) {
	c.Set(func(r *Recording) { r.Facts = append(r.Facts, Fact{name, value}) })
}

// Join adds a node that comes up now. A second node of the same name replaces the first in the map
// of names: give each its own.
func (c *Recorder) Join(n Node) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n.From = c.at(c.now())
	c.byName[n.Name] = &n
	c.r.Nodes = append(c.r.Nodes, &n)
}

// Change changes a node's properties: its static IP, its rules.
func (c *Recorder) Change(name string, change func(*Node)) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.byName[name]; n != nil {
		change(n)
	}
}

// Leave says that a node's instance ends now.
func (c *Recorder) Leave(name string) {
	if c == nil {
		return
	}
	c.Mark(name, StepEnded, "the instance ended")
	c.Change(name, func(n *Node) { n.Until, n.Ended = c.at(c.now()), true })
}

// Phase begins a phase of the rehearsal.
func (c *Recorder) Phase(text string) {
	c.Set(func(r *Recording) { r.Phases = append(r.Phases, Phase{c.at(c.now()), text}) })
}

// Event adds a line of progress. A line of an agent's log says which step the node has come to.
func (c *Recorder) Event(node, text string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.at(c.now())
	c.r.Events = append(c.r.Events, Event{at, node, text})
	if kind := stepOf(text); kind != "" {
		c.signal(node, at, kind, "")
	}
}

// Mark adds a moment to a node's time line, with one of the kinds that are moments: StepKilled and
// so on.
func (c *Recorder) Mark(node, kind, text string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.signal(node, c.at(c.now()), kind, text)
}

// Begin says that a run of emr-static-ip begins on a node now.
func (c *Recorder) Begin(node string, arguments []string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.byName[node]
	if n == nil {
		return
	}
	at := c.at(c.now())
	kind := StepIdentify
	if slices.Contains(arguments, "release") {
		kind = StepRelease
	}
	n.Runs = append(n.Runs, Run{From: at, Until: -1, Arguments: strings.Join(arguments, " ")})
	c.open[node] = len(n.Runs) - 1
	c.signals[node] = append(c.signals[node], signal{at: at, kind: kind, run: true})
}

// End says that the run that was begun last on the node has ended now. The exit code is 128 plus
// the number of a signal that killed it.
func (c *Recorder) End(node string, exitCode int, report, log string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n, i := c.byName[node], c.open[node]
	if n == nil || i >= len(n.Runs) {
		return
	}
	at := c.at(c.now())
	run := &n.Runs[i]
	run.Until, run.ExitCode, run.Report, run.Log = at, exitCode, report, log
	c.signal(node, at, stepNone, "")
	switch {
	case exitCode > 128:
		c.signal(node, at, StepKilled, fmt.Sprintf("the run was killed by signal %d", exitCode-128))
	case exitCode != 0:
		c.signal(node, at, StepFailed, fmt.Sprintf("the run ended with exit code %d", exitCode))
	}
}

// See adds a connection of a node to the data centre.
func (c *Recorder) See(s Sighting) {
	c.Set(func(r *Recording) {
		s.At = c.at(c.now())
		r.Sightings = append(r.Sightings, s)
	})
}

// Problem adds a deviation from what is expected. Equal problems of several nodes become one.
func (c *Recorder) Problem(node, cause, remedy string) {
	c.Set(func(r *Recording) {
		r.Outcome = Failed
		r.Problems = AddProblem(r.Problems, node, cause, remedy)
	})
}

// AddProblem adds a problem to a list, in which equal problems of several nodes are one. Equal are
// also those that differ only in the nodes' identifiers and addresses.
func AddProblem(list []Problem, node, cause, remedy string) []Problem {
	i := slices.IndexFunc(list, func(p Problem) bool {
		return alike(p.Cause, cause) && alike(p.Remedy, remedy) && (len(p.Nodes) > 0) == (node != "")
	})
	if i < 0 {
		p := Problem{Cause: cause, Remedy: remedy}
		if node != "" {
			p.Nodes = []string{node}
		}
		return append(list, p)
	}
	p := &list[i]
	if node == "" || slices.Contains(p.Nodes, node) {
		if p.Cause == cause && p.Remedy == remedy {
			return list
		}
		return append(list, Problem{Nodes: slices.DeleteFunc([]string{node}, func(n string) bool { return n == "" }), Cause: cause, Remedy: remedy})
	}
	if p.As == "" && (p.Cause != cause || p.Remedy != remedy) {
		p.As = p.Nodes[0]
	}
	p.Nodes = append(p.Nodes, node)
	return list
}

// SortProblems sorts the nodes of each problem, and the problems by their first nodes. Problems of
// no node come last.
func SortProblems(list []Problem, nodes []*Node) {
	order := map[string]int{}
	for i, n := range nodes {
		order[n.Name] = i
	}
	first := func(p Problem) int {
		if len(p.Nodes) == 0 {
			return len(order)
		}
		return order[p.Nodes[0]]
	}
	for _, p := range list {
		slices.SortFunc(p.Nodes, func(a, b string) int { return order[a] - order[b] })
	}
	slices.SortStableFunc(list, func(a, b Problem) int { return first(a) - first(b) })
}

// Finish ends the recording now. It completes the recording from the calls of the cloud model: see
// [cloud.Cloud.Calls].
func (c *Recorder) Finish(calls []cloud.Call) *Recording {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	end := c.at(c.now())
	c.r.Seconds = end
	SortProblems(c.r.Problems, c.r.Nodes)
	c.addCalls(calls)
	for _, n := range c.r.Nodes {
		if !n.Ended {
			n.Until = end
		}
		for i := range n.Runs {
			if n.Runs[i].Until < 0 { // the rehearsal ended first
				n.Runs[i].Until, n.Runs[i].ExitCode = n.Until, -1
			}
		}
		n.Steps = steps(c.signals[n.Name], n.Until)
	}
	if len(c.r.Table.Columns) == 0 {
		c.r.Table = c.r.results()
	}
	c.r.Ledger = append(c.r.Ledger, ended(c.r.Ledger, c.r.Nodes)...)
	slices.SortStableFunc(c.r.Events, func(a, b Event) int { return compare(a.At, b.At) })
	slices.SortStableFunc(c.r.Ledger, func(a, b Change) int { return compare(a.At, b.At) })
	return &c.r
}

// Holders returns who has which address at the end, by the changes of the ledger.
func (r *Recording) Holders() map[netip.Addr]string {
	holders := map[netip.Addr]string{}
	for _, ch := range r.Ledger {
		switch ch.What {
		case ChangeAssigned:
			holders[ch.Address] = ch.Node
		case ChangeUnassigned, ChangeEnded:
			delete(holders, ch.Address)
		}
	}
	return holders
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
