// Command emrsim rehearses the launch of an EMR cluster on one Linux machine, without an AWS
// account.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	root := &cobra.Command{
		Use:                        "emrsim",
		Short:                      "Rehearse an EMR cluster with static IPs on this machine",
		SilenceErrors:              true,
		SilenceUsage:               true,
		CompletionOptions:          cobra.CompletionOptions{DisableDefaultCmd: true},
		SuggestionsMinimumDistance: 2,
		Args:                       known,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetHelpCommand(&cobra.Command{
		Use: "help [COMMAND]", Short: "Help about a command", Args: func(_ *cobra.Command, args []string) error { return known(root, args) },
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, _, err := root.Find(args)
			if err != nil {
				return err
			}
			return cmd.Help()
		},
	})
	root.AddCommand(launchCommand(), runCommand(), listCommand(), serveCommand(), certifyCommand())
	stdout := &checkedWriter{out: os.Stdout}
	root.AddCommand(siteCommands()...)
	root.SetOut(stdout)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w: %s --help", err, cmd.CommandPath())}
	})
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = stdout.failed()
	}
	var ended exitError
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ended): // everything was printed already
		return int(ended)
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "emrsim:", err)
		return 2
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "emrsim: interrupted; everything was removed")
		return 130
	default:
		fmt.Fprintln(os.Stderr, "emrsim:", err)
		return 1
	}
}

// known returns an error if the first word is not one of the program's commands.
func known(root *cobra.Command, args []string) error {
	if len(args) == 0 || slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == args[0] }) {
		return nil
	}
	text := fmt.Sprintf("unknown command %q: emrsim --help", args[0])
	if like := root.SuggestionsFor(args[0]); len(like) > 0 {
		text += "; did you mean " + strings.Join(like, " or ") + "?"
	}
	return usageError{errors.New(text)}
}

// positive returns an error if a flag's duration is not positive.
func positive(flag string, d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("%s %s: a duration above 0", flag, d)
	}
	return nil
}

// exitError ends the program with its value as the exit code and without a message.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is an error of the command line or of a file that it names: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }
