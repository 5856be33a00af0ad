package cli

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

const usageHint = "emr-static-ip --help explains the arguments"

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

Anywhere with AWS credentials, for the ledger of records:

    emr-static-ip ledger list|gc|repair [--subnet SUBNET --region REGION] [--yes]

Addresses are single ones, comma lists, ranges (10.0.1.20-10.0.1.29 or 10.0.1.20-29) and CIDRs, in any mixture. The first
is the master's, all others are the core nodes'. Clusters with three masters or task nodes name them by flags.`

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
