package lab

import (
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// variants are the ways in which a node's rules can be kept.
var variants = []struct {
	name      string
	release   string
	iptables  Iptables
	args      []string
	processes int // that a restore starts at most
	syscalls  int // of a restore and these processes, at most
}{
	{"nftables", "emr-7.13.0", IptablesNFT, []string{"--nat-backend", "nftables"}, 0, 900},
	{"iptables nft", "emr-7.13.0", IptablesNFT, []string{"--nat-backend", "iptables"}, 2, 1500},
	{"iptables legacy", "emr-6.15.0", IptablesLegacy, []string{"--nat-backend", "iptables"}, 2, 1500},
}

// TestRestoreCost counts what a run costs, and a restore that finds all in order. The timer runs
// one every minute on every node. Its CPU time is compared with that of the version whose restore
// asked and looked more.
func TestRestoreCost(t *testing.T) {
	t.Parallel()
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			c := launch(t, func(s *ClusterSpec) { s.Release, s.Iptables = v.release, v.iptables })
			core := c.Nodes()[1]
			count := countIptables(t, core)
			counting := []string{"PATH=" + countingDir + ":/usr/sbin:/usr/bin:/sbin:/bin"}
			expectDone(t, c, core, start(t, c, core, Command{Args: append([]string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}, v.args...), Env: counting}))
			if versions := slices.DeleteFunc(count(), func(call string) bool { return !strings.HasSuffix(call, "--version\n") }); len(versions) > v.processes/2 {
				t.Errorf("the run asked for versions: %q", versions)
			}
			tokens := slices.DeleteFunc(c.Cloud.Calls(), func(call cloud.Call) bool { return call.Caller != core.Instance || call.Action != "PutToken" })
			if len(tokens) != 1 {
				t.Errorf("the run got %d tokens of IMDS, want one", len(tokens))
			}
			// The names, sizes and times of all files of the program.
			files := func() string {
				out, err := core.Output(t.Context(), "find", "/var/lib/emr-static-ip", "-printf", "%p %s %T@ %C@\n")
				if err != nil {
					t.Fatal(err, out)
				}
				return out
			}
			untouched := files()
			for range 5 {
				c.Cloud.ForgetCalls()
				called := len(count())
				got := start(t, c, core, Command{Args: []string{"restore"}, Env: counting})
				if got.ExitCode != 0 || got.Stderr != "" {
					t.Errorf("exit code %d, and it says %q", got.ExitCode, got.Stderr)
				}
				requests := slices.DeleteFunc(c.Cloud.Calls(), func(call cloud.Call) bool { return call.Caller != core.Instance })
				most := 3
				if slices.ContainsFunc(requests, func(call cloud.Call) bool { return strings.HasSuffix(call.Params, "vpc-ipv4-cidr-blocks") }) {
					most = 4 // every tenth minute
				}
				if len(requests) > most {
					t.Errorf("%d requests, at most %d: %v", len(requests), most, requests)
				}
				if ran := count()[called:]; len(ran) > v.processes {
					t.Errorf("it started %q, at most %d", ran, v.processes)
				}
			}
			if after := files(); after != untouched {
				t.Errorf("it wrote files:\n%s\nbefore\n%s", after, untouched)
			}
			former, err := claimFirstVersion()
			if errors.Is(err, errLacking) {
				t.Log("no former version to compare with: ", err)
				former = ""
			} else if err != nil {
				t.Fatal(err)
			}
			other := c.Nodes()[2]
			if former != "" {
				got, err := c.Run(t.Context(), other, Command{Program: former, Args: append([]string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}, v.args...)})
				if err != nil || got.ExitCode != 0 {
					t.Fatal(err, got.Stderr)
				}
			}
			var now, before time.Duration
			for range 30 { // in turns, and without the counting programs
				now = least(now, restoreCPU(t, c, core, binary(t)))
				if former != "" {
					before = least(before, restoreCPU(t, c, other, former))
				}
			}
			t.Logf("restore of %s: CPU %d ns, minimum of 30", v.name, now.Nanoseconds())
			if former == "" {
				return
			}
			t.Logf("former restore of %s: CPU %d ns, minimum of 30", v.name, before.Nanoseconds())
			if now > before*8/10 { // about half, on a quiet machine
				t.Errorf("a restore takes %v of CPU, and took %v", now, before)
			}
		})
	}
}

