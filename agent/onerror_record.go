package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/atomicfile"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// failureFile is the name inside the state directory. It is a file of its own, so that it is there where no run came as far as a state file,
// and where that one cannot be used.
const failureFile = "failed.json"

// failureVersion is the format of the file that this version writes, and the only one it reads.
const failureVersion = 1

// maxFailure bounds the file, in bytes.
const maxFailure = 64 << 10

// LastError is what is known of runs that failed under --on-error continue, until one succeeds.
type LastError struct {
	Version    int       `json:"version"`
	InstanceID string    `json:"instance,omitempty"` // empty where IMDS did not tell it
	Code       ExitCode  `json:"exit_code"`
	Meaning    string    `json:"meaning"`
	Error      string    `json:"error"`
	Remedies   []string  `json:"remedies,omitempty"`
	First      time.Time `json:"first"` // of the failed runs in a row
	Last       time.Time `json:"last"`  // when the last of them ended
	Count      int       `json:"count"`
	Tag        string    `json:"tag,omitempty"`          // the value of the instance's tag; written before the tag is set
	Tagged     bool      `json:"tagged,omitempty"`       // EC2 has confirmed it
	Retrying   bool      `json:"retrying"`               // a timer goes on trying
	List       string    `json:"list,omitempty"`         // listDigest of the addresses that the run named
	State      time.Time `json:"state_written,omitzero"` // when the state file was written that the run left: a release that comes later leaves another
	Over       bool      `json:"over,omitempty"`         // a later run has succeeded; only the tag is left
}

// follow makes e one more failure of the kind that last tells of; same: what is tried again stays as it is. It returns the value that the instance's
// tag is known to have, if any.
func (e *LastError) follow(last LastError, same bool) string {
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

// listDigest tells lists of addresses apart; empty where none was named.
func listDigest(p Pools) string {
	if p.Empty() {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%v", p))
	return hex.EncodeToString(sum[:8])
}

// readLastError is what the file in dir says. False: there is none. One that is damaged is there and says nothing: it is kept
// for nothing but the operator's eyes.
func readLastError(dir string) (LastError, bool, error) {
	p := filepath.Join(dir, failureFile)
	fail := func(err error) (LastError, bool, error) {
		return LastError{}, false, fmt.Errorf("reading %s: %w", p, err)
	}
	for _, part := range []struct {
		path string
		kind fs.FileMode
	}{{dir, fs.ModeDir}, {p, 0}} {
		if err := checkOwn(part.path, part.kind); errors.Is(err, fs.ErrNotExist) {
			return LastError{}, false, nil
		} else if err != nil {
			return fail(err)
		}
	}
	data, err := text.ReadFile(p, maxFailure)
	if err != nil {
		return fail(err)
	}
	return decodeLastError(data), true, nil
}

func decodeLastError(data []byte) LastError {
	var e LastError
	if err := json.Unmarshal(data, &e); err != nil || e.Version != failureVersion {
		return LastError{Error: "the record of the last error is damaged, or of another version"}
	}
	return e
}

// writeLastError replaces the file in dir.
func writeLastError(dir string, e LastError) error {
	p := filepath.Join(dir, failureFile)
	e.Version = failureVersion
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

func removeLastError(dir string) error {
	p := filepath.Join(dir, failureFile)
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", p, err)
	}
	return nil
}
