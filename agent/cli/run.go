package cli

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/bundle"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// run returns the body of a command that works on the node, or shows what it would do, and reports.
func (c *commandLine) run(do Run) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c.document = &c.report
		return c.work(cmd, args, func(ctx context.Context, cfg agent.Config, env agent.Environment) (err error) {
			if cfg.DryRun {
				do = c.program.Plan
			}
			c.report, err = do(ctx, cfg, env)
			c.report.DryRun = c.report.DryRun || cfg.DryRun
			c.done = err == nil
			return err
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
		if err := pause.Sleep(ctx, waitPause); err != nil {
			return s, err
		}
	}
}

// status prints the status and takes its exit code.
func (c *commandLine) status(ctx context.Context, cfg agent.Config, env agent.Environment) error {
	s, err := c.awaited(ctx, cfg, env)
	c.document = &s
	if err != nil {
		s.Verdict = agent.VerdictUnknown
		return err
	}
	if c.code = s.ExitCode(); cfg.Wait > 0 && s.Verdict == agent.VerdictSettling {
		c.code = exit.Drifted // a gate must not open on a guess
	}
	return nil
}

// doctor prints the diagnosis, also if the examination was cut short, and sets its exit code. With
// --bundle it writes the bundle.
func (c *commandLine) doctor(ctx context.Context, cfg agent.Config, env agent.Environment) error {
	var file *os.File
	if cfg.Bundle != "" { // it is made first, so that a wrong name does not cost the time of the checks
		var err error
		if file, err = bundle.Create(cfg.Bundle, env.Getenv); err != nil {
			return err
		}
	}
	d, err := c.program.Doctor(ctx, cfg, env)
	c.document, c.code, c.partial = &d, d.ExitCode(), true
	if file == nil {
		return err
	}
	return errors.Join(err, c.writeBundle(ctx, cfg, env, file, &d))
}

// work does what all commands have in common: configuration, root, log.
func (c *commandLine) work(cmd *cobra.Command, args []string, do func(context.Context, agent.Config, agent.Environment) error) error {
	ctx := cmd.Context()
	cfg, err := c.flags.config(cmd, args)
	c.logFormat = cfg.LogFormat
	cfg.DryRun = cfg.DryRun || cmd.Name() == "plan"
	cfg.Retrying, cfg.AtPoweroff = cmd.Name() == retryCommand, cmd.Name() == poweroffCommand
	c.report.DryRun = cfg.DryRun
	if !cfg.DryRun && (cmd == cmd.Root() || cmd.Name() == "apply" || cfg.Retrying) {
		c.cfg, c.retry = cfg, c.flags.again(cmd, args)
	}
	if err := errors.Join(append(c.problems, err)...); err != nil {
		err = exit.Invalid(err, usageHint(cmd))
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
