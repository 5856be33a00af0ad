package text

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ErrTooLong is in the error of a file that is longer than its limit.
var ErrTooLong = errors.New("it is longer than")

// ReadFile reads a regular file of at most limit bytes. It does not wait for the other end of a
// named pipe. An error does not contain the path, which the caller names as the node knows it.
func ReadFile(p string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, WithoutPath(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, WithoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is not a regular file (%s)", info.Mode().Type())
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, WithoutPath(err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w %d bytes", ErrTooLong, limit)
	}
	return data, nil
}

// WithoutPath returns a file error without its path.
func WithoutPath(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
