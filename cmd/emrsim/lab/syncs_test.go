package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// syncCounter is the name of this test program on a node where it counts the syncs of another one.
const syncCounter = "count-syncs"

// actAsSyncCounter runs a program and appends a line to the file log for each time that one of its
// threads waits for a disk: the path of the file that fsync or fdatasync is about. It returns the
// program's exit code.
func actAsSyncCounter(log, program string, args []string) (code int, err error) {
	runtime.LockOSThread() // the thread that traces must be the one that started the program
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	started := false
	for {
		var status unix.WaitStatus
		thread, err := unix.Wait4(-1, &status, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return code, nil
		case err != nil:
			return 0, err
		case thread == cmd.Process.Pid && status.Exited():
			code = status.ExitStatus()
			continue
		case thread == cmd.Process.Pid && status.Signaled():
			code = 128 + int(status.Signal())
			continue
		case !status.Stopped():
			continue
		}
		pass := 0 // the signal to pass on
		switch signal := status.StopSignal(); {
		case !started:
			// Not the processes that it starts, which are no threads.
			if err := unix.PtraceSetOptions(thread, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL); err != nil {
				return 0, err
			}
			started = true
		case signal == unix.SIGTRAP|0x80:
			if name := syncOf(thread); name != "" {
				fmt.Fprintln(file, name)
			}
		case signal != unix.SIGTRAP && signal != unix.SIGSTOP: // these are the tracer's
			pass = int(signal)
		}
		if err := unix.PtraceSyscall(thread, pass); err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, err
		}
	}
}

// syncOf returns what a thread that stands before a system call is about to sync, or "".
func syncOf(thread int) string {
	// struct ptrace_syscall_info of linux/ptrace.h
	var info struct {
		op           uint8
		_            [3]uint8
		_            uint32
		_, _         uint64
		number, file uint64
		_            [5]uint64
	}
	const getSyscallInfo, entry = 0x420e, 1
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(thread), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return errno.Error()
	}
	if info.op != entry {
		return ""
	}
	switch info.number {
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		name, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", thread, info.file))
		if err != nil {
			return err.Error()
		}
		return name
	case unix.SYS_SYNC, unix.SYS_SYNCFS:
		return "all"
	}
	return ""
}

// TestSyncs counts how often the program waits for the disk: at most three times for a change of
// its phase, and never where nothing is to be done.
func TestSyncs(t *testing.T) {
	c := launch(t, nil)
	core := c.Nodes()[1]
	const counter, program, log = "/tmp/" + syncCounter, "/tmp/agent/" + agentProgram, "/tmp/syncs"
	for from, to := range map[string]string{"/proc/self/exe": counter, binary(t): program} {
		if err := core.Copy(from, to, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	addresses := []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}
	run := func(args ...string) (Result, []string) {
		t.Helper()
		if out, err := core.Output(t.Context(), "sh", "-c", ": >"+log); err != nil {
			t.Fatal(err, out)
		}
		got, err := c.Run(t.Context(), core, Command{Program: counter, OnNode: true, Args: append([]string{log, program}, args...)})
		if err != nil {
			t.Fatal(err)
		}
		list, err := core.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return got, strings.Fields(string(list))
	}
	got, first := run(addresses...)
	expectDone(t, c, core, got)
	// The state file six times, with two syncs each: of the file and of its directory. Then the
	// program, the shutdown action, and a directory that is made for it.
	const dir = "/var/lib/emr-static-ip"
	saves, inSave, most := 0, 0, 0
	for _, name := range first {
		switch {
		case name == dir+"/.state.json.tmp":
			saves, inSave = saves+1, 1
		case strings.HasPrefix(name, dir):
			inSave++
			most = max(most, inSave)
		}
	}
	if saves < 3 || saves > 6 || most > 3 || len(first) > 17 {
		t.Errorf("the first run writes the state file %d times with up to %d syncs, and syncs %d times: %q; want at most 6, 3, 17", saves, most, len(first), first)
	}
	for _, args := range [][]string{addresses, nil, {"restore"}, {"status"}, {"plan"}} {
		if got, again := run(args...); got.ExitCode != 0 || len(again) > 0 {
			t.Errorf("with %q: exit code %d, and it syncs %q\n%s", args, got.ExitCode, again, got.Stderr)
		}
	}
}
