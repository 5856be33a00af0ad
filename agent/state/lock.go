package state

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
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// lockFile is the name of the lock in the state directory. The file stays: if it were removed, two
// processes could lock two files.
const lockFile = "lock"

// lockPoll lies between two attempts to take the lock.
const lockPoll = 100 * time.Millisecond

// Lock makes sure that one agent at a time works on this node. It waits for another agent until ctx
// ends. The error then names that agent's process. The kernel releases the lock when a process
// dies, however it dies. unlock may be called more than once.
func Lock(ctx context.Context, dir string) (unlock func(), err error) {
	return LockWith(ctx, dir, host.NewProgress(zap.NewNop(), time.Now()))
}

// LockWith is Lock that reports to wait.
func LockWith(ctx context.Context, dir string, wait *host.Progress) (unlock func(), err error) {
	p := filepath.Join(dir, lockFile)
	err = ensureStateDir(dir)
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(p, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	}
	if Unwritable(err) || errors.Is(err, syscall.EISDIR) {
		f, err = lockless(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", p, text.WithoutPath(err))
	}
	done, err := pause.Poll(ctx, func() time.Duration { return lockPoll }, func() (done bool, err error) {
		err = flock(f)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			wait.Waiting(ctx, 0, "another emr-static-ip%s is running on this node", holder(f))
			return false, nil
		}
		return true, err
	})
	switch {
	case !done:
		waited := fmt.Errorf("waiting for another emr-static-ip%s that holds %s: %w", holder(f), p, err)
		f.Close()
		return nil, exit.With(exit.Deadline, waited, "let it finish, or end it; then run this again")
	case err != nil:
		return nil, errors.Join(fmt.Errorf("locking %s: %w", p, err), f.Close())
	}
	return func() {
		// Close alone is not enough. A child process has the open file too until it executes its
		// program, and would hold the lock for that moment.
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
		f.Close()
	}, nil
}

// lockless is called when the lock file cannot be created or written, or is a directory. It
// opens what is there for reading, or else the nearest directory that exists, and follows no link.
// The kernel can lock files and directories.
func lockless(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err == nil {
		return f, nil
	}
	return os.Open(existing(dir))
}

// flock takes the lock without waiting, and tries again if a signal interrupts it.
func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// maxLocks limits what is read of the kernel's list of locks, in bytes.
const maxLocks = 1 << 20

// holder returns " (process 1234)", or "" if the kernel does not say who holds the lock. A holder
// need not write its number into the file then, which the timer would do every minute.
func holder(f *os.File) string {
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	own, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	list, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer list.Close()
	data, err := io.ReadAll(io.LimitReader(list, maxLocks))
	if err != nil {
		return ""
	}
	return holderIn(string(data), own.Ino)
}

// holderIn returns what holder does, from the text of /proc/locks:
//
//	1: FLOCK  ADVISORY  WRITE 1234 08:01:131073 0 EOF
//
// The file systems of containers name another device than stat does, so the inode alone decides. A
// process of another namespace has the number 0, and locks of two files are none.
func holderIn(locks string, inode uint64) string {
	found := 0
	for line := range strings.Lines(locks) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || f[3] != "WRITE" || !strings.HasSuffix(f[5], ":"+strconv.FormatUint(inode, 10)) {
			continue
		}
		pid, err := strconv.Atoi(f[4])
		if err != nil || found != 0 {
			return ""
		}
		found = pid
	}
	if found <= 0 {
		return ""
	}
	return fmt.Sprintf(" (process %d)", found)
}
