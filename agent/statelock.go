package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// lockFile is the name inside the state directory. The file stays: removing it would let two processes lock two files.
const lockFile = "lock"

// lockPoll is how often a lock that is held is tried again.
const lockPoll = 100 * time.Millisecond

// Lock makes sure that one agent at a time works on this node. It waits for another one until ctx ends; the error then names that
// one's process. The kernel gives the lock back when a process dies, however it dies. unlock may be called more than once.
func Lock(ctx context.Context, dir string) (unlock func(), err error) {
	return lockTelling(ctx, dir, host.NewProgress(zap.NewNop(), time.Now()))
}

// lockTelling is Lock that tells whom it waits for.
func lockTelling(ctx context.Context, dir string, wait *host.Progress) (unlock func(), err error) {
	p := filepath.Join(dir, lockFile)
	if err := ensureStateDir(dir); err != nil {
		return nil, fmt.Errorf("locking %s: %w", p, err)
	}
	f, err := os.OpenFile(p, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", p, text.WithoutPath(err))
	}
	done, err := host.Poll(ctx, func() time.Duration { return lockPoll }, func() (done bool, err error) {
		err = flock(f)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			wait.Waiting(ctx, 0, "another emr-static-ip%s is at work on this node", holder(f))
			return false, nil
		}
		return true, err
	})
	switch {
	case !done:
		waited := fmt.Errorf("waiting for another emr-static-ip%s that holds %s: %w", holder(f), p, err)
		f.Close()
		return nil, exit.With(ExitDeadline, waited, "let it finish, or end it; then run this again")
	case err != nil:
		return nil, errors.Join(fmt.Errorf("locking %s: %w", p, err), f.Close())
	}
	// For the message of one that waits; the lock itself does not depend on it.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return func() { f.Close() }, nil
}

// flock takes the lock without waiting, also when a signal comes in between.
func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// holder is " (process 1234)", or nothing where the file does not tell it.
func holder(f *os.File) string {
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if err != nil {
		return ""
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && pid > 0 {
		return fmt.Sprintf(" (process %d)", pid)
	}
	return ""
}
