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
