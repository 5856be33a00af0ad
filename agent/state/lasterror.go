package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/atomicfile"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// LastErrorFile is the name of the last error in the state directory. It is a file of its own: a
// run may fail before it writes a state file, or because the state file is damaged.
const LastErrorFile = "failed.json"

// LastErrorVersion is the format of the file that this version writes, and the only one that it
// reads.
const LastErrorVersion = 1

// maxFailure limits the file, in bytes.
const maxFailure = 64 << 10

// LastError is what is known of failed runs under --on-error continue, until a run succeeds.
type LastError struct {
	Version    int       `json:"version"`
	InstanceID string    `json:"instance,omitempty"` // empty if IMDS did not answer
	Code       exit.Code `json:"exit_code"`
	Meaning    string    `json:"meaning"`
	Error      string    `json:"error"`
	Remedies   []string  `json:"remedies"`
	First      time.Time `json:"first"` // of the failed runs in a row
	Last       time.Time `json:"last"`  // when the last of them ended
	Count      int       `json:"count"`
	// Tag is the value of the instance\'s tag. It is written before the tag is set.
	Tag      string `json:"tag,omitempty"`
	Tagged   bool   `json:"tagged,omitempty"` // EC2 has confirmed it
	Retrying bool   `json:"retrying"`         // a timer retries
	// List is a digest of the addresses that the run named.
	List string `json:"list,omitempty"`
	// State is when the state file was written that the run left. A later release writes another.
	State time.Time `json:"state_written,omitzero"`
	// Over is set if a later run has succeeded. Only the tag is left.
	Over bool `json:"over,omitempty"`
}

// Follow makes e one more failure after last. If same is set, the run that is retried stays the
// same. Follow returns the value that the instance's tag is known to have, or "".
func (e *LastError) Follow(last LastError, same bool) string {
	if e.InstanceID == "" {
		e.InstanceID = last.InstanceID
	}
	if e.Tag = last.Tag; !last.Over {
		e.First, e.Count = last.First, last.Count+1
	}
	if same {
		e.State, e.List = last.State, last.List
	}
	if last.Tagged {
		return last.Tag
	}
	return ""
}

// Headline returns what the last run failed with, when, and how often.
func (e LastError) Headline() string {
	text := fmt.Sprintf("exit code %d, %s, at %s", e.Code, e.Meaning, e.Last.UTC().Format(time.RFC3339))
	if e.Count > 1 {
		text += fmt.Sprintf(" (%d times since %s)", e.Count, e.First.UTC().Format(time.RFC3339))
	}
	return text
}

// ReadLastError reads the file in dir. It returns false if there is none. A damaged file gives a
// LastError that only says so.
func ReadLastError(dir string) (LastError, bool, error) {
	p := filepath.Join(dir, LastErrorFile)
	fail := func(err error) (LastError, bool, error) {
		return LastError{}, false, fmt.Errorf("reading %s: %w", p, err)
	}
	err := checkOwnDir(dir)
	if err == nil {
		err = checkOwn(p, 0)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return LastError{}, false, nil
	} else if err != nil {
		return fail(err)
	}
	data, err := text.ReadFile(p, maxFailure)
	if err != nil {
		return fail(err)
	}
	return DecodeLastError(data), true, nil
}

// DecodeLastError reads the content of the file.
func DecodeLastError(data []byte) LastError {
	var e LastError
	if err := json.Unmarshal(data, &e); err != nil || e.Version != LastErrorVersion {
		return LastError{Error: "the record of the last error is damaged, or of another version"}
	}
	return e
}

// WriteLastError replaces the file in dir.
func WriteLastError(dir string, e LastError) error {
	p := filepath.Join(dir, LastErrorFile)
	e.Version = LastErrorVersion
	if e.Remedies == nil {
		e.Remedies = []string{} // not null
	}
	data, err := json.MarshalIndent(e, "", "  ")
	if err == nil {
		err = ensureStateDir(dir)
	}
	if err == nil {
		err = atomicfile.Replace(p, bytes.NewReader(append(data, '\n')), 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", p, err)
	}
	return nil
}

// RemoveLastError removes the file in dir, if there is one.
func RemoveLastError(dir string) error {
	p := filepath.Join(dir, LastErrorFile)
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", p, err)
	}
	return nil
}
