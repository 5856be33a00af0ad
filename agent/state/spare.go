package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// SaveSpare writes s below /run, where it lasts until the next boot. It serves if the state
// directory dir cannot be written. The next run must know which address to withdraw. A later Save
// removes it.
func SaveSpare(root, dir string, s State) error { return Save(spareDir(root, dir), s) }

// LoadLatest is Load, of what SaveSpare wrote if that is there.
func LoadLatest(root, dir, instanceID string) (State, bool, error) {
	if s, ok, err := Load(spareDir(root, dir), instanceID); ok && err == nil {
		return s, true, nil
	}
	return Load(dir, instanceID)
}

// DropSpare removes what SaveSpare wrote, if there is anything.
func DropSpare(root, dir string) error {
	p := filepath.Join(spareDir(root, dir), File)
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a former state: %w", err)
	}
	return nil
}

// Damaged reports whether err, of Load, means that the state file cannot be parsed. PutAside is for
// such a file. A file that somebody else could have written is not damaged: the operator has to
// look at it.
func Damaged(err error) bool { return errors.Is(err, ErrCorrupt) }

// PutAside renames the state file in dir and returns its new path. The next run finds no state
// file.
func PutAside(dir string, now time.Time) (string, error) {
	p := filepath.Join(dir, File)
	aside := p + damagedMark + now.UTC().Format("20060102T150405Z")
	if err := os.Rename(p, aside); err != nil {
		return "", fmt.Errorf("putting state file %s aside: %w", p, err)
	}
	return aside, nil
}

// maxPending is the longest time for which a run leaves its record to the timer. It is enough for
// 4096 nodes that write one record in 5 seconds.
const maxPending = 6 * time.Hour

// RecordWait returns how long it is until the record is to be written. It is not positive if the
// record is due. A clock that was wrong when the state was written, or is now, does not put the
// record off for good: such a record is due.
func (s State) RecordWait(now time.Time) time.Duration {
	wait := s.RecordDue.Sub(now)
	if s.Written.After(now) || wait > maxPending {
		return 0
	}
	return wait
}
