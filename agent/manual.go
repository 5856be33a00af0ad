package agent

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// WriteManual writes the manual page emr-static-ip(8), in the man macros, from what --help is made of. The program itself does not
// use it. It is the same for the same source: no date, no version.
func WriteManual(w io.Writer) error {
	c := commandLine{}
	root := c.tree()
	var b strings.Builder
	b.WriteString(".\\\" Made by make man from the source of --help. Do not edit.\n")
	b.WriteString(".TH EMR\\-STATIC\\-IP 8 \"\" \"emr\\-static\\-ip\" \"System Administration\"\n.ad l\n.nh\n")
	section := func(name string) { b.WriteString(".SH " + name + "\n") }
	section("NAME")
	b.WriteString("emr\\-static\\-ip \\- " + roff(strings.ToLower(root.Short[:1])+root.Short[1:]) + "\n")
	section("SYNOPSIS")
	forms := []string{root.Use}
	for _, cmd := range shown(root) {
		if !cmd.HasSubCommands() {
			forms = append(forms, cmd.Parent().CommandPath()+" "+cmd.Use)
		}
	}
	writeExample(&b, forms)
	section("DESCRIPTION")
	writeText(&b, root.Long)
	section("COMMANDS")
	for _, cmd := range shown(root) {
		b.WriteString(".TP\n.B " + roff(strings.TrimPrefix(cmd.CommandPath(), root.Name()+" ")) + "\n" + roff(cmd.Short) + ".\n")
		var own []string
		cmd.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
			if root.Flag(flag.Name) == nil && flag.Name != "help" {
				own = append(own, "\\fB\\-\\-"+roff(flag.Name)+"\\fR")
			}
		})
		if len(own) > 0 {
			b.WriteString("Takes also " + strings.Join(own, ", ") + ".\n")
		}
	}
	section("OPTIONS")
	writeOptions(&b, root)
	section("ENVIRONMENT")
	b.WriteString("Every flag can be given as a variable too, and the command line goes first:\n")
	writeExample(&b, []string{variableOf(flagCoreIPs) + "=10.0.1.11-14   for --" + flagCoreIPs + " 10.0.1.11-14"})
	b.WriteString(".PP\nThe AWS SDK\\(aqs own variables are honoured: AWS_REGION, AWS_ENDPOINT_URL, AWS_MAX_ATTEMPTS, HTTPS_PROXY, NO_PROXY, and the others.\n")
	section(`"EXIT STATUS"`)
	for _, code := range exitCodes() {
		fmt.Fprintf(&b, ".TP\n.B %d\n%s.\n", code, roff(capital(code.Meaning())))
	}
	section("FILES")
	for _, file := range []struct{ path, what string }{
		{DefaultStateDir + "/" + stateFile, "What the last run left, and with which settings. For root alone."},
		{DefaultStateDir + "/" + failureFile, "The last error that --on-error continue suppressed, until a run succeeds."},
		{unitDir + "/" + unitService + ", " + unitTimer, "Put address and rules back at boot and every minute."},
		{unitDir + "/" + unitRetryService + ", " + unitRetryTimer, "Try again after an error that --on-error continue suppressed."},
		{unitProgram, "The copy of this program that the units run."},
	} {
		b.WriteString(".TP\n.I " + roff(file.path) + "\n" + roff(file.what) + "\n")
	}
	section(`"SEE ALSO"`)
	b.WriteString(".BR ip\\-address (8),\n.BR iptables (8),\n.BR nft (8),\n.BR systemd.timer (5)\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// writeOptions writes the flags, by the commands that take them.
func writeOptions(b *strings.Builder, root *cobra.Command) {
	seen := map[string]bool{flagVersion: true, "help": true}
	root.PersistentFlags().VisitAll(func(flag *pflag.Flag) { seen[flag.Name] = true }) // they come last
	write := func(set *pflag.FlagSet, of string) {
		set.VisitAll(func(flag *pflag.Flag) {
			if seen[flag.Name] || enumerated(owners(root, flag.Name)) != of {
				return
			}
			seen[flag.Name] = true
			writeOption(b, flag)
		})
	}
	subsection := func(title string) { b.WriteString(".SS " + roff(title) + "\n") }
	subsection("Of apply, plan and doctor")
	b.WriteString("Where no command is named, \\fBapply\\fR is meant.\n")
	write(root.LocalFlags(), "apply") // in the order in which they are defined
	for _, cmd := range shown(root) {
		cmd.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
			if seen[flag.Name] {
				return
			}
			of := enumerated(owners(root, flag.Name))
			subsection("Of " + of)
			for _, other := range shown(root) {
				write(other.LocalNonPersistentFlags(), of)
			}
		})
	}
	subsection("Of all of these, release and restore")
	var without []string
	for _, name := range notOfLedger() {
		without = append(without, "\\fB\\-\\-"+roff(name)+"\\fR")
	}
	b.WriteString("\\fBledger\\fR does nothing with " + enumerated(without) + ".\n")
	root.PersistentFlags().VisitAll(func(flag *pflag.Flag) { writeOption(b, flag) })
	subsection("Alone")
	writeOption(b, root.Flag(flagVersion))
}

func writeOption(b *strings.Builder, flag *pflag.Flag) {
	b.WriteString(".TP\n\\fB\\-\\-" + roff(flag.Name) + "\\fR")
	if flag.NoOptDefVal == "" {
		b.WriteString(" \\fI" + roff(flag.Value.Type()) + "\\fR")
	}
	b.WriteString("\n" + roff(capital(flag.Usage)))
	if flag.DefValue != "" && flag.DefValue != "false" {
		b.WriteString(" (default: " + roff(flag.DefValue) + ")")
	}
	b.WriteString(".\n")
}

// exitCodes are all that the program ends with.
func exitCodes() []ExitCode {
	return []ExitCode{ExitOK, ExitInternal, ExitUsage, ExitIdentity, ExitPermission, ExitUnreachable, ExitNoAddress, ExitKernel, ExitDeadline, ExitNotRoot,
		ExitDrifted, ExitNotGiven, ExitWithdrawn, ExitVerify, ExitInterrupt, ExitTerminate}
}

// shown are the commands that an operator can give, without cobra's own.
func shown(root *cobra.Command) (list []*cobra.Command) {
	for _, cmd := range everyCommand(root) {
		if cmd != root && !cmd.Hidden && cmd.Name() != "help" {
			list = append(list, cmd)
		}
	}
	return list
}

// writeText writes paragraphs; indented lines stay as they are.
func writeText(b *strings.Builder, text string) {
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		lines := strings.Split(paragraph, "\n")
		if strings.HasPrefix(paragraph, "    ") {
			writeExample(b, lines)
			continue
		}
		b.WriteString(".PP\n")
		for _, line := range lines {
			b.WriteString(roff(line) + "\n")
		}
	}
}

func writeExample(b *strings.Builder, lines []string) {
	b.WriteString(".PP\n.nf\n")
	for _, line := range lines {
		b.WriteString(roff("    "+strings.TrimSpace(line)) + "\n")
	}
	b.WriteString(".fi\n")
}

// roff is plain text in which nothing means anything to troff.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
