package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/record"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/simulation"
)

// maxVirtual is the maximum number of nodes in virtual time: what takes about two minutes of a
// processor. The effort grows with the square, since each node asks EC2 for all of them, and the
// AWS SDK decodes each answer.
const maxVirtual = 1000

// virtualGC is the percentage by which the heap may grow before garbage is collected, see GOGC.
// Answers of EC2 are most of the heap and become garbage at once.
const virtualGC = 400

// launchVirtual rehearses in virtual time, without namespaces.
func launchVirtual(ctx context.Context, out io.Writer, o options, spec lab.ClusterSpec, args []string, wanted agent.Config) error {
	subnet := spec.Subnet
	nodes := spec.Masters + spec.Cores + spec.Tasks
	for bits := subnet.Bits(); o.subnet == "" && bits >= 17 && 1<<(32-bits) < nodes+len(spec.Static)+16; bits-- {
		subnet = netip.PrefixFrom(spec.Static[0], bits-1).Masked()
	}
	plan, err := lab.NewPlan(subnet)
	if err != nil {
		return usageError{err}
	}
	if room := 1<<(32-subnet.Bits()) - 5; room < nodes+len(spec.Static) {
		return usageError{fmt.Errorf("subnet %s has room for %d addresses, and %s with %s need %d: name another one with --subnet", subnet, room, lab.Count(nodes, "node"), lab.Count(len(spec.Static), "static IP"), nodes+len(spec.Static))}
	}
	// AWS settings of this machine must not reach the simulated nodes.
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			os.Unsetenv(name)
		}
	}
	os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(virtualGC)
	}
	began := time.Now()
	fmt.Fprintf(out, "%s in virtual time, in subnet %s; seed %d\n", size(spec), subnet, spec.Account.Seed)
	var rec *record.Recording
	failed := errors.New("the simulation did not end")
	// A goroutine that waits for a channel from outside would stop the bubble's clock, so the
	// simulation does not have ctx. If ctx ends first, the simulation ends with the program.
	ended := make(chan error, 1)
	simulate := func() {
		rec, failed = simulation.Rehearsal{
			Title: "Launch of " + size(spec), Command: "emrsim " + quoted(o.words), Arguments: args, Account: spec.Account, VPC: plan.VPC, Subnet: subnet, Config: wanted, Files: spec.Files,
			Cluster: cloud.ClusterSpec{Name: "rehearsal", ReleaseLabel: spec.Release, Masters: spec.Masters, Cores: spec.Cores, Tasks: spec.Tasks, Fleets: spec.Fleets, NameTag: spec.NameTag, Args: args},
		}.Run(context.Background())
	}
	go func() { ended <- simulation.InBubble(simulate) }()
	select {
	case err := <-ended:
		if err != nil || failed != nil {
			return errors.Join(err, failed)
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	rec.Facts = append(rec.Facts, record.Fact{Name: "Release", Value: spec.Release}, record.Fact{Name: "Seed", Value: fmt.Sprint(spec.Account.Seed)})
	programmed, recorded, throttled := 0.0, 0.0, 0
	for _, ch := range rec.Ledger {
		switch ch.What {
		case record.ChangeAssigned:
			programmed = max(programmed, ch.At)
		case record.ChangeRecorded:
			recorded = max(recorded, ch.At)
		}
	}
	for _, c := range rec.Calls {
		if c.Throttled {
			throttled++
		}
	}
	fmt.Fprintf(out, "last address %.1f s, last record %.1f s, %s to AWS, %d of them throttled; computed in %.2f s\n", programmed, recorded, lab.Count(len(rec.Calls), "call"), throttled, time.Since(began).Seconds())
	if len(rec.Problems) > 0 {
		fmt.Fprintf(out, "\nFAILED: %s\n", lab.Count(len(rec.Problems), "problem"))
		for _, p := range rec.Problems {
			fmt.Fprint(out, describeProblem(p, nodes))
		}
	} else {
		fmt.Fprintln(out, "every node whose role has addresses has one of its own")
	}
	if o.report != "" {
		if err := rec.Save(o.report); err != nil {
			return err
		}
		path, err := filepath.Abs(o.report)
		if err != nil {
			path = o.report
		}
		fmt.Fprintf(out, "\nthe report, for a browser:\n%s\n", path)
	}
	if len(rec.Problems) > 0 {
		return exitError(1)
	}
	return nil
}
