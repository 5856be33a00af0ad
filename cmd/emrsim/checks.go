package main

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/record"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// lookAfter checks what each node got and what other hosts see of it.
func (r *rehearsal) lookAfter(ctx context.Context) {
	from := r.those(func(w *row) bool { return w.first.ExitCode == 0 || len(r.cluster.Secondary(w.node)) > 0 })
	if from == "" {
		return
	}
	r.phase("after: the same download from %s, and connections in all other directions", from)
	r.each(func(w *row) {
		pool := r.wanted.Pools.For(agent.Role(w.node.Role))
		if !r.checkAssigned(w, pool) {
			return
		}
		w.seen, w.after = r.cluster.Download(ctx, w.node)
		r.rec.See(record.Sighting{Node: w.node.Name, After: true, Seen: w.seen, Outcome: outcome(w.after)})
		if len(pool) == 0 {
			r.checkLeftAlone(w)
			return
		}
		switch {
		case w.after != nil:
			r.problem(w.node.Name, "the download was not done afterwards: %v", w.after)
		case w.seen != w.static:
			r.problem(w.node.Name, "the file server saw %s, which is not the node's static IP %s", w.seen, w.static)
		default:
			r.say(w.node.Name, "download done: %d bytes; the file server saw %s", lab.FileSize, w.seen)
		}
		r.checkKernel(ctx, w)
		r.checkRecords(w)
		r.checkTraffic(ctx, w)
	})
}

// checkAssigned checks that EC2 has assigned one address of the pool to the primary interface, or
// none if there is no pool.
func (r *rehearsal) checkAssigned(w *row, pool []netip.Addr) bool {
	assigned := r.cluster.Secondary(w.node)
	if len(pool) == 0 && len(assigned) == 0 {
		return true
	}
	if len(assigned) == 0 && w.first.ExitCode != 0 {
		return false // the run has reported it
	}
	if len(assigned) != 1 || !slices.Contains(pool, assigned[0]) {
		r.problem(w.node.Name, "EC2 has the secondary addresses %v on its primary interface; expected is one of %v", assigned, pool)
		return false
	}
	w.static = assigned[0]
	return true
}

// checkLeftAlone checks a node whose role has no pool.
func (r *rehearsal) checkLeftAlone(w *row) {
	if w.after == nil {
		r.problem(w.node.Name, "the download was done, although there is no static IP for %s nodes", w.node.Role)
	}
	r.say(w.node.Name, "no addresses were named for %s nodes: left as it is", w.node.Role)
}

// checkKernel checks that the address is on the primary interface.
func (r *rehearsal) checkKernel(ctx context.Context, w *row) {
	addresses, err := w.node.Addresses(ctx, w.node.Link)
	if err != nil {
		r.problem(w.node.Name, "%v", err)
		return
	}
	if !slices.ContainsFunc(addresses, func(a string) bool { return strings.HasPrefix(a, w.static.String()+"/") }) {
		r.problem(w.node.Name, "%s is not on %s, which has %v", w.static, w.node.Link, addresses)
	}
}

// checkRecords checks the ledger and the instance's Name tag.
func (r *rehearsal) checkRecords(w *row) {
	record, found, err := r.cluster.Ledger(w.static)
	switch {
	case err != nil:
		r.problem(w.node.Name, "the ledger: %v", err)
	case !found || !strings.Contains(record, w.node.Instance):
		r.problem(w.node.Name, "the ledger does not say that %s holds %s: %q", w.node.Instance, w.static, record)
	}
	want := r.spec.NameTag
	if r.wanted.NameTag && w.node.Role != "" {
		want += "-" + w.node.Role
	}
	if got := r.cluster.NameTag(w.node); got != want {
		r.problem(w.node.Name, "the instance's Name tag is %q, expected %q", got, want)
	}
}

// scopeAll is the SNAT scope in which traffic inside the VPC leaves with the static IP, too.
const scopeAll = string(netcfg.ScopeAll)

// checkTraffic connects in the other directions: to the static IP, to a neighbour, and out through
// EMR's interface.
func (r *rehearsal) checkTraffic(ctx context.Context, w *row) {
	if answer, err := r.cluster.CallNode(ctx, w.static); err != nil {
		r.problem(w.node.Name, "a connection from the data centre to %s, for a service bound to %s: %v", w.static, w.node.Primary.Address, err)
	} else if answer.Name != w.node.Name {
		r.problem(w.node.Name, "a connection from the data centre to %s reached %s", w.static, answer.Name)
	}
	want := w.node.Primary.Address
	if r.wanted.Scope == scopeAll {
		want = w.static
	}
	nodes := r.cluster.Nodes()
	if other := nodes[(slices.Index(nodes, w.node)+1)%len(nodes)]; other != w.node {
		if answer, err := r.cluster.Call(ctx, w.node, other); err != nil {
			r.problem(w.node.Name, "a connection inside the VPC to %s: %v", other.Name, err)
		} else if answer.Source != want {
			r.problem(w.node.Name, "inside the VPC %s saw %s, expected %s", other.Name, answer.Source, want)
		}
	}
	r.checkS3(ctx, w)
	if sources := w.node.IMDSSources(); !slices.Equal(sources, []netip.Addr{w.node.Primary.Address}) {
		r.problem(w.node.Name, "IMDS was asked from %v, expected the primary IP only", sources)
	}
}

