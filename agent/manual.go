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
		forms = append(forms, cmd.Parent().CommandPath()+" "+cmd.Use)
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
			b.WriteString("Flags of its own: " + strings.Join(own, ", ") + ".\n")
		}
	}
	section("OPTIONS")
	b.WriteString("All of them belong to \\fBapply\\fR and \\fBplan\\fR, which is meant where no command is named; other commands have those that their\n" +
		"\\fB\\-\\-help\\fR lists.\n")
	seen := map[string]bool{}
	for _, cmd := range append([]*cobra.Command{root}, shown(root)...) {
		cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			if seen[flag.Name] || flag.Name == "help" {
				return
			}
			seen[flag.Name] = true
			b.WriteString(".TP\n\\fB\\-\\-" + roff(flag.Name) + "\\fR")
			if flag.NoOptDefVal == "" {
				b.WriteString(" \\fI" + roff(flag.Value.Type()) + "\\fR")
			}
			b.WriteString("\n" + roff(capital(flag.Usage)))
			if flag.DefValue != "" && flag.DefValue != "false" {
				b.WriteString(" (default: " + roff(flag.DefValue) + ")")
			}
			b.WriteString(".\n")
		})
	}
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

// exitCodes are all that the program ends with.
func exitCodes() []ExitCode {
	return []ExitCode{ExitOK, ExitInternal, ExitUsage, ExitIdentity, ExitPermission, ExitUnreachable, ExitNoAddress, ExitKernel, ExitDeadline, ExitNotRoot,
		ExitDrifted, ExitNotGiven, ExitWithdrawn, ExitInterrupt, ExitTerminate}
}

// shown are the commands that an operator can give, each followed by those below it, without cobra's own.
func shown(root *cobra.Command) (list []*cobra.Command) {
	for _, cmd := range root.Commands() {
		if !cmd.Hidden && cmd.Name() != "help" {
			list = append(append(list, cmd), shown(cmd)...)
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
