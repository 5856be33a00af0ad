package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestLogger(t *testing.T) {
	log := func(format string, verbose bool) string {
		var b bytes.Buffer
		l := NewLogger(&b, format, verbose)
		l.Debug("details")
		l.Info("assigned \x1b[2J\u009b1m", zap.String("address", "10.0.1.11\n\u202e"), zap.Duration("after", 1500*time.Millisecond), zap.Error(errors.New("x\x7fy")))
		return b.String()
	}
	console := log("console", false)
	stamp, rest, _ := strings.Cut(console, " ")
	if at, err := time.Parse("2006-01-02T15:04:05.000Z", stamp); err != nil || time.Since(at) > time.Minute {
		t.Errorf("time %q: %v", stamp, err)
	}
	if want := `INFO assigned \u001b[2J\u009b1m {"address": "10.0.1.11\n\u202e", "after": "1.5s", "error": "x\u007fy"}` + "\n"; rest != want {
		t.Errorf("got  %q\nwant %q", rest, want)
	}
	lines := strings.Split(strings.TrimSuffix(log("json", true), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("%q", lines)
	}
	var entry map[string]string
	if err := json.Unmarshal([]byte(lines[1]), &entry); err != nil {
		t.Fatalf("%s: %v", lines[1], err)
	}
	for name, want := range map[string]string{"level": "info", "message": "assigned \x1b[2J\u009b1m", "address": "10.0.1.11\n\u202e", "after": "1.5s", "error": "x\x7fy"} {
		if entry[name] != want {
			t.Errorf("%s: %q, want %q", name, entry[name], want)
		}
	}
	if strings.ContainsAny(lines[1], "\x7f\x1b\u009b\u202e") {
		t.Errorf("a terminal would obey %q", lines[1])
	}
}

// An error of several lines is one line for people, and what it is for programs.
func TestLoggerLines(t *testing.T) {
	for format, want := range map[string]string{"console": "WARN skipped: one; two", "json": `"skipped: one\ntwo"`} {
		var b bytes.Buffer
		NewLogger(&b, format, false).Warn("skipped: " + errors.Join(errors.New("one"), errors.New("two")).Error())
		if got := strings.TrimSpace(b.String()); !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", format, got, want)
		}
	}
}

// TestLoggerFields checks that programs get every field, and people none that the message repeats.
func TestLoggerFields(t *testing.T) {
	for format, want := range map[string]string{
		"console": `INFO assigned 10.0.1.11 {"instance": "i-1"}`,
		"json":    `"message":"assigned 10.0.1.11","step":"assigned","address":"10.0.1.11","instance":"i-1"}`,
	} {
		var b bytes.Buffer
		NewLogger(&b, format, false).Info("assigned 10.0.1.11", zap.String("step", "assigned"),
			zap.Stringer("address", netip.MustParseAddr("10.0.1.11")), zap.String("instance", "i-1"))
		if got := strings.TrimSpace(b.String()); !strings.HasSuffix(got, want) {
			t.Errorf("%s: got %s, want it to end with %s", format, got, want)
		}
	}
}
