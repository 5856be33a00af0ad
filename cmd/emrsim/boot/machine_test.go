package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// machine is a directory tree that systemd-nspawn boots. Each boot gets a new network namespace, so
// that a reboot loses addresses and rules.
type machine struct {
	t    *testing.T
	name string
	tree string

	cmd     *exec.Cmd
	done    chan struct{} // closed when cmd has ended
	console *bytes.Buffer
	leader  int // process id of its first process on this machine
	net     *network
}

// network is a network namespace with a thread in it.
type network struct {
	path string // in /proc
	work chan func()
	stop chan struct{}
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{work: make(chan func()), stop: make(chan struct{})}
	ready := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine; the namespace ends with its last user
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			ready <- err
			return
		}
		n.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		ready <- nil
		for {
			select {
			case f := <-n.work:
				f()
			case <-n.stop:
				return
			}
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal("making a network namespace: ", err)
	}
	return n
}

// do calls f in the namespace.
func (n *network) do(f func()) {
	done := make(chan struct{})
	n.work <- func() { defer close(done); f() }
	<-done
}

// serve runs an HTTP server in the namespace until the test ends or stop is called.
func (n *network) serve(t *testing.T, address string, h http.Handler) {
	t.Helper()
	var l net.Listener
	var err error
	n.do(func() { l, err = net.Listen("tcp", address) })
	if err != nil {
		t.Fatalf("listening at %s: %v", address, err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
}

// sh runs shell commands in the namespace. They use the programs of this machine.
func (n *network) sh(t *testing.T, script string) string {
	t.Helper()
	out, err := output(t, 20*time.Second, "nsenter", "--net="+n.path, "sh", "-euc", script)
	if err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return out
}

// boot starts the machine and waits until systemd has reached multi-user.target.
func (m *machine) boot(wait time.Duration) {
	m.t.Helper()
	m.console = &bytes.Buffer{}
	m.cmd = exec.Command("systemd-nspawn", "--quiet", "--directory="+m.tree, "--machine="+m.name, "--network-namespace-path="+m.net.path,
		"--capability=CAP_NET_ADMIN,CAP_NET_RAW", // kept by default only if systemd-nspawn makes the network
		"--boot", "--register=no", "--keep-unit", "--console=pipe", "--resolv-conf=off", "--timezone=off", "--link-journal=no")
	m.cmd.Stdout, m.cmd.Stderr = m.console, m.console
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	m.cmd.WaitDelay = time.Second
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.done = make(chan struct{})
	go func() {
		defer close(m.done)
		_ = m.cmd.Wait()
	}()
	deadline := time.Now().Add(wait)
	said := ""
	for time.Now().Before(deadline) {
		select {
		case <-m.done:
			m.t.Fatalf("systemd-nspawn ended\n%s", tail(m.console.String()))
		case <-time.After(300 * time.Millisecond):
		}
		if m.leader = m.findLeader(); m.leader == 0 {
			continue
		}
		out, err := m.try("systemctl", "is-active", "multi-user.target")
		if said = strings.TrimSpace(out); err == nil {
			return
		}
	}
	jobs, _ := m.try("systemctl", "list-jobs", "--no-pager")
	journal, _ := m.try("journalctl", "--no-pager", "--boot")
	m.t.Fatalf("the machine is not up after %v: %s\n%s\n%s\n%s", wait, said, tail(m.console.String()), jobs, tail(journal))
}

// findLeader returns the process id of the machine's process 1: the child of systemd-nspawn in
// another PID namespace.
func (m *machine) findLeader() int {
	files, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(text), fmt.Sprintf("\nPPid:\t%d\n", m.cmd.Process.Pid)) {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if ids := strings.Fields(line); len(ids) == 3 && ids[0] == "NSpid:" && ids[2] == "1" {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
				return pid
			}
		}
	}
	return 0
}

// try runs a program inside the machine.
func (m *machine) try(argv ...string) (string, error) {
	args := append([]string{"--target", strconv.Itoa(m.leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd=/", "--",
		"env", "-i", "PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "AWS_ENDPOINT_URL=http://127.0.0.1:4566"}, argv...)
	return output(m.t, 40*time.Second, "nsenter", args...)
}

// run is try, but fails the test if the program fails.
func (m *machine) run(argv ...string) string {
	m.t.Helper()
	out, err := m.try(argv...)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

// Signals to process 1: systemd(1).
const (
	poweroff = syscall.Signal(34 + 4) // SIGRTMIN+4
	reboot   = syscall.Signal(34 + 5) // SIGRTMIN+5; systemd-nspawn ends here, too
)

// halt shuts the machine down as a power button does.
func (m *machine) halt() { m.t.Helper(); m.end(poweroff) }

// end ends the machine by a signal to process 1, and kills processes that do not end.
func (m *machine) end(signal syscall.Signal) {
	m.t.Helper()
	if m.cmd == nil {
		return
	}
	if m.leader > 0 {
		_ = syscall.Kill(m.leader, signal)
	}
	select {
	case <-m.done:
	case <-time.After(25 * time.Second):
		m.t.Errorf("the machine did not shut down\n%s", tail(m.console.String()))
		_ = syscall.Kill(m.cmd.Process.Pid, syscall.SIGKILL)
		if m.leader > 0 {
			_ = syscall.Kill(m.leader, syscall.SIGKILL)
		}
		<-m.done
	}
	m.cmd, m.leader = nil, 0
	close(m.net.stop)
	// systemd-nspawn leaves these directories if /run is not a file system in memory.
	for _, dir := range []string{"propagate", "unix-export"} {
		_ = os.RemoveAll(filepath.Join("/run/systemd/nspawn", dir, m.name))
	}
}

// output runs a program with a time limit and returns its stdout and stderr.
func output(t *testing.T, wait time.Duration, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), wait)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	return out.String(), errors.Join(err, ctx.Err())
}

// eventually calls check until it returns true.
func eventually(t *testing.T, wait time.Duration, what string, check func() (string, bool)) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		said, ok := check()
		if ok {
			return time.Since(began)
		}
		if time.Since(began) > wait {
			t.Fatalf("%s: did not happen within %v:\n%s", what, wait, said)
		}
		time.Sleep(250 * time.Millisecond)
	}
}
