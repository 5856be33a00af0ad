package lab

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"unicode"
)

// longestLine is the maximum length of a line of progress, in bytes.
const longestLine = 2000

// A lineWriter keeps the output of a program and reports each line.
type lineWriter struct {
	emit  func(line string)
	quiet bool // do not report lines

	mu      sync.Mutex
	all     bytes.Buffer
	partial []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all.Write(p)
	if w.quiet {
		return len(p), nil
	}
	w.partial = append(w.partial, p...)
	for {
		end := bytes.IndexByte(w.partial, '\n')
		if end < 0 {
			return len(p), nil
		}
		w.emit(string(w.partial[:end]))
		w.partial = w.partial[end+1:]
	}
}

// flush reports a last line that has no newline.
func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.partial) > 0 {
		w.emit(string(w.partial))
		w.partial = nil
	}
}

// printable makes a foreign text safe to print as one line: no control characters, and not too
// long.
func printable(text string) string {
	if len(text) > longestLine {
		text = text[:longestLine] + "..."
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r):
			return '?'
		default:
			return r
		}
	}, strings.ToValidUTF8(text, "?"))
}

// Count returns a number with its noun: 1 node, 2 nodes.
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
