package cli

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/emr-static-ip/emr-static-ip/agent"
)

// TestFlagsOfOtherCommands gives every flag to every command that does not have it. The message
// names the commands that do.
func TestFlagsOfOtherCommands(t *testing.T) {
	root := (&commandLine{}).tree()
	for _, cmd := range append([]*cobra.Command{root}, shown(root)...) {
		for _, owner := range append([]*cobra.Command{root}, shown(root)...) {
			owner.LocalFlags().VisitAll(func(flag *pflag.Flag) {
				if cmd.Flag(flag.Name) != nil || flag.Name == flagVersion || flag.Name == "help" {
					return
				}
				args := append(strings.Fields(cmd.CommandPath())[1:], "--"+flag.Name+"=x")
				_, _, stderr, _ := runMain(t, t.Context(), args, nil, agent.Report{}, nil)
				if !strings.Contains(stderr, ": it belongs to ") || strings.Contains(stderr, "did you mean") {
					t.Errorf("%q: %s", args, stderr)
				}
			})
		}
	}
}

// shown returns the commands that an operator can give, without cobra's own.
func shown(root *cobra.Command) (list []*cobra.Command) {
	for _, cmd := range everyCommand(root) {
		if cmd != root && !cmd.Hidden && cmd.Name() != "help" {
			list = append(list, cmd)
		}
	}
	return list
}
