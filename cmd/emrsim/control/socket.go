package control

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The socket has a name in the abstract namespace of Unix sockets and not in the file system: the
// kernel removes it with the process, however that ends. Everybody can connect to such a name, so
// both sides ask the kernel for the other's user.

// socketVariable passes the listener to the isolated process: the number of a descriptor.
const socketVariable = "EMRSIM_CONTROL_FD"

func socketName(pid int) string { return fmt.Sprintf("@emrsim-%d-%d", os.Geteuid(), pid) }

// Open opens the socket of this process's rehearsal, before lab.Isolate starts the process that
// serves it. That process inherits the socket.
func Open() error {
	if os.Getenv(socketVariable) != "" {
		return nil // this is the isolated process
	}
	l, err := net.Listen("unix", socketName(os.Getpid()))
	if err != nil {
		return fmt.Errorf("opening the socket for other terminals: %w", err)
	}
	// The copy has no close-on-exec flag once it is cleared, and stays open until this process
	// ends.
	f, err := l.(*net.UnixListener).File()
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETFD, 0)
	}
	if err == nil {
		err = os.Setenv(socketVariable, strconv.Itoa(int(f.Fd())))
	}
	kept = append(kept, f)
	return errors.Join(err, l.Close())
}

// kept keeps the garbage collector from closing the descriptor.
var kept []*os.File

// listener returns the inherited socket.
func listener() (*net.UnixListener, error) {
	fd, err := strconv.Atoi(os.Getenv(socketVariable))
	if err != nil {
		return nil, errors.New("serving other terminals: no socket was inherited")
	}
	f := os.NewFile(uintptr(fd), "control")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("serving other terminals: %w", err)
	}
	unix.CloseOnExec(fd)
	return l.(*net.UnixListener), nil
}

// A ChoiceError means that there is no rehearsal to talk to, or that it must be chosen by its
// process id.
type ChoiceError struct{ error }

func (e ChoiceError) Unwrap() error { return e.error }

var socketLine = regexp.MustCompile(`(?m) @emrsim-(\d+)-(\d+)$`)

// running returns the process ids of this user's rehearsals.
func running() (pids []int, err error) {
	text, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil, fmt.Errorf("looking for rehearsals: %w", err)
	}
	seen := map[int]bool{}
	for _, m := range socketLine.FindAllStringSubmatch(string(text), -1) {
		pid, err := strconv.Atoi(m[2])
		if err == nil && m[1] == strconv.Itoa(os.Geteuid()) && !seen[pid] {
			seen[pid] = true
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// dial connects to a rehearsal: to that with the process id, or for 0 to the only one.
func dial(pid int) (*net.UnixConn, error) {
	if pid == 0 {
		pids, err := running()
		switch {
		case err != nil:
			return nil, err
		case len(pids) == 0:
			return nil, ChoiceError{errors.New("no rehearsal of yours is running: emrsim launch --keep -- MASTER_IP CORE_IP")}
		case len(pids) > 1:
			return nil, ChoiceError{fmt.Errorf("%d rehearsals are running: choose one of them by --pid: %s", len(pids), strings.Trim(fmt.Sprint(pids), "[]"))}
		}
		pid = pids[0]
	}
	c, err := net.Dial("unix", socketName(pid))
	if err != nil {
		return nil, ChoiceError{fmt.Errorf("there is no rehearsal of yours with process id %d: %w", pid, err)}
	}
	conn := c.(*net.UnixConn)
	if uid, err := peer(conn); err != nil || uid != os.Geteuid() {
		conn.Close()
		return nil, fmt.Errorf("the rehearsal with process id %d is of user %d, not yours: %w", pid, uid, errors.Join(err, os.ErrPermission))
	}
	return conn, nil
}

// peer returns the user of the other side.
func peer(c *net.UnixConn) (uid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return -1, err
	}
	if failed != nil {
		return -1, failed
	}
	return int(cred.Uid), nil
}