// checkCluster runs cluster check on the first node, with the credentials of an operator.
func (r *rehearsal) checkCluster(ctx context.Context) {
	if len(r.problems) > 0 {
		return
	}
	creds := r.cluster.Cloud.Credentials("")
	result, err := r.cluster.Run(ctx, r.rows[0].node, lab.Command{Program: r.binary, Args: []string{"cluster", "check", r.cluster.ID}, Quiet: true,
		Env: []string{"AWS_ACCESS_KEY_ID=" + creds.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + creds.SecretAccessKey, "AWS_REGION=" + r.cluster.Cloud.Region()}})
	lines := strings.Split(strings.TrimSpace(result.Stdout), "\n")
	verdict := lines[len(lines)-1]
	switch {
	case ctx.Err() != nil:
	case err != nil:
		r.problem("", "cluster check: %v", err)
	case result.ExitCode == 2 && result.Stdout == "": // a version without this command
	case result.ExitCode != 0:
		r.problem("", "cluster check ended with exit code %d: %s", result.ExitCode, verdict)
	default:
		r.say("", "emr-static-ip cluster check %s: %s", r.cluster.ID, verdict)
	}
}

// secondInterface has the properties of the interface that EMR attached to a master.
type secondInterface struct {
	addresses []string
	out, in   lab.Answer
	problem   error
}

func (r *rehearsal) lookAtSecond(ctx context.Context, n *lab.Node) (s secondInterface) {
	if n.Second == nil {
		return s
	}
	if s.addresses, s.problem = n.Addresses(ctx, n.SecondLink); s.problem != nil {
		return s
	}
	if s.out, s.problem = r.cluster.CallOutsideBySecond(ctx, n); s.problem != nil {
		return s
	}
	s.in, s.problem = r.cluster.CallSecond(ctx, n)
	return s
}

// compare compares all nodes with each other, and the masters' second interfaces with their former
// state.
func (r *rehearsal) compare(ctx context.Context) {
	holders := map[netip.Addr]string{}
	var primaries []netip.Addr
	for _, w := range r.rows {
		primaries = append(primaries, w.node.Primary.Address)
		if other, twice := holders[w.static]; twice && w.static.IsValid() {
			r.problem(w.node.Name, "has %s, and so has %s", w.static, other)
		}
		holders[w.static] = w.node.Name
		if now := r.lookAtSecond(ctx, w.node); now.String() != w.other.String() || now.problem != nil {
			r.problem(w.node.Name, "EMR's own interface %s is not what it was: before %s, after %s", w.node.SecondLink, w.other, now)
		} else if w.node.Second != nil {
			r.say(w.node.Name, "EMR's own interface %s was not touched: it has %v, and leaves as %s", w.node.SecondLink, now.addresses, now.out.Source)
		}
	}
	for _, source := range r.cluster.APISources() {
		if !slices.Contains(primaries, source) && r.wanted.Scope != scopeAll {
			r.problem("", "the AWS API was called from %s, which is no node's primary IP", source)
		}
	}
	if n, err := r.cluster.Spoofed(ctx); err != nil {
		r.problem("", "%v", err)
	} else if n > 0 {
		r.problem("", "the VPC dropped %s with a source address that EC2 had not given to the sending interface", lab.Count(n, "packet"))
	}
}

func (s secondInterface) String() string {
	return fmt.Sprintf("addresses %v, out as %s, in to %s, error %v", s.addresses, s.out.Source, s.in.Name, s.problem)
}

var changed = regexp.MustCompile(`(?m)^changed=(\d+) unchanged=\d+ duration=\S+$`)

// changedOf returns the number of changes in a run's report, or -1 if it has none.
func changedOf(report string) int {
	m := changed.FindStringSubmatch(report)
	if m == nil {
		return -1
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return -1
	}
	return n
}

// summaryOf returns the last line of a report.
func summaryOf(report string) string {
	if m := changed.FindString(report); m != "" {
		return m
	}
	return "no report"
}
