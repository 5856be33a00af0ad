package agent

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of foreign text (arguments, files, tags, answers of AWS, output of programs) in what is printed, in runes.
const (
	maxQuoted = 80   // one argument, one value
	maxLine   = 4000 // one line of an error, a log or a report
)

// clean makes foreign text fit to be printed on a terminal or put into a log: at most limit runes, and whatever a terminal
// could take for a command (control characters, C1 controls, direction marks, invalid UTF-8) shown as an escape. The escapes are
// JSON's, so that cleaned JSON is still JSON. Cleaning twice is the same as cleaning once.
func clean(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > limit {
			return shorten(b.String(), limit)
		}
		switch {
		case unicode.IsPrint(r): // includes U+FFFD, which stands for invalid UTF-8
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
	if utf8.RuneCountInString(b.String()) > limit { // by its escapes
		return shorten(b.String(), limit)
	}
	return b.String()
}

// shorten cuts printable text to limit runes, of which the last three are dots.
func shorten(s string, limit int) string {
	runes := []rune(s)
	return string(runes[:min(len(runes), max(0, limit-3))]) + "..."
}

// quoted is foreign text as it appears inside a message: cleaned, shortened, between quotation marks.
func quoted(s string) string { return `"` + clean(s, maxQuoted) + `"` }

// cleanLines is foreign or own text of several lines, each of them cleaned. Empty lines are dropped.
func cleanLines(s string) []string {
	var lines []string
	for line := range strings.Lines(s) {
		line = clean(strings.TrimRight(strings.ReplaceAll(line, "\t", "    "), "\r\n "), maxLine)
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
