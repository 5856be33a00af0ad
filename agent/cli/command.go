package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/doctor"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/ledger"
)

// Run is the work of a command such as Apply. It returns what it did also with an error.
type Run func(context.Context, agent.Config, agent.Environment) (agent.Report, error)

// Program is the command line and what it starts.
type Program struct {
	Apply   Run
	Release Run
	Restore Run
	Plan    Run // also apply --dry-run; goes on without root where Elevate fails
	Status  func(context.Context, agent.Config, agent.Environment) (agent.Status, error)
	// Suppress is what --on-error continue does about a failed Apply.
	Suppress func(context.Context, agent.Config, agent.Environment, agent.Failed) agent.Suppressed
	Ledger   func(ctx context.Context, command string, cfg agent.Config, env agent.Environment) (ledger.Report, error)
	Doctor   func(context.Context, agent.Config, agent.Environment) (doctor.Diagnosis, error) // goes on without root too
	// Elevate returns nil where this process is root. Where it is not, it starts args again as root in the place of this
	// process and does not return, or returns why it could not. nil: the commands run as whoever they are.
	Elevate func(ctx context.Context, args []string) error
	// User returns this process's effective user id. nil means os.Geteuid.
	User func() int
}

// SignalError is the cause of the context of a run that a signal ended.
type SignalError = exit.SignalError

const usageHint = "emr-static-ip --help explains the arguments"

// Main runs the program with args (without its name) and returns its exit code. The report goes to env.Stdout, the log and the error
// to env.Stderr. A context cancelled with a SignalError ends the run with that signal's exit code.
func (p Program) Main(ctx context.Context, args []string, env agent.Environment) exit.Code {
	if env.Stdout == nil {
		env.Stdout = io.Discard
	}
	if env.Stderr == nil {
		env.Stderr = io.Discard
	}
	env.Redactor = &host.Redactor{}
	env.Redactor.HideEnvironment(env.Getenv)
	env.Stdout, env.Stderr = env.Redactor.Writer(env.Stdout), env.Redactor.Writer(env.Stderr)
	c := commandLine{program: p, args: args, env: env, logFormat: agent.DefaultLogFormat}
	err := c.execute(ctx)
	if err == nil {
		return c.code
	}
	code := exit.CodeOf(err)
	if signal := (*SignalError)(nil); errors.As(context.Cause(ctx), &signal) {
		code = signal.ExitCode()
		err = fmt.Errorf("%w: %w", signal, err)
		if len(c.report.Changes) > 0 {
			err = &exit.Error{Code: code, Err: err, Remedy: "run the same command again: it goes on where this run ended"}
		}
	}
	renderFailure(env.Stderr, c.logFormat, code, err, c.report)
	return c.suppress(ctx, code, err)
}

// commandLine is one execution of the command line.
type commandLine struct {
	program   Program
	args      []string
	env       agent.Environment
	flags     flags
	problems  []error // of the command line as such, found before its values are looked at
	logFormat string  // as asked for, as soon as that is known
	report    agent.Report
	code      exit.Code // of a command that did its work

	cfg     agent.Config // as far as it could be read, of a command that gives the node its address
	retry   []string     // what repeats that command; nil: another command
	started bool         // the command line was right
	began   time.Time
}

const helpText = `emr-static-ip gives a node of an Amazon EMR cluster a private IP address from a list.

As a bootstrap action, with the same arguments on every node:

    emr-static-ip MASTER_IP CORE_IP [CORE_IP ...]

On a node, at any time and any number of times, with or without arguments (without: as the last time):

    emr-static-ip [apply] [flags] [MASTER_IP CORE_IP ...]
    emr-static-ip release
    emr-static-ip restore
    emr-static-ip status [-o json]
    emr-static-ip plan [flags] [MASTER_IP CORE_IP ...]
    emr-static-ip doctor [-o json] [flags] [MASTER_IP CORE_IP ...]

Anywhere with AWS credentials, about the ledger of claims:

    emr-static-ip ledger list|gc|repair [--subnet SUBNET --region REGION] [--yes] [-o json]

Addresses are single ones, comma lists, ranges (10.0.1.20-10.0.1.29 or 10.0.1.20-29) and CIDRs, in any mixture. The first
is the master's, all others are the core nodes'. Clusters with three masters or task nodes name them by flags.`

// exitText returns the end of every help text.
func exitText() string {
	var b strings.Builder
	b.WriteString("\nEvery flag can be given as an environment variable too: EMR_STATIC_IP_CORE_IPS for --core-ips. The command line goes first.\n\nExit codes:\n")
	for _, code := range exit.Codes() {
		fmt.Fprintf(&b, "  %3d  %s\n", code, code.Meaning())
	}
	return b.String()
}

// flagVersion is the flag that does what the version command does.
const flagVersion = "version"

