package state

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

const (
	// AbsentChecks is the number of checks in a row without the static IP after which a restore
	// withdraws it.
	AbsentChecks = 5
	// absentApart is the shortest time between two checks that count. IMDS lags up to 30 s behind
	// EC2, and somebody may run several checks by hand.
	absentApart = 30 * time.Second
)

// maxAbsence limits the file, in bytes.
const maxAbsence = 64 << 10

// AbsenceFile is the name of the count in the state directory.
const AbsenceFile = "absent.json"

// Absence counts the checks in a row in which IMDS answered properly and did not list the static
// IP. It holds for one boot, since the kernel loses the address with a reboot.
type Absence struct {
	InstanceID string     `json:"instance"`
	Static     netip.Addr `json:"static"`
	Boot       string     `json:"boot"`
	Count      int        `json:"count"`
	Since      time.Time  `json:"since"` // of the first of them
	Last       time.Time  `json:"last"`  // of the last one that counted
}

// CountAbsence counts one more check, unless the last one is too near. root is the directory that
// has the node's files. The caller holds the Lock of dir. Where dir cannot be written, the count is
// kept in memory, like the state.
func CountAbsence(root, dir, instanceID string, static netip.Addr, now time.Time) (Absence, error) {
	fresh := Absence{InstanceID: instanceID, Static: static, Boot: bootID(root), Count: 1, Since: now.UTC(), Last: now.UTC()}
	spare := spareDir(root, dir)
	a, err := readAbsence(filepath.Join(spare, AbsenceFile))
	if err != nil || a.Count < 0 {
		a, err = readAbsence(filepath.Join(dir, AbsenceFile))
	}
	if err != nil {
		a = Absence{} // the count starts anew, and the address stays some minutes longer
	}
	switch since := now.Sub(a.Last); {
	case a.Count <= 0 || a.InstanceID != fresh.InstanceID || a.Static != fresh.Static || a.Boot != fresh.Boot:
		a = fresh
	case since < 0: // the clock was set back: count from here
		a.Last = fresh.Last
	case since < absentApart:
		return a, nil
	default:
		a.Count, a.Last = a.Count+1, fresh.Last
	}
	err = writeAbsence(dir, a)
	if err == nil {
		return a, removeAbsence(spare)
	}
	if ensureStateDir(spare) == nil && writeAbsence(spare, a) == nil {
		return a, nil
	}
	return a, err
}

func writeAbsence(dir string, a Absence) error {
	p := filepath.Join(dir, AbsenceFile)
	data, err := json.Marshal(a)
	if err == nil {
		err = atomicfile.Replace(p, bytes.NewReader(append(data, '\n')), 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", p, err)
	}
	return nil
}

// noCount is the count of a file that is missing.
const noCount = -1

// readAbsence reads the count. The count is noCount if the file is missing, and zero if the file is
// damaged.
func readAbsence(p string) (Absence, error) {
	if err := checkOwn(p, 0); errors.Is(err, fs.ErrNotExist) {
		return Absence{Count: noCount}, nil
	} else if err != nil {
		return Absence{}, err
	}
	data, err := text.ReadFile(p, maxAbsence)
	if err != nil {
		return Absence{}, fmt.Errorf("reading %s: %w", p, err)
	}
	var a Absence
	if json.Unmarshal(data, &a) != nil {
		return Absence{}, nil
	}
	return a, nil
}

// ForgetAbsence ends the count.
func ForgetAbsence(root, dir string) error {
	spare := spareDir(root, dir)
	err := removeAbsence(dir)
	if err == nil {
		return removeAbsence(spare)
	}
	if ensureStateDir(spare) == nil && writeAbsence(spare, Absence{}) == nil {
		return nil
	}
	return fmt.Errorf("forgetting that IMDS did not list the address: %w", err)
}

func removeAbsence(dir string) error {
	if err := os.Remove(filepath.Join(dir, AbsenceFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// bootID returns a text that is different after every boot, or "" if the kernel has none.
func bootID(root string) string {
	data, err := text.ReadFile(filepath.Join(root, "/proc/sys/kernel/random/boot_id"), maxAbsence)
	if err != nil {
		return ""
	}
	return text.Clean(strings.TrimSpace(string(data)), text.MaxQuoted)
}
