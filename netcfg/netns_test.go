package netcfg_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// insideVar tells the second start of the test binary that it is in a namespace of its own, or that
// there is none to be had. Its value is the network namespace of the first start.
const insideVar = "NETCFG_TEST_OUTSIDE"

// TestMain starts the test binary again in a throwaway network namespace, so that nothing here can
// ever touch the machine's own rules and addresses. The process is replaced, not doubled: a fuzzing
// worker keeps its pipes.
func TestMain(m *testing.M) {
	if os.Getenv(insideVar) == "" {
		outside, err := os.Readlink("/proc/self/ns/net")
		if err != nil {
			outside = "none: " + err.Error()
		}
		for _, args := range [][]string{{"unshare", "-n"}, {"unshare", "-rn"}} {
			path, err := exec.LookPath(args[0])
			self, err2 := os.Executable()
			if err != nil || err2 != nil || exec.Command(path, append(args[1:], "true")...).Run() != nil {
				continue
			}
			dir := filepath.Join(os.TempDir(), fmt.Sprintf("netcfg-xtables-%d.lock", os.Getuid()))
			env := append(os.Environ(), insideVar+"="+outside, "XTABLES_LOCKFILE="+dir)
			err = syscall.Exec(path, append(append(args, self), os.Args[1:]...), env)
			fmt.Fprintln(os.Stderr, "starting again in a namespace:", err)
			os.Exit(1)
		}
		os.Setenv(insideVar, "none: no network namespace can be made here")
	}
	netcfg.Settle(20 * time.Millisecond)
	os.Exit(m.Run())
}

// enter locks the test to its thread and gives the thread a network namespace of its own. The
// thread is never unlocked, so that it ends with the test and the namespace with it. Subtests run
// on other threads: they have to call enter themselves.
func enter(t testing.TB, programs ...string) {
	t.Helper()
	skip := func(why string) {
		t.Helper()
		if os.Getenv("REQUIRE_NETNS") == "1" {
			t.Fatal("REQUIRE_NETNS=1, and ", why)
		}
		t.Skip(why)
	}
	outside := os.Getenv(insideVar)
	if strings.HasPrefix(outside, "none") {
		skip(outside)
	}
	for _, p := range append(programs, "ip", "nft", "sh") {
		if _, err := exec.LookPath(p); err != nil {
			skip("a program is missing: " + err.Error())
		}
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal("making a network namespace: ", err)
	}
	if now, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || now == outside {
		t.Fatalf("still in the machine's own network namespace %s (%v)", now, err)
	}
	sh(t, "ip link set lo up")
}

// sh runs shell commands in the namespace of the calling thread and returns what they print.
func sh(t testing.TB, script string) string {
	t.Helper()
	out, err := trySh(script)
	if err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return out
}

func trySh(script string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-euc", script)
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// namespace is a thread in a network namespace.
type namespace struct {
	file *os.File
	work chan func()
	over chan struct{}
}

// newNamespace makes a network namespace, or joins one. It lasts as long as the test.
func newNamespace(t testing.TB, join *os.File) *namespace {
	t.Helper()
	n := &namespace{work: make(chan func()), over: make(chan struct{})}
	ready := make(chan error, 1)
	go func() {
		defer close(n.over)
		runtime.LockOSThread()
		var err error
		if join != nil {
			err = unix.Setns(int(join.Fd()), unix.CLONE_NEWNET)
		} else if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			n.file, err = os.Open("/proc/thread-self/ns/net")
		}
		ready <- err
		if err == nil {
			for f := range n.work {
				f()
			}
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal("making a network namespace: ", err)
	}
	t.Cleanup(func() {
		close(n.work)
		if n.file != nil {
			n.file.Close()
		}
	})
	return n
}

// do runs f in the namespace and waits for it.
func (n *namespace) do(t testing.TB, f func()) {
	t.Helper()
	done := make(chan struct{})
	select {
	case n.work <- func() { defer close(done); f() }:
		<-done
	case <-n.over:
	}
	if t.Failed() {
		t.FailNow()
	}
}

// ns opens the calling thread's network namespace.
func ns(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
