package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// bootstrapVariable tells scripts/bootstrap.sh where the binaries are. It may be in the environment
// of this program too.
const bootstrapVariable = variablePrefix + "BASE"

// warnOfVariables warns of variables that begin like this program's and stand for no flag, such as
// EMR_STATIC_IP_CORE_IP. They are no errors: wrappers of this program may have variables of their
// own.
func warnOfVariables(log *zap.Logger, root *cobra.Command, environ []string) {
	ours := slices.DeleteFunc(slices.Clone(environ), func(v string) bool { return !strings.HasPrefix(v, variablePrefix) })
	if len(ours) == 0 {
		return // as where a timer runs the program
	}
	known := flagVariables(root)
	for _, variable := range slices.Sorted(slices.Values(ours)) {
		name, value, _ := strings.Cut(variable, "=")
		if value == "" || name == bootstrapVariable || slices.Contains(known, name) {
			continue
		}
		hint := ""
		if likely := text.Nearest(name[len(variablePrefix):], withoutPrefix(known)); likely != "" {
			hint = ": is " + variablePrefix + likely + " meant?"
		}
		log.Warn("the environment variable " + text.Clean(name, text.MaxQuoted) + " matches no flag and is ignored" + hint)
	}
}

// flagVariables returns the variables of the flags of all commands.
func flagVariables(root *cobra.Command) (names []string) {
	for _, cmd := range everyCommand(root) {
		cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			if name := variableOf(flag.Name); flag.Name != "help" && flag.Name != flagVersion && !slices.Contains(names, name) {
				names = append(names, name)
			}
		})
	}
	return names
}

func withoutPrefix(variables []string) []string {
	names := make([]string, len(variables))
	for i, v := range variables {
		names[i] = strings.TrimPrefix(v, variablePrefix)
	}
	return names
}
