package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/atomicfile"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// absentChecks is in how many checks in a row IMDS must not have listed the static IP before it is taken out of use, and absentApart how
// far apart checks must be to count each: IMDS lags up to 30 s behind EC2, and several checks by hand are one.
const (
	absentChecks = 5
	absentApart  = 30 * time.Second
)

// absenceFile is the name inside the state directory.
const absenceFile = "absent.json"

// absence counts the checks in a row in which IMDS, answering properly, has not listed the static IP. It is about one boot: before another one the
// kernel has lost the address anyway.
type absence struct {
	InstanceID string     `json:"instance"`
	Static     netip.Addr `json:"static"`
	Boot       string     `json:"boot"`
	Count      int        `json:"count"`
	Since      time.Time  `json:"since"` // of the first of them
	Last       time.Time  `json:"last"`  // of the last one that counted
}

// countAbsence counts one more check, unless the last one is too near. Call it with the Lock of dir held.
func countAbsence(env Environment, dir, instanceID string, static netip.Addr, now time.Time) (absence, error) {
	p := filepath.Join(dir, absenceFile)
	fresh := absence{InstanceID: instanceID, Static: static, Boot: bootID(env), Count: 1, Since: now.UTC(), Last: now.UTC()}
	a, err := readAbsence(p)
	if err != nil {
		return a, err
	}
	switch since := now.Sub(a.Last); {
	case a.Count <= 0 || a.InstanceID != fresh.InstanceID || a.Static != fresh.Static || a.Boot != fresh.Boot:
		a = fresh
	case since < 0: // the clock was set back: from here on it counts again
		a.Last = fresh.Last
	case since < absentApart:
		return a, nil
	default:
		a.Count, a.Last = a.Count+1, fresh.Last
	}
	data, err := json.Marshal(a)
	if err != nil {
		return a, fmt.Errorf("writing %s: %w", p, err)
	}
	if err := atomicfile.Replace(p, bytes.NewReader(append(data, '\n')), 0o600); err != nil {
		return a, fmt.Errorf("writing %s: %w", p, err)
	}
	return a, nil
}

// readAbsence is what the file says; nothing where it is missing or damaged: then the count begins anew, and an address stays a few minutes longer.
func readAbsence(p string) (absence, error) {
	if err := checkOwn(p, 0); errors.Is(err, fs.ErrNotExist) {
		return absence{}, nil
	} else if err != nil {
		return absence{}, err
	}
	data, err := text.ReadFile(p, maxMetadata)
	if err != nil {
		return absence{}, fmt.Errorf("reading %s: %w", p, err)
	}
	var a absence
	if json.Unmarshal(data, &a) != nil {
		return absence{}, nil
	}
	return a, nil
}

// forgetAbsence ends the count.
func forgetAbsence(dir string) error {
	if err := os.Remove(filepath.Join(dir, absenceFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting that IMDS did not list the address: %w", err)
	}
	return nil
}

// bootID is different after every boot; empty where the kernel does not tell.
func bootID(env Environment) string {
	data, err := text.ReadFile(env.Path("/proc/sys/kernel/random/boot_id"), maxMetadata)
	if err != nil {
		return ""
	}
	return text.Clean(strings.TrimSpace(string(data)), text.MaxQuoted)
}
