// Package scenario runs scenario files: small text files that build an EMR cluster in a lab, let
// things happen to it, and say what must be the case. The format is that of testscript: one command
// per line, # for comments, files at the end in the txtar format. See the README of
// cmd/emrsim/scenarios for all commands.
package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

// Options are the settings of a run.
type Options struct {
	Binary   string          // the emr-static-ip to run
	Other    string          // another version of it, for upgrades; empty: none, and [other] is false
	Seed     uint64          // of the cloud model; 0: another one each time
	WorkDir  string          // an existing directory for the files of the scenario; empty: a temporary one
	Step     func(string)    // called before each command with the command's text; may be nil
	Progress func(lab.Event) // called for each line of the nodes; may be nil
	Observer lab.Observer    // told what happens to the nodes; may be nil
	// Done is called at the end of the scenario with the first cluster, before the cluster is
	// removed. It is not called if there is no cluster. It may be nil.
	Done func(*lab.Cluster)
	// KeepGoing runs the commands after one that failed, too.
	KeepGoing bool
}

// A Result is the outcome of one scenario.
type Result struct {
	Name     string
	Failed   bool
	Skipped  string // why the scenario was skipped; empty if it was not
	Log      string // what was done. If the scenario failed, it names file, line and reason.
	Duration time.Duration
}

// Run runs the scenario in a file. It must be called in the namespaces of lab.Isolate. Everything
// that can be refused without a cluster is refused before one is built. An error is about the run
// itself; the result says whether the scenario holds.
func Run(ctx context.Context, file string, o Options) (Result, error) {
	start := time.Now()
	name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".txt"), ".txtar")
	text, err := os.ReadFile(file)
	if err != nil {
		return Result{Name: name}, fmt.Errorf("reading a scenario: %w", err)
	}
	if err := Check(file, text); err != nil {
		return Result{Name: name, Failed: true, Log: err.Error()}, nil
	}
	p := newPlay(ctx, o)
	defer p.close()
	p.spec.Kept = named(string(text))
	r := &runner{}
	params := testscript.Params{
		Files: []string{file}, WorkdirRoot: o.WorkDir, RequireUniqueNames: true, ContinueOnError: o.KeepGoing,
		Setup: func(e *testscript.Env) error {
			e.Values[playKey{}] = p
			return nil
		},
		Condition: p.condition,
		Cmds:      bound(),
	}
	if deadline, ok := ctx.Deadline(); ok {
		params.Deadline = deadline
	}
	r.Run(name, func(t testscript.T) { testscript.RunT(t, params) })
	if p.cluster != nil {
		if o.Done != nil {
			p.waiting.Wait()
			o.Done(p.cluster)
		}
		if err := p.cluster.Err(); err != nil {
			r.failed = true
			r.log.WriteString("the lab itself failed: " + err.Error() + "\n")
		}
	}
	return Result{Name: name, Failed: r.failed, Skipped: r.skipped, Log: tidy(r.log.String()), Duration: time.Since(start)}, nil
}

// tidy removes the first line that testscript adds when it keeps the work directory.
func tidy(log string) string {
	if first, rest, found := strings.Cut(log, "\n"); found && strings.HasPrefix(first, "WORK=") {
		return rest
	}
	return log
}

type playKey struct{}

// runner is the testscript.T of one scenario.
type runner struct {
	log     strings.Builder
	failed  bool
	skipped string
}

// errStop is the value with which a scenario is left.
var errStop = errors.New("the scenario is left")

func (r *runner) stop() { panic(errStop) }

// Run calls f and returns when f has ended or has left the scenario.
func (r *runner) Run(_ string, f func(testscript.T)) {
	defer func() {
		if e := recover(); e != nil && e != any(errStop) {
			panic(e)
		}
	}()
	f(r)
}

func (r *runner) Skip(why ...any) {
	if r.skipped = strings.TrimSpace(fmt.Sprint(why...)); r.skipped == "" {
		r.skipped = "skipped"
	}
	r.stop()
}

func (r *runner) Fatal(why ...any) {
	r.Log(why...)
	r.FailNow()
}

func (r *runner) FailNow() {
	r.failed = true
	r.stop()
}

func (r *runner) Log(text ...any) { fmt.Fprintln(&r.log, text...) }
func (r *runner) Parallel()       {}
func (r *runner) Verbose() bool   { return false }
