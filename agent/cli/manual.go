package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

// Manual returns the commands as the manual pages describe them: with sections in Markdown after
// the help of the root command. scripts/manpage makes the pages. The program itself does not call
// Manual.
func Manual() *cobra.Command {
	c := commandLine{}
	root := c.tree()
	var b strings.Builder
	b.WriteString(strings.TrimSpace(root.Long))
	fmt.Fprintf(&b, `

# ENVIRONMENT
Every flag has an environment variable, for example %s for --%s. A flag on the command line takes
precedence. The variables of the AWS SDK apply too: AWS_REGION, AWS_ENDPOINT_URL, AWS_MAX_ATTEMPTS,
HTTPS_PROXY, NO_PROXY and others.

# EXIT STATUS
`, variableOf(pool.FlagCore), pool.FlagCore)
	for _, code := range exit.Codes() {
		fmt.Fprintf(&b, "**%d**\n: %s\n\n", code, code.Meaning())
	}
	b.WriteString("# FILES\n")
	for _, f := range [][2]string{
		{agent.DefaultStateDir + "/" + state.File, "the state of the last run, and its settings"},
		{agent.DefaultStateDir + "/" + state.LastErrorFile, "the last error that --on-error continue suppressed, until a run succeeds"},
		{systemd.Dir + "/" + systemd.Service + ", " + systemd.Timer, "restore address and rules at boot and every minute"},
		{systemd.Dir + "/" + systemd.RetryService + ", " + systemd.RetryTimer, "retry after an error that --on-error continue suppressed"},
		{systemd.Program, "the copy of the program that the units run"},
	} {
		fmt.Fprintf(&b, "**%s**\n: %s\n\n", f[0], f[1])
	}
	root.Long = b.String()
	return root
}