// tree makes the commands. Flags that release knows too are the root's persistent ones; the others belong to apply, and to the
// root, which is the same command by its shorter name.
func (c *commandLine) tree() *cobra.Command {
	root := &cobra.Command{
		Use:               "emr-static-ip [flags] MASTER_IP CORE_IP...",
		Short:             "Give an EMR node a static private IP",
		Long:              helpText,
		Args:              cobra.ArbitraryArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(cmd *cobra.Command, args []string) error {
			if asked, err := cmd.Flags().GetBool(flagVersion); err != nil || asked {
				fmt.Fprintln(c.env.Stdout, versionLine())
				return err
			}
			return c.run(c.program.Apply)(cmd, args)
		},
	}
	root.Flags().Bool(flagVersion, false, "version for emr-static-ip")
	root.SetOut(c.env.Stdout)
	root.SetErr(c.env.Stderr)
	root.SetHelpFunc(c.help)
	apply := &cobra.Command{
		Use:   "apply [flags] [MASTER_IP CORE_IP...]",
		Short: "Give this node its static IP (what happens without a command)",
		Args:  cobra.ArbitraryArgs,
		RunE:  c.run(c.program.Apply),
	}
	release := c.alone("release", "Give this node's static IP back: rules, address, attachment, claim", "it gives back what this node has", c.program.Release)
	restore := c.alone("restore", "Put back what the kernel has lost; write a record that is still to be written", "it restores what the last run left", c.program.Restore)
	plan := &cobra.Command{
		Use:   "plan [flags] [MASTER_IP CORE_IP...]",
		Short: "Say what apply would change, and change nothing",
		Args:  cobra.ArbitraryArgs,
		RunE:  c.run(c.program.Plan),
	}
	retry := &cobra.Command{
		Use: retryCommand, Short: "Repeat a failed apply, for the timer that --on-error continue leaves", Hidden: true, Args: cobra.ArbitraryArgs,
		RunE: c.run(c.program.Apply),
	}
	status := &cobra.Command{
		Use: "status [flags]", Short: "Compare what is wanted with what is there, and change nothing", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				c.problem("status takes no addresses (%s): it looks at what the last run left", text.Quote(args[0]))
			}
			return c.work(cmd, nil, c.status)
		},
	}
	doctor := &cobra.Command{
		Use:   "doctor [flags] [MASTER_IP CORE_IP...]",
		Short: "Check endpoints, permissions, addresses and the node, and change nothing",
		Args:  cobra.ArbitraryArgs,
		RunE:  func(cmd *cobra.Command, args []string) error { return c.work(cmd, args, c.doctor) },
	}
	c.flags = newFlags(c.env)
	c.flags.shared(root)
	c.flags.apply(root, apply, plan, retry, doctor)
	c.flags.add(flagOutput, "FORMAT", agent.DefaultOutput, "text or json; short: -o", status, doctor)
	c.flags.add(flagWait, "TIME", "0s", "how long a status that is not in order is looked at again; exit code 10 if it is still settling then", status)
	root.AddCommand(apply, plan, doctor, retry, release, restore, status, c.completion(), c.plain("version", "Print the version", false, versionLine))
	root.AddCommand(c.ledger(status.Flags().Lookup(flagOutput)))
	root.AddCommand(c.plain(euidCommand, "Print the effective user id", true, euid))
	return root
}

// help prints what --help asks for. It does so without cobra's templates: with text/template the linker must keep every method of the EC2 client, 36
// MB of them.
func (c *commandLine) help(cmd *cobra.Command, _ []string) {
	fmt.Fprint(cmd.OutOrStdout(), cmp.Or(cmd.Long, cmd.Short), "\n\n", cmd.UsageString(), exitText())
}

// alone is a command without arguments; why is what it works on instead.
func (c *commandLine) alone(name, short, why string, do Run) *cobra.Command {
	return &cobra.Command{
		Use: name + " [flags]", Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				c.problem("%s takes no addresses (%s): %s", name, text.Quote(args[0]), why)
			}
			return c.run(do)(cmd, nil)
		},
	}
}

// plain is a command that prints one line.
func (c *commandLine) plain(name, short string, hidden bool, line func() string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Hidden: hidden, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if len(c.problems) > 0 {
				return exit.Invalid(errors.Join(c.problems...), usageHint)
			}
			_, err := fmt.Fprintln(c.env.Stdout, line())
			return err
		},
	}
}

func (c *commandLine) problem(format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf(format, args...))
}

func (c *commandLine) execute(ctx context.Context) error {
	root := c.tree()
	root.InitDefaultHelpFlag()
	root.InitDefaultHelpCmd()
	kept := slices.Clone(c.args)
	if completes(kept) {
		for i, arg := range kept[:len(kept)-1] {
			if arg == "-o" {
				kept[i] = "--" + flagOutput
			}
		}
		if err := complete(root); err != nil {
			return err
		}
	} else {
		kept = c.scan(root, kept)
	}
	root.SetArgs(append([]string{}, kept...)) // never nil, for which cobra takes os.Args
	err := root.ExecuteContext(ctx)
	if e := (*exit.Error)(nil); err != nil && !errors.As(err, &e) && !c.flags.read {
		// What cobra itself has to say is about the command line: too many arguments for version, say.
		return exit.Invalid(errors.Join(append(c.problems, err)...), usageHint)
	}
	return err
}

