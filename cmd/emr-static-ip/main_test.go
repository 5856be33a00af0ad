package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// build makes the program as the Makefile does, and returns its path.
func build(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the program")
	}
	bin := filepath.Join(t.TempDir(), "emr-static-ip")
	flags, err := exec.CommandContext(t.Context(), "../../scripts/goflags.sh").Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w -funcalign=16 -X github.com/emr-static-ip/emr-static-ip/agent.version=v1.2.3-test", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="+strings.TrimSpace(string(flags)))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

func TestProgram(t *testing.T) {
	bin := build(t)
	t.Run("is static", func(t *testing.T) {
		f, err := elf.Open(bin)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if libraries, err := f.ImportedLibraries(); len(libraries) > 0 {
			t.Errorf("needs %v, %v", libraries, err)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP {
				t.Error("needs a dynamic linker")
			}
		}
	})
	t.Run("prints the version it was built with", func(t *testing.T) {
		out, err := exec.CommandContext(t.Context(), bin, "version").Output()
		if fields := strings.Fields(string(out)); err != nil || len(fields) < 2 || fields[1] != "v1.2.3-test" {
			t.Errorf("%q, %v", out, err)
		}
	})
	t.Run("exits with 2 for wrong arguments", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), bin, "10.0.1.300")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); exitCode(err) != 2 || !strings.Contains(stderr.String(), `argument 1 "10.0.1.300"`) {
			t.Errorf("%v\n%s", err, &stderr)
		}
	})
	t.Run("exits with 9 for a user who cannot become root", func(t *testing.T) {
		needRoot(t)
		// Test directories are the test user's alone.
		cmd := exec.CommandContext(t.Context(), "/proc/self/fd/3", "10.0.1.10", "10.0.1.11")
		f, err := os.Open(bin)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = []*os.File{f}
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); exitCode(err) != 9 || !strings.Contains(stderr.String(), "sudo") {
			t.Errorf("%v\n%s", err, &stderr)
		}
	})
	t.Run("a crash is not called wrong arguments", func(t *testing.T) {
		// By SIGQUIT the Go runtime crashes.
		cmd, _, stderr := startWaiting(t, bin)
		if err := cmd.Process.Signal(syscall.SIGQUIT); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGABRT || status.CoreDump() {
			t.Errorf("%v\n%.2000s", cmd.ProcessState, stderr)
		}
	})
	t.Run("a crash before main has no final block", func(t *testing.T) {
		// The Go runtime needs more address space than this, and ends before main can say how.
		cmd := exec.CommandContext(t.Context(), "sh", "-c", `ulimit -v 200000 && exec "$0" --bananas`, bin)
		out, err := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); err == nil || code != 2 || strings.Contains(string(out), "emr-static-ip failed") || !strings.Contains(string(out), "fatal error:") {
			t.Errorf("exit code %d, %.300s", code, out)
		}
	})
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run("ends with "+signal.String(), func(t *testing.T) { testSignal(t, bin, signal) })
	}
}

// needRoot skips a test that cannot do without root, unless nothing may be skipped.
func needRoot(t *testing.T) {
	t.Helper()
	switch {
	case os.Geteuid() == 0:
	case os.Getenv("REQUIRE_NETNS") == "1":
		t.Fatal("REQUIRE_NETNS=1, and this needs root")
	default:
		t.Skip("needs root")
	}
}

// startWaiting starts a run that waits for a metadata service that accepts connections and never
// answers.
func startWaiting(t *testing.T, bin string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	needRoot(t)
	hole, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hole.Close() })
	accepted := make(chan struct{}, 1)
	go func() {
		for {
			c, err := hole.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			select {
			case accepted <- struct{}{}:
			default:
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, bin, "--state-dir", filepath.Join(t.TempDir(), "state"), "-o", "json", "10.0.1.10", "10.0.1.11")
	cmd.Env = append(os.Environ(), "AWS_EC2_METADATA_SERVICE_ENDPOINT=http://"+hole.Addr().String())
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-accepted:
	case <-ctx.Done():
	}
	return cmd, stdout, stderr
}

// testSignal sends a signal to a run that waits.
func testSignal(t *testing.T, bin string, signal syscall.Signal) {
	cmd, stdout, stderr := startWaiting(t, bin)
	sent := time.Now()
	if err := cmd.Process.Signal(signal); err != nil {
		t.Error(err)
	}
	err := cmd.Wait()
	if want := 128 + int(signal); exitCode(err) != want {
		t.Errorf("%v, want exit code %d\n%s%s", err, want, stdout, stderr)
	}
	var o struct {
		Version int `json:"version"`
		Code    int `json:"exit_code"`
		Error   struct {
			Code int `json:"exit_code"`
		} `json:"error"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &o); err != nil || o.Version != 1 || o.Code != 128+int(signal) || o.Error.Code != o.Code {
		t.Errorf("stdout is not the one object: %v\n%s", err, stdout)
	}
	if d := time.Since(sent); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
	if !strings.Contains(stderr.String(), "signal "+signal.String()) {
		t.Errorf("stderr:\n%s", stderr)
	}
}

func exitCode(err error) int {
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		return e.ExitCode()
	}
	return -1
}
