package bundle

import (
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/internal/lazyregexp"
)

// settingWords are texts of which each match of setting has one.
var settingWords = []string{"pass", "pwd", "_pw", "-pw", "secret", "token", "credential", "key", "signature", "cookie"}

// redactSettings hides the values of secret settings in a line: password=VALUE, "password":
// "VALUE", password => VALUE, --password VALUE, x.password VALUE.
func redactSettings(line string) string {
	lower := lowered(line)
	if !slices.ContainsFunc(settingWords, func(s string) bool { return strings.Contains(lower, s) }) {
		return line
	}
	var b strings.Builder
	kept := 0 // line is copied up to here
	for _, at := range setting.FindAllStringIndex(lower, -1) {
		if at[0] < kept {
			continue // in a value
		}
		if begin, end := settingValue(line, at[0], at[1]); begin < end {
			b.WriteString(line[kept:begin] + hidden)
			kept = end
		}
	}
	return b.String() + line[kept:]
}

// settingValue returns where the value of a setting is whose name has a secret word at from, and
// ends at to. It returns an empty range if what follows the name is no value.
func settingValue(line string, from, to int) (begin, end int) {
	i := to
	for i < len(line) && line[i] == '\\' {
		i++
	}
	if i < len(line) && (line[i] == '"' || line[i] == '\'') {
		i++
	}
	next := skipBlanks(line, i)
	switch rest := line[next:]; {
	case strings.HasPrefix(rest, "=>"), strings.HasPrefix(rest, ":="):
		next += 2
	case strings.HasPrefix(rest, "="), strings.HasPrefix(rest, ":"):
		next++
	case len(escapedSign.FindStringSubmatch(rest)) > 0:
		next += len(escapedSign.FindStringSubmatch(rest)[0])
	case next == to || i != to || !takesBlank(line[:from]):
		return 0, 0
	}
	return valueIn(line, skipBlanks(line, next))
}

// escapedSign matches = and : as a URL within a URL has them.
var escapedSign = lazyregexp.New(`^(?i:` + escaped + `3[ad])`)

func skipBlanks(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
		i++
	}
	return i
}

// takesBlank reports whether a name that begins in before stands in front of its value without a
// sign between them: it is a flag, or has dots, as in Hadoop's and Spark's files.
func takesBlank(before string) bool {
	name := before[strings.LastIndexAny(before, " \t\"'=/,;:([{")+1:]
	return strings.HasPrefix(name, "-") || strings.Contains(name, ".")
}

// valueIn returns where the value is that begins at i: what is in quotation marks, escaped ones
// too, and otherwise a word. A value without its second quotation mark goes to the end of the line.
func valueIn(line string, i int) (begin, end int) {
	lineEnd := len(strings.TrimRight(line, "\r\n"))
	mark := i
	for mark < lineEnd && line[mark] == '\\' {
		mark++
	}
	if mark >= lineEnd || line[mark] != '"' && line[mark] != '\'' {
		for end = i; end < lineEnd && strings.IndexByte(" \t\"'", line[end]) < 0; end++ {
		}
		return i, end
	}
	escapes := mark - i // backslashes before the mark
	for j, run := mark+1, 0; j < lineEnd; j++ {
		switch {
		case line[j] == '\\':
			run++
			continue
		case line[j] == line[mark] && run <= escapes:
			return mark + 1, j - run
		}
		run = 0
	}
	return mark + 1, lineEnd
}
