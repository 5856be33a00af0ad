package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/record"
)

// describe records the network and the properties of the rehearsal.
func (r *rehearsal) describe() {
	plan := r.cluster.Plan()
	r.rec.Set(func(rec *record.Recording) {
		rec.Tool = agent.Version()
		rec.Topology = record.Topology{
			VPCs:   []record.VPC{{CIDRs: plan.CIDRs, Subnets: []record.Subnet{{ID: r.cluster.SubnetID, CIDR: plan.Subnet}}}},
			OnPrem: plan.OnPrem, Server: plan.Server, Port: 80, Admitted: r.spec.Static,
		}
		rec.Facts = append(rec.Facts,
			record.Fact{Name: "Release", Value: r.spec.Release},
			record.Fact{Name: "iptables on the nodes", Value: string(r.cluster.Iptables())},
			record.Fact{Name: "Policy of the nodes", Value: r.policy},
			record.Fact{Name: "Seed", Value: fmt.Sprint(r.spec.Account.Seed)},
		)
	})
}

// join records a node.
func (r *rehearsal) join(n *lab.Node) {
	node := record.Node{
		Name: n.Name, Role: n.Role, Instance: n.Instance, Cluster: r.cluster.ID, Subnet: r.cluster.SubnetID, Interface: n.Link, Primary: n.Primary.Address,
	}
	if n.Second != nil {
		node.Second = n.Second.Address
	}
	r.rec.Join(node)
}

// lookInside records the addresses and rules of each node's kernel.
func (r *rehearsal) lookInside(ctx context.Context) {
	r.each(func(w *row) {
		text, err := w.node.Snapshot(ctx)
		if err != nil {
			text = err.Error()
		}
		addresses, rules := record.Sections(text)
		r.rec.Change(w.node.Name, func(n *record.Node) { n.Addresses, n.Rules = addresses, rules })
	})
}

// save writes the report once, and prints its path as the last line. failed is what the rehearsal
// ended with.
func (r *rehearsal) save(ctx context.Context, failed error) error {
	if r.report == "" || r.saved {
		return nil
	}
	r.saved = true
	var calls []cloud.Call
	if r.cluster != nil {
		calls = r.cluster.Cloud.Calls()
	}
	var ended exitError
	switch {
	case failed == nil || errors.As(failed, &ended):
	case errors.Is(context.Cause(ctx), context.Canceled):
		r.rec.Set(func(rec *record.Recording) { rec.Outcome = record.Interrupted })
	default:
		r.rec.Problem("", failed.Error(), "")
	}
	r.rec.Set(func(rec *record.Recording) { rec.Table = r.results() })
	for _, w := range r.rows {
		r.rec.Change(w.node.Name, func(n *record.Node) { n.Static = w.static })
	}
	if err := r.rec.Finish(calls).Save(r.report); err != nil {
		return err
	}
	path, err := filepath.Abs(r.report)
	if err != nil {
		path = r.report
	}
	r.screen.printf("\nthe report, for a browser:\n%s\n", path)
	return nil
}

// plainWord matches words that a shell takes as they are.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:=,@%+-]+$`)

// quoted joins the words of a command line.
func quoted(words []string) string {
	var out []string
	for _, w := range words {
		if !plainWord.MatchString(w) {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		out = append(out, w)
	}
	return strings.Join(out, " ")
}
