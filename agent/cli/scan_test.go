package cli

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// TestFlagsOfOtherCommands gives every flag to every command that does not have it. The message
// names the commands that do.
func TestFlagsOfOtherCommands(t *testing.T) {
	root := (&commandLine{}).tree()
	said := map[string]bool{}
	for _, cmd := range append([]*cobra.Command{root}, shown(root)...) {
		for _, owner := range append([]*cobra.Command{root}, shown(root)...) {
			owner.LocalFlags().VisitAll(func(flag *pflag.Flag) {
				if cmd.Flag(flag.Name) != nil || flag.Name == flagVersion || flag.Name == "help" {
					return
				}
				args := append(strings.Fields(cmd.CommandPath())[1:], "--"+flag.Name+"=x")
				_, _, stderr, _ := runMain(t, t.Context(), args, nil, agent.Report{}, nil)
				name := strings.TrimPrefix(cmd.CommandPath(), root.Name()+" ")
				if _, lists := outline(stderr); len(lists) == 2 {
					line, _, _ := strings.Cut(strings.TrimSpace(lists[0]), "\n")
					said[strings.Replace(line, " "+name+":", " COMMAND:", 1)] = true
				} else {
					t.Errorf("%q: %s", args, stderr)
				}
			})
		}
	}
	golden.Is(t, "flags-of-other-commands.txt", strings.Join(slices.Sorted(maps.Keys(said)), "\n")+"\n")
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
