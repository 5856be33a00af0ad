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

// isolatedVariable is set in a process that Isolate started.
const isolatedVariable = "EMRSIM_ISOLATED"

// ErrNoNamespaces means that this machine or this user cannot make the namespaces of a lab.
var ErrNoNamespaces = errors.New("this needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN), or a kernel that lets users make user namespaces: " +
	"run it with sudo; or set kernel.unprivileged_userns_clone=1 (Debian) or kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu); " +
	"or, in a container, add --cap-add NET_ADMIN --cap-add SYS_ADMIN")

// Isolate runs this program again with the same arguments and waits for it. The new process is the
// first in fresh network, mount, PID, IPC and host name namespaces (and, without root, in a user
// namespace). Nothing there reaches the machine's links, rules and mounts. When either process ends
// or is killed, the kernel ends everything that was started and removes everything that was made.
//
// In the new process, inside is true and the caller continues. Otherwise the caller must end with
// code as its exit code. A cancelled context ends the new process by SIGTERM.
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

	// The kernel sends the parent-death signal when the thread ends that started the child. So keep
	// the thread.
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
		cmd.Cancel = func() error {
			// The first process of a namespace gets no signal before it asks for signals.
			go func() {
				for cmd.Process.Signal(syscall.SIGTERM) == nil {
					time.Sleep(50 * time.Millisecond)
				}
			}()
			return nil
		}
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

// isolated has the kinds of namespaces that Isolate makes.
const isolated = unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// enter finishes the namespaces from the inside.
func enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("%w (making mounts private: %w)", ErrNoNamespaces, err)
	}
	// Mount a writable /proc of the new PID namespace. Some containers forbid it; then the old
	// /proc has to do.
	_ = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	return nil
}

// OneUser reports whether the lab is in a user namespace that has only root, as Isolate makes it
// for a user other than root.
func OneUser() bool {
	content, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(content))
	return len(fields) == 3 && fields[2] == "1"
}
