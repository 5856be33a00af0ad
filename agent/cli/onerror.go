package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

// again returns the arguments of the command retry that repeat this command line: the same flags
// and addresses, in one fixed form, without the environment.
func (f *flags) again(cmd *cobra.Command, positional []string) []string {
	args := []string{}
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		given := f.texts[flag.Name]
		if given == nil || !flag.Changed {
			return
		}
		for _, text := range given.texts {
			if given.list {
				text = inOneWord(text)
			}
			args = append(args, "--"+flag.Name+"="+text)
		}
	})
	if len(positional) > 0 {
		args = append(args, "--")
	}
	for _, text := range positional {
		args = append(args, inOneWord(text))
	}
	return args
}

// suppresses reports whether this command line asks to suppress a failure.
func (c *commandLine) suppresses() bool {
	return c.retry != nil && c.program.Suppress != nil && c.cfg.RepeatedOnError(c.env) == agent.OnErrorContinue
}

// suppress turns the exit code of a failed run into success if --on-error continue asks for that.
// It does not suppress a signal.
func (c *commandLine) suppress(ctx context.Context, code exit.Code, err error) exit.Code {
	signal := (*SignalError)(nil)
	if !c.suppresses() || errors.As(context.Cause(ctx), &signal) {
		return code
	}
	env := c.env
	if env.Log == nil {
		env.Log = NewLogger(env.Stderr, c.logFormat, c.cfg.Verbose)
	}
	f := agent.Failed{Code: code, Err: err, Remedies: exit.Remedies(err), Args: c.retry, Began: c.began, StateWritten: c.report.StateWritten, Hopeless: !c.started}
	if env.Environ != nil {
		f.Environ, f.Omitted = retryEnvironment(env.Environ())
	}
	s := c.program.Suppress(ctx, c.cfg, env, f)
	if errors.As(context.Cause(ctx), &signal) {
		return signal.ExitCode()
	}
	renderSuppressed(env.Stderr, c.logFormat, c.cfg.Retrying, code, s)
	if c.cfg.Retrying {
		return code // nobody ends the node for it, and systemd shows it
	}
	return exit.OK
}

// renderSuppressed says, after the failure itself, that the node is kept, and what was done.
func renderSuppressed(w io.Writer, format string, retrying bool, code exit.Code, s agent.Suppressed) {
	headline := fmt.Sprintf("exit code %d is suppressed by --on-error %s: this node is kept ALTHOUGH the run failed (see above)", code, agent.OnErrorContinue)
	if retrying {
		headline = "this was one more attempt"
	}
	if s.Retrying {
		s.Done = append(s.Done, systemd.RetryTimer+" tries again every 2 to 5 minutes, until it succeeds: journalctl -u "+systemd.RetryService)
	}
	if format == "json" {
		NewLogger(w, format, false).Error(headline, zap.Int("suppressed_exit_code", int(code)), zap.Bool("retrying", s.Retrying),
			zap.Strings("done", s.Done), zap.Strings("problems", s.Problems))
		return
	}
	value := headline + "\n"
	for _, line := range slices.Concat(s.Done, s.Problems) {
		value += "  " + cmp.Or(text.Clean(line, text.MaxLine), "-") + "\n"
	}
	_, _ = io.WriteString(w, value) // where stderr is gone, there is nobody to tell
}