// least returns the shorter of two times. An a of 0 means that nothing is measured yet.
func least(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// restoreCPU returns the CPU time of a restore by a program, which finds all in order.
func restoreCPU(t *testing.T, c *Cluster, n *Node, program string) time.Duration {
	t.Helper()
	got, err := c.Run(t.Context(), n, Command{Program: program, Args: []string{"restore"}})
	if err != nil || got.ExitCode != 0 {
		t.Fatalf("%s: %v, exit code %d\n%s", filepath.Base(program), err, got.ExitCode, got.Stderr)
	}
	return got.CPU
}

// countingDir has programs in front of iptables and its sisters that note each call.
const countingDir = "/tmp/counting"

// countIptables puts them there. It returns a function that returns the calls so far.
func countIptables(t *testing.T, n *Node) func() []string {
	t.Helper()
	const script = `mkdir -p ` + countingDir + `; : >` + countingDir + `/log; for p in iptables iptables-restore iptables-legacy iptables-legacy-restore; do
	f=$(command -v $p) || continue
	printf '#!/bin/sh\necho "%s $*" >>` + countingDir + `/log\nexec %s "$@"\n' $p $f >` + countingDir + `/$p; chmod 755 ` + countingDir + `/$p; done`
	if out, err := n.Output(t.Context(), "sh", "-ec", script); err != nil {
		t.Fatal(err, out)
	}
	return func() []string {
		log, err := n.ReadFile(countingDir + "/log")
		if err != nil {
			t.Fatal(err)
		}
		return slices.Collect(strings.Lines(string(log)))
	}
}

// TestSystemCalls counts with strace how often a run makes a file durable, which a slow disk feels,
// and all system calls of a restore that finds all in order. Of several restores the least counts:
// a busy machine adds some.
func TestSystemCalls(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed: system calls are not counted")
	}
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			c := launch(t, func(s *ClusterSpec) { s.Release, s.Iptables = v.release, v.iptables })
			core := c.Nodes()[1]
			program, err := core.install(binary(t))
			if err != nil {
				t.Fatal(err)
			}
			// trace runs the program under strace, and returns what strace wrote.
			trace := func(option string, args ...string) string {
				t.Helper()
				const file = "/tmp/strace"
				got, err := c.Run(t.Context(), core, Command{Program: strace, OnNode: true, Args: append([]string{"-f", "-qq", "-o", file, option, program}, args...)})
				if err != nil || got.ExitCode != 0 {
					t.Fatalf("%v, exit code %d\n%s%s", err, got.ExitCode, got.Stdout, got.Stderr)
				}
				text, err := core.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				return string(text)
			}
			// durable returns how many files a run replaced, and how often it waited for the disk.
			durable := func(args ...string) (replaced, waits int) {
				t.Helper()
				text := trace("--trace=/^(fsync|fdatasync|rename.*)$", args...)
				return len(regexp.MustCompile(`(?m)^\d+ +rename`).FindAllString(text, -1)), len(regexp.MustCompile(`(?m)^\d+ +f\w*sync`).FindAllString(text, -1))
			}
			// The state file six times, the program, the shutdown action and its directory.
			if replaced, waits := durable(append([]string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}, v.args...)...); replaced == 0 || replaced > 9 || waits > 2*replaced {
				t.Errorf("the run replaced %d files, and waited %d times for the disk; at most 9, and twice for each", replaced, waits)
			}
			if replaced, waits := durable(); replaced+waits != 0 {
				t.Errorf("a run that changed nothing replaced %d files, and waited %d times for the disk", replaced, waits)
			}
			least := 0
			for range 5 {
				m := regexp.MustCompile(`(?m)^100\.00 +\S+ +\d+ +(\d+) .*total$`).FindStringSubmatch(trace("--summary-only", "restore"))
				if m == nil {
					t.Fatal("strace printed no total")
				}
				calls, err := strconv.Atoi(m[1])
				if err != nil {
					t.Fatal(err)
				}
				if least == 0 || calls < least {
					least = calls
				}
			}
			t.Logf("restore of %s: %d system calls, minimum of 5", v.name, least)
			if least > v.syscalls {
				t.Errorf("a restore makes %d system calls, at most %d", least, v.syscalls)
			}
		})
	}
}
