package agent

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

func TestErrorTag(t *testing.T) {
	e := LastError{Code: 4, Meaning: "x", Error: `a\nb` + "\x1b[2J \u202e\"q\" " + strings.Repeat("y", 1000), First: time.Unix(0, 0)}
	got := errorTag(e)
	if len(got) != maxTag {
		t.Errorf("%d characters: %q", len(got), got)
	}
	golden.Is(t, "error-tag.txt", got+"\n")
}

// FuzzLastError: whatever the file says, it can be shown, and what is valid reads back the same.
func FuzzLastError(f *testing.F) {
	f.Add([]byte(`{"version":1,"exit_code":4,"error":"x","count":1}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"remedies":["\u001b[2J"],"first":"0000-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e := state.DecodeLastError(data)
		var out bytes.Buffer
		s := Status{LastError: &e}
		if err := s.Render(&out, "text"); err != nil || strings.ContainsAny(out.String(), "\x1b\r\t") {
			t.Fatalf("%v, %q", err, &out)
		}
		if len(errorTag(e)) > maxTag {
			t.Fatalf("%q", errorTag(e))
		}
		encoded, err := json.Marshal(e)
		if err != nil {
			return // a time that JSON cannot hold
		}
		if again := state.DecodeLastError(encoded); e.Version == state.LastErrorVersion && again.Error != e.Error {
			t.Fatalf("%+v, %+v", e, again)
		}
	})
}
