package cli

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

// A flag that another command has is answered with that command's name.
func TestFlagsOfOtherCommands(t *testing.T) {
	for args, want := range map[string]string{
		"plan --output json":                  `unknown flag "--output" of the command plan; it belongs to doctor, ledger and status`,
		"plan -o json 10.0.1.10 10.0.1.11":    `unknown flag "-o" of the command plan: did you mean --output?; it belongs to doctor, ledger and status`,
		"-ojson 10.0.1.10 10.0.1.11":          `unknown flag "-ojson": did you mean --output?; it belongs to doctor, ledger and status`,
		"release -o=json":                     `unknown flag "-o=json" of the command release: did you mean --output?; it belongs to doctor, ledger and status`,
		"apply --subnet subnet-1":             `unknown flag "--subnet" of the command apply; it belongs to ledger`,
		"--yes":                               `unknown flag "--yes"; it belongs to ledger gc and ledger repair`,
		"ledger list --yes":                   `unknown flag "--yes" of the command ledger list; it belongs to ledger gc and ledger repair`,
		"ledger --yes gc":                     `unknown flag "--yes" of the command ledger; it belongs to ledger gc and ledger repair`,
		"ledger --region us-east-1":           `unknown flag "--region" of the command ledger; it belongs to ledger gc, ledger list and ledger repair`,
		"status --sub x":                      `unknown flag "--sub" of the command status: did you mean --subnet?; it belongs to ledger`,
		"status --version":                    `unknown flag "--version" of the command status: the command is emr-static-ip version`,
		"version -o json":                     `unknown flag "-o" of the command version: did you mean --output?; it belongs to doctor, ledger and status`,
		"completion --role CORE bash":         `unknown flag "--role" of the command completion; it belongs to apply`,
		"restore --no-unit":                   `unknown flag "--no-unit" of the command restore: did you mean --no-units?; it belongs to apply`,
		"-only-cidr 10.0.0.0/8 10.0.1.10":     `unknown flag "-only-cidr": did you mean --only-cidr? Flags begin with two dashes`,
		"status --outptu json":                `unknown flag "--outptu" of the command status: did you mean --output?`,
		"ledger lst":                          `ledger has no command "lst": list, gc or repair; did you mean list?`,
		"ledger rapair --region eu-central-1": `ledger has no command "rapair": list, gc or repair; did you mean repair?`,
		"ledger show":                         `ledger has no command "show": list, gc or repair`,
	} {
		code, stdout, stderr, got := runMain(t, t.Context(), strings.Fields(args), nil, agent.Report{}, nil)
		if code != exit.Usage || got.what != "" || stdout != "" || !strings.Contains(stderr, "\n  "+want+"\n") {
			t.Errorf("%s: exit code %d, lacks %s:\n%s", args, code, want, stderr)
		}
	}
	// Of every flag, and every command that does not have it.
	root := (&commandLine{}).tree()
	for _, cmd := range append([]*cobra.Command{root}, shown(root)...) {
		for _, owner := range append([]*cobra.Command{root}, shown(root)...) {
			owner.LocalFlags().VisitAll(func(flag *pflag.Flag) {
				if cmd.Flag(flag.Name) != nil || flag.Name == flagVersion || flag.Name == "help" {
					return
				}
				args := append(strings.Fields(cmd.CommandPath())[1:], "--"+flag.Name+"=x")
				_, _, stderr, _ := runMain(t, t.Context(), args, nil, agent.Report{}, nil)
				if !strings.Contains(stderr, "; it belongs to ") || strings.Contains(stderr, "did you mean") {
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
