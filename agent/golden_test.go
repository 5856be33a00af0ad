package agent

import (
	"regexp"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

// ending returns what a run says at its end, for a golden file.
func ending(rep Report, err error) string {
	lines := append(append([]string(nil), rep.Notes...), rep.Warnings...)
	if err != nil {
		lines = append(append(lines, err.Error()), exit.Remedies(err)...)
	}
	return strings.Join(lines, "\n")
}

var number = regexp.MustCompile(`\d+`)

// unnumbered replaces the numbers of a text whose waits are random.
func unnumbered(text string) string { return number.ReplaceAllString(text, "N") }

// random matches what differs from run to run in a text whose waits are random.
var random = regexp.MustCompile(`\d+(\.\d+)?s|process \d+|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// logWarnings returns the warnings of a log, for a golden file.
func logWarnings(log, root string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.ReplaceAll(log, root, "")) {
		if _, warning, found := strings.Cut(line, "Z WARN "); found {
			b.WriteString(random.ReplaceAllString(warning, "N"))
		}
	}
	return b.String()
}

// told returns what a command prints without its log, for a golden file.
func (n *testNode) told(printed string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.ReplaceAll(strings.ReplaceAll(printed, n.env.Root, ""), Version(), "VERSION")) {
		if stamp := random.FindStringIndex(line); stamp == nil || stamp[0] > 0 {
			b.WriteString(random.ReplaceAllString(line, "N"))
		}
	}
	return strings.TrimLeft(b.String(), "\n")
}
