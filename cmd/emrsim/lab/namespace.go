package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A namespace is a network namespace together with a mount namespace. Neither has a name in the
// file system. They exist as long as this process has the two descriptors open or a process runs in
// them, so that nothing of them survives a kill.
type namespace struct {
	name string // for messages
	net  *os.File
	mnt  *os.File
}

// newNamespace makes a namespace that has only the loopback link, and an empty, private /run, where
// iptables keeps its lock. If prepare is not nil, it runs inside before anything else and may
// replace the root of the file system.
func newNamespace(ctx context.Context, name string, prepare func() error) (*namespace, error) {
	n := &namespace{name: name}
	err := onThread(func() error {
		// CLONE_NEWNS also gives the thread its own root and working directory.
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("leaving the namespaces of the process: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("making mounts private: %w", err)
		}
		var err error
		if n.net, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return fmt.Errorf("opening the network namespace: %w", err)
		}
		if n.mnt, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
			return fmt.Errorf("opening the mount namespace: %w", err)
		}
		if prepare != nil {
			return prepare()
		}
		if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
			return fmt.Errorf("mounting an empty /run: %w", err)
		}
		return nil
	})
	if err == nil {
		err = n.ip(ctx, "link set lo up")
	}
	if err != nil {
		n.close()
		return nil, fmt.Errorf("making namespace %s: %w", name, err)
	}
	return n, nil
}

// close gives up the namespace. The kernel removes the namespace with its links, rules and mounts
// when the last process in it has ended.
func (n *namespace) close() {
	if n.net != nil {
		n.net.Close()
	}
	if n.mnt != nil {
		n.mnt.Close()
	}
}

// do calls f on a thread inside the namespace. Sockets and processes that f makes belong to the
// namespace. Goroutines that f starts do not.
func (n *namespace) do(f func() error) error {
	return onThread(func() error {
		// A thread that shares its root and working directory cannot change its mount namespace.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("entering namespace %s: %w", n.name, err)
		}
		if err := unix.Setns(int(n.net.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering network namespace %s: %w", n.name, err)
		}
		if err := unix.Setns(int(n.mnt.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("entering mount namespace %s: %w", n.name, err)
		}
		return f()
	})
}

// doNetwork is do with the machine's own files: only the network is the namespace's.
func (n *namespace) doNetwork(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.net.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering network namespace %s: %w", n.name, err)
		}
		return f()
	})
}

// onThread calls f on a thread that ends afterwards. Nothing else sees the changes that f makes to
// the thread's namespaces.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread is never unlocked. The runtime ends a thread whose goroutine ends while locked
		// to it.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end. While it is held here, the next goroutine gets another
			// thread.
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}

// A command is a program to run in a namespace.
type command struct {
	path  string
	args  []string
	stdin string
	files []*os.File // descriptors 3, 4, ...
	// machine runs the program with the machine's files instead of the namespace's.
	machine bool
}

// output runs a program of the machine inside the namespace and returns its stdout. The error
// contains its stderr.
func (n *namespace) output(ctx context.Context, c command) ([]byte, error) {
	path, err := program(c.path)
	if err != nil {
		return nil, err
	}
	var stdout, stderr bytes.Buffer
	enter := n.do
	if c.machine {
		enter = n.doNetwork
	}
	err = enter(func() error {
		cmd := exec.CommandContext(ctx, path, c.args...)
		cmd.Stdin = strings.NewReader(c.stdin)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		cmd.ExtraFiles = c.files
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		cmd.WaitDelay = 10 * time.Second // time for a busy machine to pass on the output of a program that has ended
		return cmd.Run()
	})
	if err != nil {
		return stdout.Bytes(), fmt.Errorf("running %s in namespace %s: %w: %s", strings.Join(append([]string{c.path}, c.args...), " "), n.name, err,
			strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// program returns the path of a program of the machine. It also searches the directories for
// administrators, which a user's PATH often lacks.
func program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("finding program %s: not installed here (Debian: apt-get install iproute2 iptables)", name)
}

// listen opens a TCP listener inside the namespace. If device is not empty, it accepts only from
// that device.
func (n *namespace) listen(ctx context.Context, address, device string) (net.Listener, error) {
	var l net.Listener
	err := n.do(func() error {
		var err error
		config := net.ListenConfig{Control: bindTo(device)}
		l, err = config.Listen(ctx, "tcp4", address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listening on %s in namespace %s: %w", address, n.name, err)
	}
	return l, nil
}

// dial opens a TCP connection from inside the namespace. If local is empty, the kernel chooses the
// source address.
func (n *namespace) dial(ctx context.Context, local, remote string) (net.Conn, error) {
	var d net.Dialer
	if local != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(local)}
	}
	var c net.Conn
	err := n.do(func() (err error) {
		c, err = d.DialContext(ctx, "tcp4", remote)
		return err
	})
	return c, err
}

// bindTo binds a socket to one device. This way one address, 169.254.169.254, is a different
// service on each link.
func bindTo(device string) func(network, address string, c syscall.RawConn) error {
	if device == "" {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		var bound error
		err := c.Control(func(fd uintptr) { bound = unix.BindToDevice(int(fd), device) })
		return errors.Join(err, bound)
	}
}

// setting writes a sysctl of the namespace: setting("ipv4/ip_forward", "1").
func (n *namespace) setting(name, value string) error {
	return n.do(func() error {
		if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0); err != nil {
			return fmt.Errorf("setting net/%s=%s in namespace %s: %w", name, value, n.name, err)
		}
		return nil
	})
}

// hasIPv6 reports whether IPv6 is switched on in the machine's kernel.
func (n *namespace) hasIPv6() bool {
	return nil == n.do(func() error {
		_, err := os.Stat("/proc/sys/net/ipv6")
		return err
	})
}

// kill ends every process in the namespace. It finds them by their network namespace, which no
// other process has.
func (n *namespace) kill() {
	var own unix.Stat_t
	if err := unix.Fstat(int(n.net.Fd()), &own); err != nil {
		return
	}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, link := range links {
		var other unix.Stat_t
		if unix.Stat(link, &other) != nil || other.Dev != own.Dev || other.Ino != own.Ino {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(link, "/")[2]); err == nil && pid != os.Getpid() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}
