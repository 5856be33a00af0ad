package cli

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/ledger"
)

// usageHint returns the remedy for wrong arguments of a command.
func usageHint(cmd *cobra.Command) string {
	if cmd.Hidden { // its help is nowhere
		cmd = cmd.Root()
	}
	return cmd.CommandPath() + " --help explains the arguments"
}

const helpText = `emr-static-ip gives a node of an Amazon EMR cluster a private IP address from a list.

As a bootstrap action, with the same arguments on every node:

    emr-static-ip MASTER_IP CORE_IP [CORE_IP ...]

On a node, at any time and any number of times. Without addresses, apply repeats the last run:

    emr-static-ip [apply] [flags] [MASTER_IP CORE_IP ...]
    emr-static-ip release
    emr-static-ip restore
    emr-static-ip status
    emr-static-ip plan [flags] [MASTER_IP CORE_IP ...]
    emr-static-ip doctor [flags] [MASTER_IP CORE_IP ...]

Anywhere with AWS credentials, for the ledger of records, for a whole cluster, and for a subnet without nodes:

    emr-static-ip ledger list|gc|repair|remove|watch [--subnet SUBNET --region REGION] [--yes]
    emr-static-ip cluster check CLUSTER_ID [--region REGION] [--wait TIME]
    emr-static-ip doctor --subnet SUBNET [flags] [MASTER_IP CORE_IP ...]

Addresses are single ones, comma lists, ranges (10.0.1.20-10.0.1.29 or 10.0.1.20-29) and CIDRs, in any mixture. The first
is the master's, all others are the core nodes'. Clusters with three masters or task nodes name them by flags. Any other
EC2 instance takes one list without roles: emr-static-ip --ips 10.0.1.20-29`

// setHelp makes the command help propose commands, and refuse words that are none. cobra's own
// answers such words with the text of the command above, as if that had been asked for.
func setHelp(root *cobra.Command) {
	for _, help := range root.Commands() {
		if help.Name() != "help" {
			continue
		}
		help.Run, help.ValidArgs = nil, available(root)
		help.RunE = func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 && cmd.HasSubCommands() {
				err = unknownCommand(cmd, rest[0])
			}
			if err != nil {
				return exit.Invalid(err, usageHint(root))
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		}
	}
}

// unknownCommand says that there is no such command below cmd, and which one was probably meant.
func unknownCommand(cmd *cobra.Command, word string) error {
	problem := fmt.Errorf("%s has no command %s", cmd.CommandPath(), text.Quote(word))
	if likely := likelyCommand(cmd, word); likely != "" {
		problem = fmt.Errorf("%w: did you mean %s?", problem, likely)
	}
	return problem
}

// synonyms are words of other programs, with the commands that do the same here: by the name of the
// command that the word stands behind.
var synonyms = map[string]map[string]string{
	"emr-static-ip": {"list": "ledger list", "ls": "ledger list", "uninstall": "release"},
	"ledger":        {"ls": ledger.List, "rm": ledger.Remove, "delete": ledger.Remove},
}

// likelyCommand returns the command below cmd that word was probably meant to be, or "".
func likelyCommand(cmd *cobra.Command, word string) string {
	return cmp.Or(text.Nearest(word, available(cmd)), synonyms[cmd.Name()][strings.ToLower(word)])
}

// available returns the names of the commands below cmd that are shown.
func available(cmd *cobra.Command) (names []string) {
	for _, below := range cmd.Commands() {
		if below.IsAvailableCommand() {
			names = append(names, below.Name())
		}
	}
	return names
}

// help prints a command's help text. It does so without cobra's templates: with text/template the
// linker must keep every method of the EC2 client, 36 MB of them.
func (c *commandLine) help(cmd *cobra.Command, _ []string) {
	fmt.Fprint(cmd.OutOrStdout(), cmp.Or(cmd.Long, cmd.Short), "\n\n", cmd.UsageString(), helpEnd(cmd))
}

// helpEnd returns the end of a command's help text.
func helpEnd(cmd *cobra.Command) string {
	if cmd.HasParent() {
		return "\nEnvironment variables and exit codes: emr-static-ip --help\n"
	}
	var b strings.Builder
	b.WriteString("\nEvery flag is also an environment variable: EMR_STATIC_IP_CORE_IPS for --core-ips. The command line takes precedence.\n\nExit codes:\n")
	for _, code := range exit.Codes() {
		fmt.Fprintf(&b, "  %3d  %s\n", code, code.Meaning())
	}
	return b.String()
}
