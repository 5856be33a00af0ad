package cli

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// scan looks for flags that the command does not have, and for flags without a value. cobra would
// report only the first of them. scan records each as a problem, and returns the other arguments.
func (c *commandLine) scan(root *cobra.Command, args []string) (kept []string) {
	cmd, _, err := root.Find(args)
	if err != nil || cmd == nil {
		cmd = root
	}
	cmd.InitDefaultHelpFlag()
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if name := strings.TrimLeft(arg, otherDashes); name != arg {
			c.problem("%s begins with a dash of another kind, as word processors make them%s", text.Quote(arg), meant(cmd, name))
			continue
		}
		if arg == "--" {
			return append(kept, args[i:]...)
		}
		if arg == "-" || !strings.HasPrefix(arg, "-") {
			kept = append(kept, arg)
			continue
		}
		next := ""
		if i+1 < len(args) {
			next = args[i+1]
		}
		flag, hasValue := flagOf(cmd, arg)
		switch {
		case flag == nil:
			likely := nearestFlag(cmd, arg)
			c.problem("%s", unknownFlag(cmd, arg, likely))
			isValue := next != "" && !strings.HasPrefix(next, "-") && cmd.Name() != next && (!pool.IsList(next) || c.flags.isList(likely))
			if isValue && !strings.Contains(arg, "=") {
				i++
			}
		case flag.Value.Type() == "bool" && !isBool(arg):
			name, value, _ := strings.Cut(arg, "=")
			c.problem("%s %s is neither true nor false", name, text.Quote(value))
		case hasValue || flag.NoOptDefVal != "":
			kept = append(kept, arg)
		case next == "" && i+1 == len(args) || strings.HasPrefix(next, "--"):
			c.problem("%s has no value", arg)
		default:
			i++
			kept = append(kept, arg, next)
		}
	}
	return kept
}

// isBool reports whether a switch has no value, or true or false. pflag would refuse wrong values
// of --help and --version in the words of Go's strconv.
func isBool(arg string) bool {
	_, value, ok := strings.Cut(arg, "=")
	_, err := strconv.ParseBool(value)
	return !ok || err == nil
}

// flagOf returns the command's flag that an argument names, by its name or its letter, and whether
// the argument has the value too.
func flagOf(cmd *cobra.Command, arg string) (flag *pflag.Flag, hasValue bool) {
	name, _, hasValue := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
	if strings.HasPrefix(arg, "--") {
		return cmd.Flag(name), hasValue
	}
	if cmd.Flag(strings.TrimPrefix(name, "-")) != nil {
		return nil, false // a name with one dash
	}
	letter := arg[1:2]
	if letter >= "\x80" {
		return nil, false
	}
	if flag = cmd.Flags().ShorthandLookup(letter); flag == nil {
		flag = cmd.InheritedFlags().ShorthandLookup(letter)
	}
	return flag, len(arg) > 2
}

// otherDashes look like the one that flags begin with: hyphens, en and em dash, minus.
const otherDashes = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"

// nearestFlag returns the flag that was probably meant: a flag of any command with exactly this
// name, or else the nearest flag of the command, of apply, or of any command. It returns "" if no
// flag is near.
func nearestFlag(cmd *cobra.Command, arg string) string {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	name = strings.ReplaceAll(name, "_", "-")
	if len(owners(cmd.Root(), name)) > 0 {
		return name
	}
	for _, set := range [][]*cobra.Command{{cmd}, {cmd.Root()}, everyCommand(cmd.Root())} {
		var names []string
		for _, one := range set {
			for _, flags := range []*pflag.FlagSet{one.LocalFlags(), one.InheritedFlags()} {
				flags.VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
			}
		}
		if likely := text.Nearest(name, names); likely != "" {
			return likely
		}
	}
	return ""
}

// owners returns the commands below cmd that have a flag. A command stands for those below it if
// it has several and each of them has the flag.
func owners(cmd *cobra.Command, name string) (list []string) {
	for _, sub := range cmd.Commands() {
		below := owners(sub, name)
		switch {
		case sub.Hidden:
		case sub.Flag(name) != nil, len(below) > 1 && len(below) == len(sub.Commands()):
			list = append(list, commandPath(sub))
		default:
			list = append(list, below...)
		}
	}
	return list
}

// meant asks whether a similar flag was meant. It returns "" if no flag is near.
func meant(cmd *cobra.Command, arg string) string {
	if likely := nearestFlag(cmd, arg); likely != "" {
		return ": did you mean --" + likely + "?"
	}
	return ""
}

// unknownFlag says that a command does not have a flag, and either which flag was probably meant,
// or which commands have it.
func unknownFlag(cmd *cobra.Command, arg, likely string) string {
	problem := "unknown flag " + text.Quote(arg)
	if cmd.HasParent() {
		problem += " of the command " + commandPath(cmd)
	}
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	switch {
	case name == flagVersion:
		return problem + ": the command is emr-static-ip version"
	case arg == "-v" && !cmd.HasParent():
		return problem + ": did you mean --version or --verbose?"
	case likely == "":
		return problem
	case cmd.Flag(likely) == nil:
		having := owners(cmd.Root(), likely)
		if below := owners(cmd, likely); len(below) > 0 {
			having = below
		}
		subject := "it"
		if likely != name {
			subject = "--" + likely
		}
		return problem + ": " + subject + " belongs to " + enumerated(having)
	case likely == name:
		return problem + ": flags begin with two dashes, --" + likely
	}
	return problem + ": did you mean --" + likely + "?"
}

// enumerated returns a list as part of a sentence: a, b and c.
func enumerated(list []string) string { return enumeratedBy("and", list) }

// enumeratedBy is enumerated with another word before the last item.
func enumeratedBy(word string, list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	list = slices.Clone(list)
	last := len(list) - 1
	return strings.Join(list[:last], ", ") + " " + word + " " + list[last]
}
