// Package text makes text that comes from elsewhere fit to be printed, and reads it strictly.
// Foreign text is arguments, files, tags, answers of AWS and output of other programs.
package text

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of foreign text that is printed, in runes.
const (
	// MaxQuoted is for one argument or one value.
	MaxQuoted = 80
	// MaxLine is for one line of an error, a log or a report.
	MaxLine = 4000

	// maxEntry is for one log entry. It is large, so that an entry in JSON is never cut.
	maxEntry = 1 << 20
)

// MaxProblems limits how many problems of one kind are listed.
const MaxProblems = 50

// Clean returns at most limit runes of s, fit for a terminal and for a log. It replaces whatever a
// terminal could obey by an escape: control characters, C1 controls, direction marks and invalid
// UTF-8. The escapes are those of JSON, so that cleaned JSON is still JSON. Cleaning twice is the
// same as cleaning once.
func Clean(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > limit {
			return shorten(b.String(), limit)
		}
		switch {
		case unicode.IsPrint(r): // includes U+FFFD, which range returns for invalid UTF-8
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	if utf8.RuneCountInString(b.String()) > limit { // the escapes made it longer
		return shorten(b.String(), limit)
	}
	return b.String()
}

// shorten cuts printable text to limit runes, of which the last three are dots.
func shorten(s string, limit int) string {
	runes := []rune(s)
	return string(runes[:min(len(runes), max(0, limit-3))]) + "..."
}

// Line returns s as one line of a report: the lines of s, each of them cleaned, with a semicolon
// between them. Errors of the SDK and joined errors have several lines.
func Line(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, strings.TrimSuffix(line, ";"))
		}
	}
	return Clean(strings.Join(lines, "; "), MaxLine)
}

// Limited returns the first MaxProblems texts of a list, and how many more there are.
func Limited(list []string) []string {
	if len(list) <= MaxProblems {
		return list
	}
	return append(list[:MaxProblems:MaxProblems], fmt.Sprintf("and %d more of this kind", len(list)-MaxProblems))
}

// Quote returns s for use inside a message: cleaned, shortened, between quotation marks.
func Quote(s string) string { return `"` + Clean(s, MaxQuoted) + `"` }

// Lines returns the lines of s, each of them cleaned. It drops empty lines.
func Lines(s string) []string {
	var lines []string
	for line := range strings.Lines(s) {
		line = strings.TrimRight(strings.ReplaceAll(line, "\t", "    "), "\r\n ")
		if line = Clean(line, MaxLine); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// NewWriter returns a writer that cleans log entries, one for each Write, and passes them to w.
// Log entries contain the words of AWS, of other programs and of EMR's files.
func NewWriter(w io.Writer) io.Writer { return writer{w} }

type writer struct{ w io.Writer }

func (c writer) Write(p []byte) (int, error) {
	line := Clean(strings.TrimSuffix(string(p), "\n"), maxEntry) + "\n"
	if _, err := io.WriteString(c.w, line); err != nil {
		return 0, err
	}
	return len(p), nil
}

// JSONError returns a JSON error without the foreign text that it may quote at length.
func JSONError(err error) error { return errors.New(Clean(err.Error(), MaxQuoted*2)) }

// Count returns a number with its noun: "1 address", "2 addresses".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Limit returns the first MaxProblems problems. It adds how many more there are.
func Limit(problems []error) []error {
	if len(problems) <= MaxProblems {
		return problems
	}
	more := len(problems) - MaxProblems
	return append(problems[:MaxProblems:MaxProblems], fmt.Errorf("and %s of this kind", Count(more, "more problem", "more problems")))
}
