package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// isolatedVariable tells a process that Isolate started it.
const isolatedVariable = "EMRSIM_ISOLATED"

// ErrNoNamespaces means that this machine, or this user, cannot make the namespaces that a lab is built of.
var ErrNoNamespaces = errors.New("this needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN), or a kernel that lets users make user namespaces: " +
	"run it with sudo; or set kernel.unprivileged_userns_clone=1 (Debian) or kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu); " +
	"or, in a container, add --cap-add NET_ADMIN --cap-add SYS_ADMIN")

// Isolate runs this program again, with the same arguments, as the first process of fresh network, mount, PID, IPC and host name
// namespaces (and, without root, of a user namespace), and waits for it. Nothing it does there reaches the machine's own
// links, rules and mounts, and when it ends, or when either process is killed, the kernel ends everything it started and
// removes everything it made.
//
// In the process that was started so, inside is true and there is nothing to wait for: go on. Otherwise code is the exit code to
// end with. A cancelled context ends the inner process by SIGTERM.
func Isolate(ctx context.Context) (inside bool, code int, err error) {
	if os.Getenv(isolatedVariable) != "" && os.Getpid() == 1 {
		return true, 0, enter()
	}
	attempts := []syscall.SysProcAttr{{Cloneflags: isolated}}
	user := syscall.SysProcAttr{
		Cloneflags:  isolated | unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	if os.Geteuid() == 0 {
		attempts = append(attempts, user)
	} else {
		attempts[0] = user
	}

	// The kernel sends the parent-death signal when the thread that started the child ends, so keep it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var failed error
	for _, attributes := range attempts {
		cmd := exec.CommandContext(ctx, "/proc/self/exe")
		cmd.Args = os.Args
		cmd.Env = append(os.Environ(), isolatedVariable+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		attributes.Pdeathsig = syscall.SIGKILL
		cmd.SysProcAttr = &attributes
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = 30 * time.Second
		if err := cmd.Start(); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		err := cmd.Wait()
		if cmd.ProcessState == nil {
			return false, 0, fmt.Errorf("waiting for the isolated process: %w", err)
		}
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return false, 128 + int(status.Signal()), nil
		}
		return false, cmd.ProcessState.ExitCode(), nil
	}
	return false, 0, fmt.Errorf("%w (%w)", ErrNoNamespaces, failed)
}

// isolated are the kinds of namespaces that Isolate makes.
const isolated = unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// enter finishes the namespaces from inside.
func enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("%w (making mounts private: %w)", ErrNoNamespaces, err)
	}
	// A /proc of these PIDs, and a writable one. Some containers forbid it; theirs, seen from here, will then have to do.
	_ = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	return nil
}

// OneUser tells whether the lab is in a user namespace in which there is only root, as Isolate makes it for a user who is not root.
func OneUser() bool {
	content, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(content))
	return len(fields) == 3 && fields[2] == "1"
}
