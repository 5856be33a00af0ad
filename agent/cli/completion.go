package cli

import (
	_ "embed" // the script
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

// bashCompletion is the script for bash. cobra's own script calls functions of the package
// bash-completion.
//
//go:embed completion.bash
var bashCompletion string

// completionCommands are the commands that the completion scripts run, with the words of an
// unfinished command line.
var completionCommands = []string{cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}

// flagValues returns the values of the flags that have only a few.
func flagValues() map[string][]string {
	return map[string][]string{
		flagRole:      {string(agent.RoleMaster), string(agent.RoleCore), string(agent.RoleTask)},
		flagScope:     {"external", "private", "all"},
		flagBackend:   {"auto", "iptables", "nftables"},
		flagLogFormat: {"console", "json"},
		flagOutput:    {formatText, formatJSON},
		flagOnError:   {agent.OnErrorFail, agent.OnErrorContinue},
	}
}

// completes reports whether a completion script asks.
func completes(args []string) bool {
	return len(args) > 0 && slices.Contains(completionCommands, args[0])
}

// complete prepares the commands for a completion script. It proposes nothing where an address is
// expected, and no files.
func complete(root *cobra.Command) error {
	nothing := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	values := flagValues()
	propose := func(name string) cobra.CompletionFunc {
		if name == flagStateDir || name == flagBundle {
			return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
				return nil, cobra.ShellCompDirectiveFilterDirs
			}
		}
		return func(_ *cobra.Command, _ []string, begun string) (fit []string, _ cobra.ShellCompDirective) {
			for _, v := range values[name] {
				if len(begun) <= len(v) && strings.EqualFold(v[:len(begun)], begun) {
					fit = append(fit, v)
				}
			}
			return fit, cobra.ShellCompDirectiveNoFileComp
		}
	}
	seen := map[*pflag.Flag]bool{} // commands share them
	var err error
	for _, cmd := range everyCommand(root) {
		if len(cmd.ValidArgs) == 0 {
			cmd.ValidArgsFunction = nothing
		}
		cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			if !seen[flag] {
				seen[flag] = true
				err = errors.Join(err, cmd.RegisterFlagCompletionFunc(flag.Name, propose(flag.Name)))
			}
		})
	}
	return err
}

// completion returns the command that prints a completion script.
func (c *commandLine) completion() *cobra.Command {
	shells := map[string]func(*cobra.Command, io.Writer) error{
		"bash": func(_ *cobra.Command, w io.Writer) error { _, err := io.WriteString(w, bashCompletion); return err },
		"zsh":  func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) },
	}
	return &cobra.Command{
		Use: "completion bash|zsh", Short: "Print the script by which a shell completes this command line",
		Long: `Print the script by which a shell completes this command line. In bash, source it.`,
		Example: `  source <(emr-static-ip completion bash)
  emr-static-ip completion zsh > /usr/share/zsh/site-functions/_emr-static-ip`,
		ValidArgs: []string{"bash", "zsh"},
		Args:      cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || shells[args[0]] == nil {
				c.problem("completion takes the name of one shell: bash or zsh")
			}
			if len(c.problems) > 0 {
				return exit.Invalid(errors.Join(c.problems...), usageHint(cmd))
			}
			return shells[args[0]](cmd.Root(), c.env.Stdout)
		},
	}
}
