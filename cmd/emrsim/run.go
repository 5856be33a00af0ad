package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/record"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/scenario"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/scenarios"
)

// runOptions are the flags of run.
type runOptions struct {
	all       bool
	binary    string
	other     string
	seed      uint64
	timeout   time.Duration
	verbose   bool
	keepGoing bool
	report    string
}

const runText = `Runs scenarios: small text files that build a cluster, let things happen to it, and say what must be the case. A scenario is a
file, or the name of one that emrsim ships (emrsim list). cmd/emrsim/scenarios/README.md describes the format.

Exit codes: 0 all scenarios hold, 1 one does not, 2 wrong usage or a scenario that cannot be read, 130 interrupted.`

func runCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:     "run [flags] FILE|NAME...",
		Short:   "Run scenarios, from files or those that emrsim ships",
		Long:    runText,
		Example: "  emrsim run first-launch-1+3\n  emrsim run my-cluster.txtar\n  emrsim run --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			return runScenarios(cmd.Context(), cmd.OutOrStdout(), o, args)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "all scenarios that emrsim ships")
	f.StringVar(&o.binary, "binary", "", "the emr-static-ip to run (default: the one beside emrsim, or in PATH)")
	f.StringVar(&o.other, "other", "", "another version of it, for upgrades and rollbacks")
	f.Uint64Var(&o.seed, "seed", 0, "of everything random in the cloud model (default: a new one each time)")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "bound for each scenario")
	f.StringVar(&o.report, "report", "", "write what happened to this file: .html is a page that needs no network, .json the same as data; for one scenario")
	f.BoolVar(&o.keepGoing, "keep-going", false, "run the commands of a scenario after one that failed, too")
	f.BoolVar(&o.verbose, "verbose", false, "show the lines that nodes print")
	return cmd
}

// source is a scenario to run.
type source struct {
	name string // as named on the command line
	text []byte
}

// sources reads the scenarios. What is not a shipped one is a file.
func sources(o runOptions, args []string) (all []source, err error) {
	if o.all {
		if len(args) > 0 {
			return nil, usageError{errors.New("--all and scenarios: one of them")}
		}
		args = scenarios.Names()
	}
	if len(args) == 0 {
		return nil, usageError{errors.New("which scenario? emrsim list shows those that are shipped")}
	}
	var problems []error
	for _, name := range args {
		text, err := scenarios.Text(name)
		file := name + ".txtar"
		if !slices.Contains(scenarios.Names(), name) {
			file = name
			if text, err = os.ReadFile(name); err != nil && !strings.ContainsAny(name, "/.") {
				err = fmt.Errorf("%q is neither a file nor a scenario that emrsim ships: emrsim list", name)
			}
		}
		if err == nil {
			err = scenario.Check(file, text)
		}
		if err != nil {
			problems = append(problems, err)
		}
		all = append(all, source{name, text})
	}
	if err := errors.Join(problems...); err != nil {
		return nil, usageError{err}
	}
	return all, nil
}

// runScenarios checks everything that can be checked, moves into its own namespaces, and runs the
// scenarios one after the other.
func runScenarios(ctx context.Context, out io.Writer, o runOptions, args []string) error {
	all, err := sources(o, args)
	if err != nil {
		return err
	}
	if o.report != "" {
		if len(all) != 1 {
			return usageError{fmt.Errorf("--report: for one scenario, and %d are named", len(all))}
		}
		if err := record.Check(o.report); err != nil {
			return usageError{err}
		}
	}
	if err := positive("--timeout", o.timeout); err != nil {
		return usageError{err}
	}
	if o.binary, err = findBinary(o.binary); err != nil {
		return usageError{err}
	}
	if o.other != "" {
		if o.other, err = findBinary(o.other); err != nil {
			return usageError{err}
		}
	}
	if err := isolate(ctx); err != nil {
		return err
	}
	dir, err := scratch()
	if err != nil {
		return err
	}
	failed := 0
	for _, s := range all {
		ok, err := runOne(ctx, out, o, s, dir)
		if err != nil {
			return err
		}
		if !ok {
			failed++
		}
	}
	if failed > 0 {
		fmt.Fprintf(out, "\nFAILED: %s of %d\n", lab.Count(failed, "scenario"), len(all))
		return exitError(1)
	}
	fmt.Fprintf(out, "\n%s: all as expected\n", lab.Count(len(all), "scenario"))
	return nil
}

// A checkedWriter remembers the first error of writing, with which main ends. Nothing is written
// after it.
type checkedWriter struct {
	out io.Writer
	mu  sync.Mutex
	err error
}

// failed returns the first error of writing.
func (w *checkedWriter) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *checkedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		if _, err := w.out.Write(p); err != nil {
			w.err = fmt.Errorf("writing the output: %w", err)
		}
	}
	return len(p), nil
}

// runOne runs a scenario and shows it.
func runOne(ctx context.Context, out io.Writer, o runOptions, s source, dir string) (bool, error) {
	dir, err := os.MkdirTemp(dir, "scenario")
	if err != nil {
		return false, err
	}
	file := filepath.Join(dir, filepath.Base(strings.TrimSuffix(s.name, ".txtar"))+".txtar")
	if err := os.WriteFile(file, s.text, 0o600); err != nil {
		return false, err
	}
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		return false, err
	}
	bounded, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("the scenario was not done within --timeout %s", o.timeout))
	defer cancel()
	start := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(out, "%7.2fs  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	settings := scenario.Options{Binary: o.binary, Other: o.other, Seed: o.seed, WorkDir: work, KeepGoing: o.keepGoing, Step: func(line string) { say("%s", line) }}
	if o.verbose {
		settings.Progress = func(e lab.Event) { say("  %-9s %s", e.Node, e.Text) }
	}
	fmt.Fprintf(out, "%s\n", s.name)
	report := func(scenario.Result, error) error { return nil }
	if o.report != "" {
		report = recordScenario(bounded, o, s, &settings)
	}
	got, err := scenario.Run(bounded, file, settings)
	if saved := report(got, err); saved != nil {
		return false, errors.Join(err, saved)
	}
	switch {
	case err != nil:
		return false, err
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case got.Failed:
		say("FAILED")
		fmt.Fprint(out, strings.ReplaceAll(got.Log, file, s.name))
	case got.Skipped != "":
		say("skipped: %s", got.Skipped)
	default:
		say("as expected")
	}
	if o.report != "" {
		path, err := filepath.Abs(o.report)
		if err != nil {
			path = o.report
		}
		fmt.Fprintf(out, "the report: %s\n", path)
	}
	return !got.Failed, nil
}

// recordScenario makes the settings record a scenario. The function that it returns writes the
// report when the scenario has ended.
func recordScenario(ctx context.Context, o runOptions, s source, settings *scenario.Options) (report func(scenario.Result, error) error) {
	rec := record.New("Scenario "+strings.TrimSuffix(filepath.Base(s.name), ".txtar"), "emrsim "+quoted(os.Args[1:]), nil, nil)
	if about := scenarios.Title(s.name); about != "" {
		rec.Fact("What happens", about)
	}
	observer := &record.Observer{Recorder: rec, Agents: []string{o.binary, o.other}}
	step, progress := settings.Step, settings.Progress
	settings.Step = func(line string) {
		rec.Phase(line)
		step(line)
	}
	settings.Progress = func(e lab.Event) {
		observer.Event(e)
		if progress != nil {
			progress(e)
		}
	}
	settings.Observer = observer
	var done *record.Recording
	settings.Done = func(c *lab.Cluster) { done = observer.Complete(ctx, c) }
	return func(got scenario.Result, err error) error {
		if done == nil { // it ended before there was a cluster
			done = rec.Finish(nil)
		}
		switch {
		case errors.Is(context.Cause(ctx), context.Canceled):
			done.Outcome = record.Interrupted
		case err != nil:
			done.Outcome, done.Problems = record.Failed, record.AddProblem(done.Problems, "", err.Error(), "")
		case got.Failed:
			done.Outcome, done.Problems = record.Failed, record.AddProblem(done.Problems, "", strings.TrimSpace(got.Log), "")
		}
		done.Tool = agent.Version()
		return done.Save(o.report)
	}
}

// isolate moves this process into its own namespaces: see lab.Isolate. It returns an exitError in
// the process that is to end.
func isolate(ctx context.Context) error {
	inside, code, err := lab.Isolate(ctx)
	switch {
	case err != nil:
		return err
	case !inside && ctx.Err() != nil && code == 2:
		// The first process of a namespace cannot die of a signal. Before it waits for SIGTERM,
		// Go's runtime ends it with this exit code.
		return context.Cause(ctx)
	case !inside:
		return exitError(code)
	}
	return nil
}

// scratch returns a directory in memory that only this process sees and that ends with it, however
// it ends. It hides /sys, which nothing outside of nodes needs.
func scratch() (string, error) {
	const dir = "/sys"
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, "mode=0700"); err != nil {
		return "", fmt.Errorf("mounting a directory for the scenarios: %w", err)
	}
	return dir, nil
}

func listCommand() *cobra.Command {
	commands := false
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the scenarios that emrsim ships, or the commands of scenarios",
		Args:  none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if commands {
				return listCommands(cmd.OutOrStdout())
			}
			for _, name := range scenarios.Names() {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-24s %s\n", name, scenarios.Title(name)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&commands, "commands", false, "the commands that scenarios consist of")
	return cmd
}

func listCommands(out io.Writer) error {
	all := scenario.Commands()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if _, err := fmt.Fprintf(out, "%s\n    %s\n", all[name].Usage, all[name].About); err != nil {
			return err
		}
	}
	return nil
}
