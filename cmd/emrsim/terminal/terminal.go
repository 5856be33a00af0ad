// Package terminal makes pseudo-terminals, and puts a terminal into the mode in which every key
// goes to the program behind it.
package terminal

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Size is the size of a terminal in characters. The zero value means unknown.
type Size struct{ Rows, Columns uint16 }

// Open makes a pseudo-terminal. What is written to control can be read from the terminal, and the
// other way round.
func Open() (control, terminal *os.File, err error) {
	control, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a pseudo-terminal: %w", err)
	}
	n := 0
	err = ioctl(control, func(fd int) (err error) {
		if n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN); err != nil {
			return err
		}
		return unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	})
	if err == nil {
		terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		control.Close()
		return nil, nil, fmt.Errorf("making a pseudo-terminal: %w", err)
	}
	return control, terminal, nil
}

// ioctl calls the kernel about a file. File.Fd would make reads of the file ignore deadlines.
func ioctl(f *os.File, call func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = call(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// Bounds of the output that is still copied when the program of a terminal has ended.
const (
	quiet  = 200 * time.Millisecond
	atMost = 2 * time.Second
)

// Copy copies what is printed on a terminal, from its control side. finish is called when the
// program of the terminal has ended: it waits for the rest of the output. It does not wait for
// programs in the background, which may keep the terminal open much longer.
func Copy(to io.Writer, control *os.File) (finish func()) {
	var until atomic.Int64 // nanoseconds since 1970; 0: the program has not ended
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 32<<10)
		for {
			n, err := control.Read(buffer) // ends with EIO when the last program has closed the terminal
			if n > 0 {
				if _, failed := to.Write(buffer[:n]); failed != nil {
					return
				}
			}
			if err != nil {
				return
			}
			if last := until.Load(); last != 0 {
				deadline(control, time.Unix(0, last))
			}
		}
	}()
	return func() {
		last := time.Now().Add(atMost)
		until.Store(last.UnixNano())
		deadline(control, last)
		<-done
	}
}

// deadline ends a read of a terminal's control side when nothing was printed for a while, or at
// last.
func deadline(control *os.File, last time.Time) {
	if next := time.Now().Add(quiet); next.Before(last) {
		last = next
	}
	_ = control.SetReadDeadline(last) // fails only for a closed file, which ends the read as well
}

// Is reports whether a file is a terminal.
func Is(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// SizeOf returns the size of a terminal.
func SizeOf(f *os.File) Size {
	w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return Size{}
	}
	return Size{w.Row, w.Col}
}

// Resize sets the size of a pseudo-terminal. An unknown size changes nothing.
func Resize(f *os.File, s Size) error {
	if s == (Size{}) {
		return nil
	}
	return ioctl(f, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: s.Rows, Col: s.Columns})
	})
}

// Raw puts a terminal into raw mode: no echo, no lines, no signals from keys. restore undoes this.
func Raw(f *os.File) (restore func(), err error) {
	fd := int(f.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("reading the terminal's mode: %w", err)
	}
	raw := *before
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("setting the terminal's mode: %w", err)
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, before) }, nil // the terminal may be gone
}
