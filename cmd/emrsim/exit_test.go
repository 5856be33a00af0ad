package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestUsageErrors checks that wrong usage has the exit code 2 and says what is wrong, before
// anything is built.
func TestUsageErrors(t *testing.T) {
	t.Parallel()
	folder := t.TempDir() + "/r.html"
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for line, says := range map[string]string{
		"bananas":                  `unknown command "bananas"`,
		"lunch":                    "did you mean launch?",
		"help bananas":             `unknown command "bananas"`,
		"nodes --pid 999999999":    "no rehearsal of yours with process id 999999999",
		"run --binary /none emr-6": "/none",
		"run --other /none emr-6":  "/none",
		"run --timeout 0s emr-6":   "--timeout 0s",
		"launch --mastres 3 -- 10.0.1.10 10.0.1.11":                       "unknown flag: --mastres: emrsim launch --help",
		"launch --timeout -1s -- 10.0.1.10 10.0.1.11":                     "--timeout -1s",
		"launch --imds-delay -1s -- 10.0.1.10 10.0.1.11":                  "--imds-delay -1s",
		"launch --shell core-2 -- 10.0.1.10 10.0.1.11":                    "--shell core-2: there are master, core-1",
		"launch --virtual --report " + folder + " -- 10.0.1.10 10.0.1.11": folder + " is a folder",
		"launch --virtual --report /proc/r.html -- 10.0.1.10 10.0.1.11":   "the folder of the report: ",
	} {
		if output, code := emrsim(t, strings.Fields(line)...); code != 2 || !strings.Contains(output, says) || strings.Contains(output, "building") {
			t.Errorf("emrsim %s: exit code %d, want 2 and %q\n%s", line, code, says, output)
		}
	}
	if output, code := emrsim(t, "help", "launch"); code != 0 || !strings.Contains(output, "--master-ips") {
		t.Errorf("help launch: exit code %d\n%s", code, output)
	}
}

// TestInterruptedEarly interrupts a rehearsal in its first moments, when its second process is not
// ready for a signal yet.
func TestInterruptedEarly(t *testing.T) {
	for wait := 10 * time.Millisecond; wait < 150*time.Millisecond; wait += 6 * time.Millisecond {
		cmd := command(t, "launch", "--", "10.0.1.10", "10.0.1.11")
		var out lockedBuffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(wait)
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		skipWithoutNamespaces(t, out.String())
		// Before its first line the program itself has not asked for signals: it dies of this one.
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if code := cmd.ProcessState.ExitCode(); code != 130 && !(status.Signaled() && status.Signal() == syscall.SIGINT) {
			t.Errorf("after %s: exit code %d, want 130\n%s", wait, code, out.String())
		}
	}
}
