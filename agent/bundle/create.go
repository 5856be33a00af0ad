package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Create makes the file of a new bundle, for its owner alone. It never overwrites anything. If
// getenv shows that sudo started this process, the file is made as the user who called sudo: it
// belongs to that user, and is only made where that user may make files.
func Create(name string, getenv func(string) string) (*os.File, error) {
	var f *os.File
	err := as(getenv, func() (err error) {
		f, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, exit.Invalid(fmt.Errorf("%s exists", text.Quote(name)), "name a file that does not exist yet: nothing is overwritten")
	case errors.Is(err, fs.ErrNotExist):
		return nil, exit.Invalid(fmt.Errorf("%s cannot be made: there is no directory %s", text.Quote(name), text.Quote(filepath.Dir(name))), "make the directory, or name a file in another one")
	case err != nil:
		return nil, exit.Invalid(fmt.Errorf("%s cannot be made: %w", text.Quote(name), text.WithoutPath(err)), "name a file where you may make one")
	}
	return f, nil
}

// Remove removes a bundle that was not finished.
func Remove(name string, getenv func(string) string) error {
	return as(getenv, func() error { return os.Remove(name) })
}

// as calls do with the file permissions of the user who called sudo. Where that was nobody, it
// calls do.
func as(getenv func(string) string, do func() error) error {
	uid, errUser := strconv.Atoi(getenv("SUDO_UID"))
	gid, errGroup := strconv.Atoi(getenv("SUDO_GID"))
	if errUser != nil || errGroup != nil || uid <= 0 || os.Geteuid() != 0 {
		return do()
	}
	done := make(chan error, 1)
	go func() {
		// The permissions are those of this thread. It is not unlocked, so that it ends with the
		// goroutine, whatever happened to it.
		runtime.LockOSThread()
		_, errGroup := unix.SetfsgidRetGid(gid)
		_, errUser := unix.SetfsuidRetUid(uid)
		err := errors.Join(errGroup, errUser)
		if now, _ := unix.SetfsuidRetUid(-1); err == nil && now != uid {
			err = fmt.Errorf("becoming user %d for the file: the kernel refuses", uid)
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}
