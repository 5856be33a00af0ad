package record

import "strings"

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
		return last, strings.Join(todo, "\n")
	}
	return strings.Join(what, "\n"), strings.Join(todo, "\n")
}
