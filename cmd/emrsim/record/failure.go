package record

import (
	"regexp"
	"strings"
)

// Failure returns the cause and the remedy that emr-static-ip names on its standard error when it
// fails. Of a log without them, or of another program, the cause is the last line.
func Failure(log string) (cause, remedy string) {
	var what, todo []string
	last := "it said nothing"
	part := ""
	for line := range strings.Lines(log) {
		line = strings.TrimRight(line, "\r\n ")
		text := strings.TrimSpace(line)
		switch {
		case text == "":
			continue
		case text == line: // a heading, or a line of the log
			part = text
		case part == "what failed":
			what = append(what, text)
		case part == "what to do":
			todo = append(todo, text)
		}
		last = text
	}
	if len(what) == 0 {
		what = []string{last}
	}
	return noise.ReplaceAllString(strings.Join(what, "\n"), ""), strings.Join(todo, "\n")
}

// noise matches what only AWS's support can use.
var noise = regexp.MustCompile(`, https response error StatusCode: \d+, RequestID: [0-9A-Fa-f-]*|\.? Encoded authorization failure message: \S+`)

// particular matches what differs from node to node in texts that say the same: identifiers,
// addresses, ports and times.
var particular = regexp.MustCompile(`\b(i|eni|subnet|j)-[0-9A-Za-z]+\b|\b\d+\.\d+\.\d+\.\d+(:\d+)?\b|\b[0-9.]+m?s\b`)

// alike reports whether two texts say the same about different nodes.
func alike(a, b string) bool {
	return a == b || particular.ReplaceAllString(a, "") == particular.ReplaceAllString(b, "")
}