// run is the body of a command that does something to the node, or says what it would do, and reports that.
func (c *commandLine) run(do Run) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return c.work(cmd, args, func(ctx context.Context, cfg agent.Config, env agent.Environment) (err error) {
			if cfg.DryRun {
				do = c.program.Plan
			}
			if c.report, err = do(ctx, cfg, env); err != nil {
				return err
			}
			c.report.Version = agent.Version()
			if err := c.report.Render(env.Stdout); err != nil {
				// The node is as it was asked to be; a bootstrap action must not end it because nobody reads the report.
				env.Log.Warn("the report could not be written", zap.Error(err))
			}
			return nil
		})
	}
}

// waitPause lies between two looks of status --wait.
const waitPause = 2 * time.Second

// awaited returns the status. With --wait it looks again until the node is in order, or the time is
// over. What time does not change ends it at once.
func (c *commandLine) awaited(ctx context.Context, cfg agent.Config, env agent.Environment) (agent.Status, error) {
	for began := time.Now(); ; {
		s, err := c.program.Status(ctx, cfg, env)
		changes := s.Verdict == agent.VerdictSettling || s.Verdict == agent.VerdictDrifted
		if err != nil || !changes || time.Since(began)+waitPause > cfg.Wait {
			return s, err
		}
		if err := host.Sleep(ctx, waitPause); err != nil {
			return s, err
		}
	}
}

// status prints the status and takes its exit code.
func (c *commandLine) status(ctx context.Context, cfg agent.Config, env agent.Environment) error {
	s, err := c.awaited(ctx, cfg, env)
	if err != nil {
		return err
	}
	s.Tool = agent.Version()
	if c.code = s.ExitCode(); cfg.Wait > 0 && s.Verdict == agent.VerdictSettling {
		c.code = exit.Drifted // a gate must not open on a guess
	}
	return s.Render(env.Stdout, cfg.Output)
}

// doctor prints the diagnosis, also of an examination that was cut short, and takes its exit code.
func (c *commandLine) doctor(ctx context.Context, cfg agent.Config, env agent.Environment) error {
	d, err := c.program.Doctor(ctx, cfg, env)
	d.Tool = agent.Version()
	c.code = d.ExitCode()
	return errors.Join(d.Render(env.Stdout, cfg.Output), err)
}

// work surrounds what a command does: configuration, root, log.
func (c *commandLine) work(cmd *cobra.Command, args []string, do func(context.Context, agent.Config, agent.Environment) error) error {
	ctx := cmd.Context()
	cfg, err := c.flags.config(cmd, args)
	c.logFormat = cfg.LogFormat
	cfg.DryRun = cfg.DryRun || cmd.Name() == "plan"
	cfg.Retrying = cmd.Name() == retryCommand
	if !cfg.DryRun && (cmd == cmd.Root() || cmd.Name() == "apply" || cfg.Retrying) {
		c.cfg, c.retry = cfg, c.flags.again(cmd, args)
	}
	if err := errors.Join(append(c.problems, err)...); err != nil {
		err = exit.Invalid(err, usageHint)
		if c.suppresses() && c.program.Elevate != nil {
			// What comes after a failure needs root too.
			err = errors.Join(err, c.program.Elevate(ctx, c.args))
		}
		return err
	}
	c.started, c.began = true, time.Now()
	env := c.env
	if env.Log == nil {
		env.Log = NewLogger(env.Stderr, cfg.LogFormat, cfg.Verbose)
	}
	if c.program.Elevate != nil {
		if env.Environ != nil {
			c.tellKeptBack(env)
		}
		looks := cfg.DryRun || cmd.Name() == "doctor"
		if err := c.program.Elevate(ctx, c.args); err != nil && !(looks && exit.CodeOf(err) == exit.NotRoot) {
			return err
		}
	}
	if env.Environ != nil {
		warnOfVariables(env.Log, cmd.Root(), env.Environ())
	}
	return do(ctx, cfg, env)
}

// tellKeptBack warns, where this process is not root, of variables that it does not pass on to root.
func (c *commandLine) tellKeptBack(env agent.Environment) {
	user := os.Geteuid
	if c.program.User != nil {
		user = c.program.User
	}
	if names := keptBack(env.Environ()); len(names) > 0 && user() != 0 {
		env.Log.Warn("not passed on to root, since they name files that could start programs: " + strings.Join(names, ", ") + "; run this as root to use them")
	}
}
