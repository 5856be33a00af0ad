package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRunScenario runs a shipped scenario, a file, and both with the wrong words.
func TestRunScenario(t *testing.T) {
	t.Parallel()
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	mine := write("mine.txtar", "# A scenario.\ncluster --core 0 -- 10.0.1.10\nlaunch\nhas master 10.0.1.10\nsaid master 'static IP  10'\n")
	broken := write("broken.txtar", "cluster --core 0 -- 10.0.1.10\nhas master 10.0.1.10\n")
	faulty := write("faulty.txtar", "cluster --core 0 -- 10.0.1.10\nlanch\n")
	report := filepath.Join(t.TempDir(), "report.html")
	defer func() {
		if page, err := os.ReadFile(report); err != nil || !strings.Contains(string(page), "Scenario mine") || !strings.Contains(string(page), "10.0.1.10") {
			t.Errorf("the report lacks the title or the address (%d bytes): %v", len(page), err)
		}
	}()
	for _, test := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{mine}, 0, []string{"launch\n", "as expected", "1 scenario: all as expected"}},
		{[]string{broken}, 1, []string{"FAIL: " + broken + ":2: master: EC2 has assigned []; expected is one of [10.0.1.10]", "FAILED: 1 scenario of 1"}},
		{[]string{faulty}, 2, []string{faulty + `:2: unknown command "lanch"`}},
		{[]string{"no-such-scenario"}, 2, []string{`"no-such-scenario" is neither a file nor a scenario that emrsim ships: emrsim list`}},
		{[]string{"/no/such/file"}, 2, []string{"/no/such/file: no such file"}},
		{[]string{"--report", report, mine}, 0, []string{"the report: " + report}},
		{[]string{"--report", "/no/such/folder/r.html", mine}, 2, []string{"/no/such/folder"}},
		{[]string{"--report", report, mine, broken}, 2, []string{"--report: for one scenario"}},
		{nil, 2, []string{"which scenario?"}},
		{[]string{"--all", "resize"}, 2, []string{"--all and scenarios"}},
		{[]string{"--bananas"}, 2, []string{"--bananas"}},
		{[]string{"--timeout", "1ns", mine}, 1, []string{"--timeout 1ns"}},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			output, code := emrsim(t, append([]string{"run"}, test.args...)...)
			if code != test.code {
				t.Errorf("exit code %d, want %d\n%s", code, test.code, output)
			}
			for _, s := range test.says {
				if !strings.Contains(output, s) {
					t.Errorf("the output lacks %q:\n%s", s, output)
				}
			}
		})
	}
}

// TestRunLeavesNothing interrupts a scenario, and kills another one.
func TestRunLeavesNothing(t *testing.T) {
	t.Parallel()
	temporary := t.TempDir()
	path := filepath.Join(t.TempDir(), "long.txtar")
	if err := os.WriteFile(path, []byte("cluster --core 0 -- 10.0.1.10\non master sleep 60\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, signal := range []os.Signal{os.Interrupt, os.Kill} {
		cmd := command(t, "run", path)
		cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
		var out lockedBuffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for start := time.Now(); !strings.Contains(out.String(), "on master sleep"); time.Sleep(20 * time.Millisecond) {
			if time.Since(start) > time.Minute {
				cmd.Process.Kill()
				cmd.Wait()
				skipWithoutNamespaces(t, out.String())
				t.Fatalf("the scenario does not begin:\n%s", out.String())
			}
		}
		cmd.Process.Signal(signal)
		cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); signal == os.Interrupt && got != 130 {
			t.Errorf("interrupted: exit code %d, want 130\n%s", got, out.String())
		}
		if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
			t.Errorf("%v: files are left: %v %v", signal, left, err)
		}
	}
}

// TestOutputCannotBeWritten checks that a full disk is not taken for success.
func TestOutputCannotBeWritten(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	for _, args := range [][]string{{"list"}, {"list", "--commands"}, {"--help"}, {"run", "emr-6"}, {"launch", "--virtual", "--", "10.0.1.10", "10.0.1.11"}, {"launch", "--keep", "--", "10.0.1.10", "10.0.1.11"}} {
		cmd := command(t, args...)
		cmd.Stdout = full
		var problems lockedBuffer
		cmd.Stderr = &problems
		err := cmd.Run()
		skipWithoutNamespaces(t, problems.String())
		if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(problems.String(), "no space left on device") {
			t.Errorf("emrsim %v > /dev/full: exit code %d, want 1 and the reason: %v %s", args, code, err, problems.String())
		}
	}
}
