// Package cli is the command line of emr-static-ip: commands, flags, help, completion, the restart
// as root, the log, and the text of a failure.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/bundle"
	"github.com/emr-static-ip/emr-static-ip/agent/cluster"
	"github.com/emr-static-ip/emr-static-ip/agent/doctor"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/output"
	"github.com/emr-static-ip/emr-static-ip/agent/ledger"
)

// Run is the work of a command such as Apply. It returns what it did, also with an error.
type Run func(context.Context, agent.Config, agent.Environment) (agent.Report, error)

// Program is the command line and what it starts.
type Program struct {
	Apply   Run
	Release Run
	Restore Run
	Plan    Run // also apply --dry-run; goes on without root if Elevate fails
	Status  func(context.Context, agent.Config, agent.Environment) (agent.Status, error)
	// Suppress does what --on-error continue promises after a failed Apply.
	Suppress func(context.Context, agent.Config, agent.Environment, agent.Failed) agent.Suppressed
	Ledger   func(ctx context.Context, command string, cfg agent.Config, env agent.Environment) (ledger.Report, error)
	// Watch calls print with the changes that each look has found, until ctx is cancelled.
	Watch   func(ctx context.Context, cfg agent.Config, env agent.Environment, print func(ledger.Report) error) (ledger.Report, error)
	Cluster func(context.Context, agent.Config, agent.Environment, cluster.ReadArguments) (cluster.Report, error)
	Doctor  func(context.Context, agent.Config, agent.Environment) (doctor.Diagnosis, error) // goes on without root too
	// Parts returns what doctor --bundle reads of the node itself. nil means bundle.Node's.
	Parts func(agent.Config, agent.Environment) []bundle.Part
	// Elevate returns nil if this process is root. Otherwise it replaces this process by one of
	// root with the same args, or returns why it could not. If Elevate is nil, the commands run as
	// the current user.
	Elevate func(ctx context.Context, args []string) error
	// User returns this process's effective user id. nil means os.Geteuid.
	User func() int
}

// SignalError is the cause of the context of a run that a signal ended.
type SignalError = exit.SignalError

// Main runs the program with args (without its name) and returns its exit code. The report goes to
// env.Stdout, the log and the error to env.Stderr. If ctx was cancelled with a SignalError, the
// exit code is that of the signal.
func (p Program) Main(ctx context.Context, args []string, env agent.Environment) exit.Code {
	if env.Stdout == nil {
		env.Stdout = io.Discard
	}
	if env.Stderr == nil {
		env.Stderr = io.Discard
	}
	stdout := env.Stdout
	env.Redactor = &host.Redactor{}
	env.Redactor.HideEnvironment(env.Getenv)
	env.Stdout, env.Stderr = env.Redactor.Writer(env.Stdout), env.Redactor.Writer(env.Stderr)
	c := commandLine{program: p, args: args, env: env, stdout: stdout, logFormat: agent.DefaultLogFormat, only: onlyCommand(args, env)}
	err := c.execute(ctx)
	if err == nil {
		return c.print(c.code, nil)
	}
	code := exit.CodeOf(err)
	if signal := (*SignalError)(nil); errors.As(context.Cause(ctx), &signal) {
		code = signal.ExitCode()
		if !errors.Is(err, signal) {
			err = fmt.Errorf("%w: %w", signal, err)
		}
		if len(c.report.Changes) > 0 {
			err = &exit.Error{Code: code, Err: err, Remedy: "run the same command again: it continues where this run stopped"}
		}
	}
	renderFailure(env.Stderr, c.logFormat, code, err, c.report)
	failure := output.Fail(code, err)
	code = c.suppress(ctx, code, err)
	failure.Suppressed = code == exit.OK
	return c.print(code, failure)
}

// commandLine is one execution of the command line.
type commandLine struct {
	program   Program
	args      []string
	env       agent.Environment
	stdout    io.Writer // env.Stdout without its redactor
	only      string    // the command that alone gets its flags; "" if all commands get theirs
	flags     flags
	problems  []error // of the command line as such, found before its values are looked at
	logFormat string  // as asked for, as soon as that is known
	report    agent.Report
	code      exit.Code // of a command that did its work

	documents map[*cobra.Command]output.Document // what each command prints, before its work
	document  output.Document                    // what this command prints; nil: a text that it has printed itself
	command   *cobra.Command
	partial   bool // the document is worth its text although the command failed
	done      bool // the work is done, whether or not somebody reads the document

	cfg     agent.Config // as far as it could be read, of a command that gives the node its address
	retry   []string     // what repeats that command; nil: another command
	started bool         // the command line was right
	began   time.Time
}

// onlyCommand returns restore if args ask for that. The timer saves the time to give all other
// commands their flags. It returns "" if the flags of all commands may be needed, as for a warning
// of a variable that matches none.
func onlyCommand(args []string, env agent.Environment) string {
	ours := func(variable string) bool { return strings.HasPrefix(variable, variablePrefix) }
	if len(args) == 0 || args[0] != restoreCommand || env.Environ != nil && slices.ContainsFunc(env.Environ(), ours) {
		return ""
	}
	return restoreCommand
}

func (c *commandLine) problem(format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf(format, args...))
}

func (c *commandLine) execute(ctx context.Context) error {
	root := c.tree()
	root.InitDefaultHelpFlag()
	root.InitDefaultHelpCmd()
	setHelp(root)
	kept := slices.Clone(c.args)
	if completes(kept) {
		if err := complete(root); err != nil {
			return err
		}
	} else if kept = c.scan(root, kept); c.only != "" && len(c.problems) > 0 {
		c.only, c.problems = "", nil // the texts of problems name flags of other commands
		return c.execute(ctx)
	}
	root.SetArgs(append([]string{}, kept...)) // never nil, for which cobra takes os.Args
	cmd, err := root.ExecuteContextC(ctx)
	if c.command = cmd; err != nil && c.document == nil {
		c.document = c.documents[cmd]
	}
	if e := (*exit.Error)(nil); err != nil && !errors.As(err, &e) && !c.flags.read {
		// cobra itself reports only errors of the command line, such as too many arguments for
		// completion.
		return exit.Invalid(errors.Join(append(c.problems, err)...), usageHint(cmd))
	}
	return err
}
