package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A screen shows the progress of a rehearsal: one line for each node that changes in place, or a
// log. Its methods may be used concurrently.
type screen struct {
	out     io.Writer
	start   time.Time
	live    bool // lines change in place
	colour  bool
	verbose bool
	width   int
	height  int

	mu      sync.Mutex
	phase   string
	nodes   []string
	last    map[string]string // last line of each node
	painted int               // lines on the terminal that change in place
	at      time.Time         // when they were painted
	failed  error             // of the first write that failed
}

// newScreen returns the screen for a file. Lines change in place if it is a terminal and log is not
// set.
func newScreen(f *os.File, log, verbose bool, start time.Time) *screen {
	s := &screen{out: f, start: start, verbose: verbose, width: 80, height: 24, last: map[string]string{}}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return s
	}
	if size.Col > 0 && size.Row > 0 {
		s.width, s.height = int(size.Col), int(size.Row)
	}
	term := os.Getenv("TERM")
	plain := term == "" || term == "dumb"
	s.live = !log && !verbose && !plain
	s.colour = os.Getenv("NO_COLOR") == "" && !plain
	return s
}

// Colours of the terminal, as SGR parameters.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
	faint  = "2"
)

// paint gives a text a colour where the terminal has colours.
func (s *screen) paint(colour, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// printf prints below what there is. The lines that change in place are removed first.
func (s *screen) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.write(fmt.Sprintf(format, args...))
}

func (s *screen) write(text string) {
	if _, err := io.WriteString(s.out, text); err != nil && s.failed == nil {
		s.failed = fmt.Errorf("writing the output: %w", err)
	}
}

// err returns the error of the first write that failed.
func (s *screen) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// settle ends the lines that change in place: what follows is a log.
func (s *screen) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.live = false
}

// begin begins a phase of the rehearsal.
func (s *screen) begin(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase = text
	if !s.live {
		s.log("", text)
		return
	}
	s.repaint(true)
}

// join adds a node.
func (s *screen) join(node, text string) {
	s.mu.Lock()
	s.nodes = append(s.nodes, node)
	s.mu.Unlock()
	s.say(node, text)
}

// say shows a line of a node, or of the rehearsal itself if node is empty.
func (s *screen) say(node, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.live {
		s.log(node, text)
		return
	}
	if node == "" {
		s.phase = text
	} else {
		s.last[node] = text
	}
	s.repaint(false)
}

// problem shows a problem when it is found.
func (s *screen) problem(node, text string) {
	text, _, _ = strings.Cut(text, "\n")
	s.say(node, s.paint(red, "PROBLEM: "+text))
}

// log prints a line of the log.
func (s *screen) log(node, text string) {
	s.write(fmt.Sprintf("%7.2fs  %-9s %s\n", time.Since(s.start).Seconds(), node, text))
}

// paintEvery is the shortest time between two paintings.
const paintEvery = 60 * time.Millisecond

// repaint paints the lines that change in place, at once or if the last time is long enough ago.
func (s *screen) repaint(now bool) {
	if !now && time.Since(s.at) < paintEvery {
		return
	}
	lines := s.lines()
	s.clear()
	s.write(strings.Join(lines, "\n") + "\n")
	s.painted, s.at = len(lines), time.Now()
}

// clear removes the lines that change in place.
func (s *screen) clear() {
	if s.painted > 0 {
		s.write(fmt.Sprintf("\x1b[%dA\x1b[J", s.painted))
		s.painted = 0
	}
}

// lines returns the phase and a line for each node; only the phase and how many nodes do the same
// thing if the terminal is too low for all.
func (s *screen) lines() []string {
	lines := []string{s.paint(bold, s.fit(fmt.Sprintf("%6.1fs  %s", time.Since(s.start).Seconds(), s.phase), 0))}
	if len(s.nodes)+2 <= s.height {
		for _, n := range s.nodes {
			lines = append(lines, fmt.Sprintf("  %-9s ", n)+s.fit(s.last[n], 12))
		}
		return lines
	}
	count := map[string]int{}
	for _, n := range s.nodes {
		first, _, _ := strings.Cut(strings.TrimSpace(escape.ReplaceAllString(s.last[n], "")), " ")
		count[strings.TrimRight(first, ":")]++
	}
	var groups []string
	for word := range count {
		groups = append(groups, word)
	}
	slices.Sort(groups)
	for _, word := range groups[:min(len(groups), s.height-3)] {
		lines = append(lines, fmt.Sprintf("  %5d nodes: %s", count[word], word))
	}
	return lines
}

// escape matches a colour.
var escape = regexp.MustCompile("\x1b\\[[0-9;]*m")

// fit shortens a line to the terminal's width less used columns. A line that is too long loses its
// colour.
func (s *screen) fit(text string, used int) string {
	plain := []rune(escape.ReplaceAllString(text, ""))
	if room := s.width - used - 1; len(plain) > room {
		return string(plain[:max(0, room-1)]) + "…"
	}
	return text
}

// logTime matches the prefix of the agent's log lines, logFields the JSON object at their end.
var (
	logTime   = regexp.MustCompile(`^\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d{4})\s+(INFO\s+)?`)
	logFields = regexp.MustCompile(` \{".*\}$`)
)

// lineWidth is the length above which a line of the log is cut, in characters.
const lineWidth = 140

// brief returns a node's line without what the screen adds itself or has no room for: its time, its
// fields, and what is too long. A path of a node's file is said to be one.
func brief(text string) string {
	text = logFields.ReplaceAllString(logTime.ReplaceAllString(text, ""), "")
	if strings.HasPrefix(text, "installed /") {
		text += " (in the node's own files)"
	}
	if runes := []rune(text); len(runes) > lineWidth {
		text = string(runes[:lineWidth])
		if i := strings.LastIndexByte(text, ' '); i > lineWidth/2 {
			text = text[:i]
		}
		text += " ..."
	}
	return text
}
