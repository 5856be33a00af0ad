package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// scan finds every flag that the command does not have and every flag without its value, all at once, and returns the other
// arguments, with which cobra has nothing to complain about.
func (c *commandLine) scan(root *cobra.Command, args []string) (kept []string) {
	cmd, _, err := root.Find(args)
	if err != nil || cmd == nil {
		cmd = root
	}
	cmd.InitDefaultHelpFlag()
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if value, ok := strings.CutPrefix(arg, "-o"); ok && cmd.Flag(flagOutput) != nil && !strings.HasPrefix(arg, "--") {
			if arg = "--" + flagOutput; value != "" {
				arg += "=" + strings.TrimPrefix(value, "=")
			}
		}
		if name := strings.TrimLeft(arg, otherDashes); name != arg {
			c.problem("%s begins with a dash of another kind, as word processors make them%s", text.Quote(arg), meant(cmd, name))
			continue
		}
		switch {
		case arg == "--":
			return append(kept, args[i:]...)
		case arg == "-h", arg == "-" || !strings.HasPrefix(arg, "-"):
			kept = append(kept, arg)
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		flag := cmd.Flag(name)
		next := ""
		if i+1 < len(args) {
			next = args[i+1]
		}
		switch {
		case flag == nil || !strings.HasPrefix(arg, "--"):
			likely := nearestFlag(cmd, name)
			if shortOutput(arg) {
				likely = flagOutput
			}
			c.problem("%s", unknownFlag(cmd, arg, name, likely))
			if follows := next != "" && !strings.HasPrefix(next, "-") && cmd.Name() != next; !hasValue && follows && (!pool.IsList(next) || c.flags.isList(likely)) {
				i++ // its value, one supposes
			}
		case hasValue || flag.NoOptDefVal != "":
			if c.flags.isList(name) {
				if n := c.torn(name, value, args[i+1:]); n > 0 {
					arg, i = strings.TrimRight(arg, ","), i+n
				}
			}
			kept = append(kept, arg)
		case i+1 == len(args) || strings.HasPrefix(next, "--"):
			c.problem("--%s has no value", name)
		default:
			i++
			if c.flags.isList(name) {
				if n := c.torn(name, next, args[i+1:]); n > 0 {
					next, i = strings.TrimRight(next, ","), i+n
				}
			}
			kept = append(kept, arg, next)
		}
	}
	return kept
}

// otherDashes look like the one that flags begin with: hyphens, en and em dash, minus.
const otherDashes = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"

// torn finds a list that was torn into several arguments by blanks after its commas. It returns how many of the arguments that follow belong to it.
func (c *commandLine) torn(name, value string, following []string) int {
	whole, n := value, 0
	for n < len(following) && (strings.HasSuffix(whole, ",") || strings.HasPrefix(following[n], ",")) && pool.IsList(strings.Trim(following[n], ",")) {
		whole += following[n]
		n++
	}
	if n > 0 {
		c.problem("--%s %s goes on after a blank: write it without blanks, --%s %s", name, text.Quote(value), name, text.Clean(whole, text.MaxQuoted))
	}
	return n
}

// nearestFlag is the flag that was probably meant: one of any command, where it is exactly that, else the nearest of the command, of apply, or
// of any; empty where none is near.
func nearestFlag(cmd *cobra.Command, name string) string {
	name = strings.TrimLeft(strings.ReplaceAll(name, "_", "-"), "-")
	if len(owners(cmd.Root(), name)) > 0 {
		return name
	}
	sets := [][]*cobra.Command{{cmd}, {cmd.Root()}, everyCommand(cmd.Root())}
	for _, set := range sets {
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

// owners are the commands below cmd that have a flag: apply for those that it shares with plan and doctor, ledger for those that all its
// commands have.
func owners(cmd *cobra.Command, name string) (list []string) {
	if !cmd.HasParent() && cmd.Flag(name) != nil && name != flagVersion {
		return []string{"apply"}
	}
	for _, sub := range cmd.Commands() {
		below := owners(sub, name)
		switch {
		case sub.Hidden:
		case sub.Flag(name) != nil, len(below) > 0 && len(below) == len(sub.Commands()):
			list = append(list, commandPath(sub))
		default:
			list = append(list, below...)
		}
	}
	return list
}

// meant asks back for a flag; empty where none is near.
func meant(cmd *cobra.Command, name string) string {
	name, _, _ = strings.Cut(name, "=")
	if likely := nearestFlag(cmd, name); likely != "" {
		return ": did you mean --" + likely + "?"
	}
	return ""
}

func unknownFlag(cmd *cobra.Command, arg, name, likely string) string {
	text := "unknown flag " + text.Quote(arg)
	if cmd.HasParent() {
		text += " of the command " + commandPath(cmd)
	}
	if name == flagVersion {
		return text + ": the command is emr-static-ip version"
	}
	if likely != "" && likely != name {
		text += ": did you mean --" + likely + "?"
	}
	switch {
	case !strings.HasPrefix(arg, "--") && cmd.Flag(strings.TrimLeft(name, "-")) != nil:
		text += " Flags begin with two dashes"
	case likely != "" && cmd.Flag(likely) == nil:
		having := owners(cmd.Root(), likely)
		if len(having) == 1 && having[0] == cmd.Name() { // each of those below it has it
			having = owners(cmd, likely)
		}
		text += "; it belongs to " + enumerated(having)
	}
	return text
}

// commandPath is a command's name, after that of the command that it is part of.
func commandPath(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}

// enumerated is a list in a sentence: a, b and c.
func enumerated(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " and " + list[len(list)-1]
}

// shortOutput tells whether an argument is -o, alone or with its value.
func shortOutput(arg string) bool {
	value, ok := strings.CutPrefix(arg, "-o")
	return ok && (value == "" || slices.Contains(flagValues()[flagOutput], strings.TrimPrefix(value, "=")))
}
