package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

// buildVariable names the directory in which programs may be built.
const buildVariable = "EMRSIM_BUILD_DIR"

// TestMain runs all tests of the package in their own namespaces. There nobody else changes
// anything, so that the tests find what a rehearsal leaves behind.
func TestMain(m *testing.M) {
	inside, code, err := lab.Isolate(context.Background())
	switch {
	case err != nil && os.Getenv("REQUIRE_NETNS") == "1":
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	case err == nil && !inside:
		os.Exit(code)
	}
	exec.Command("ip", "link", "set", "lo", "up").Run() // of the tests' own network; without root lo is up
	// A rehearsal waits far more than it computes, so more of them than processors run at once.
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		parallel.Value.Set("6")
	}
	dir, err := os.MkdirTemp("", "emrsim")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv(buildVariable, dir)
	code = m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// built returns the directory of the two programs. They are built from this checkout, or found in
// PATH if there is no Go.
var built = sync.OnceValues(func() (dir string, err error) {
	if _, err := exec.LookPath("go"); err != nil {
		path, err := exec.LookPath("emrsim")
		return filepath.Dir(path), err
	}
	dir = os.Getenv(buildVariable)
	out, err := exec.Command("go", "build", "-o", dir+"/", "github.com/emr-static-ip/emr-static-ip/cmd/emrsim",
		"github.com/emr-static-ip/emr-static-ip/cmd/emr-static-ip").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	return dir, nil
})

// emrsim runs the built program. It skips the test if namespaces cannot be made.
func emrsim(t *testing.T, args ...string) (output string, exitCode int) {
	t.Helper()
	cmd := command(t, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	skipWithoutNamespaces(t, out.String())
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, filepath.Join(dir, "emrsim"), args...)
}

func skipWithoutNamespaces(t *testing.T, output string) {
	t.Helper()
	if strings.Contains(output, lab.ErrNoNamespaces.Error()) && os.Getenv("REQUIRE_NETNS") != "1" {
		t.Skip(lab.ErrNoNamespaces)
	}
}

// node matches a line of the table: name, primary IP, before, static and seen address, after,
// rerun.
var node = regexp.MustCompile(`(?m)^(master|core|task)(?:-\d+)? +([0-9.]+) +(\w+) +([0-9.]+|-) +([0-9.]+|-) +(\w+) +[0-9.]+s +\d+ +(\S+)$`)

func TestLaunch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args  []string
		roles map[string]int // nodes with a static IP by role
	}{
		{[]string{"--", "10.0.1.10", "10.0.1.11", "10.0.1.12", "10.0.1.13"}, map[string]int{"MASTER": 1, "CORE": 3}},
		{[]string{"--release", "emr-6.x", "--tasks", "1", "--", "10.0.1.10", "10.0.1.11"}, map[string]int{"MASTER": 1, "CORE": 1}},
		{[]string{"--no-iptables", "--core", "1", "--", "10.0.1.10-19"}, map[string]int{"MASTER": 1, "CORE": 1}},
		{[]string{"--iptables", "legacy", "--masters", "3", "--", "--master-ips", "10.0.1.10-12", "--core-ips", "10.0.1.20", "--snat-scope", "all"},
			map[string]int{"MASTER": 3, "CORE": 1}},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			t.Parallel()
			output, code := emrsim(t, append([]string{"launch"}, test.args...)...)
			if code != 0 {
				t.Errorf("exit code %d", code)
			}
			holders := map[netip.Addr]bool{}
			roles := map[string]int{}
			for _, m := range node.FindAllStringSubmatch(output, -1) {
				role, primary, before, static, seen, after, second := strings.ToUpper(m[1]), m[2], m[3], m[4], m[5], m[6], m[7]
				if static == "-" {
					if role != "TASK" || after != "refused" || second != "same" {
						t.Errorf("a node without static IP: %s", m[0])
					}
					continue
				}
				if static != seen || static == primary || before != "refused" || after != "done" || second != "same" {
					t.Errorf("wrong row in the table: %s", m[0])
				}
				if a := netip.MustParseAddr(static); holders[a] {
					t.Errorf("two nodes have the static IP %s", static)
				} else {
					holders[a] = true
				}
				roles[role]++
			}
			if fmt.Sprint(roles) != fmt.Sprint(test.roles) {
				t.Errorf("nodes with static IP: %v, want %v", roles, test.roles)
			}
			for line := range strings.Lines(output[strings.LastIndex(output, "\nNODE "):]) {
				if len(line) > 81 {
					t.Errorf("wider than 80 columns: %s", line)
				}
			}
			if t.Failed() {
				t.Log(output)
			}
		})
	}
}

// TestLaunchFindsProblems rehearses faulty programs. The rehearsal must find each fault.
func TestLaunchFindsProblems(t *testing.T) {
	t.Parallel()
	const done = "echo changed=0 unchanged=1 duration=0.1s\n"
	for _, test := range []struct {
		name, script, problem string
	}{
		{"fails", "echo 'emr-static-ip: no luck' >&2; exit 4\n", "every node: emr-static-ip ended with exit code 4: emr-static-ip: no luck"},
		{"does nothing", done, `every node \(here with the addresses of \S+\): EC2 has the secondary addresses \[\] on its primary interface`},
		{"programs only the kernel", "ip addr add 10.0.1.11/32 dev ens5\niptables -t nat -A POSTROUTING -o ens5 -j SNAT --to-source 10.0.1.11\n" + done,
			`every node \(here with the addresses of \S+\): EC2 has the secondary addresses \[\] on its primary interface`},
		{"touches the second interface", "ip addr add 10.0.1.99/32 dev ens6 2>/dev/null\n" + done, "master: EMR's own interface ens6 is not what it was"},
		{"rewrites packets of the second interface", "iptables -t nat -A POSTROUTING -j SNAT --to-source $(ip -o -4 addr show ens5 | sed 's|.*inet ||;s|/.*||')\n" + done,
			"master: EMR's own interface ens6 is not what it was"},
		{"changes something each time", "ip addr add 10.0.1.$((100 + $(ip -o addr | wc -l)))/32 dev ens5\n" + done, "core-1: the second run changed the kernel's state"},
		{"reports changes each time", "echo changed=2 unchanged=1 duration=0.1s\n", "every node: the second run did not report changed=0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "agent.sh")
			if err := os.WriteFile(path, []byte("#!/bin/sh\n"+test.script), 0o755); err != nil {
				t.Fatal(err)
			}
			output, code := emrsim(t, "launch", "--binary", path, "--", "10.0.1.10", "10.0.1.11")
			if code != 1 || !regexp.MustCompile("\n - "+test.problem).MatchString(output) {
				t.Errorf("exit code %d, want 1 and the problem %q\n%s", code, test.problem, output)
			}
		})
	}
}

// TestLaunchUnderAnotherPolicy rehearses an operator's policy that lacks an action or is not a
// policy.
func TestLaunchUnderAnotherPolicy(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "policy.json")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Replace(iam.Place{}.Policy(iam.InstanceProfile), `"ec2:AssignPrivateIpAddresses", `, "", 1))
	output, code := emrsim(t, "launch", "--policy", path, "--", "10.0.1.10", "10.0.1.11")
	for _, want := range []string{"the nodes may do what " + path + " allows, and nothing else", "emr-static-ip ended with exit code 4: assigning 10.0.1.1", "\n   what to do: allow ec2:AssignPrivateIpAddresses in the role", "\nFAILED: 1 problem ("} {
		if code != 1 || !strings.Contains(output, want) {
			t.Errorf("exit code %d, want 1 and %q\n%s", code, want, output)
		}
	}
	write(`{"Statement": {"Effect": "Allow", "Action": "ec2:*", "Resource": "*", "Condition": {"StringEqual": {"ec2:Vpc": "x"}}}}`)
	if output, code := emrsim(t, "launch", "--policy", path, "--", "10.0.1.10"); code != 2 || !strings.Contains(output, "--policy "+path) || !strings.Contains(output, "StringEqual") {
		t.Errorf("exit code %d, want 2\n%s", code, output)
	}
	write(`{"Statement": {"Effect": "Allow", `)
	if output, code := emrsim(t, "launch", "--policy", path, "--", "10.0.1.10"); code != 2 || !strings.Contains(output, "the JSON is incomplete") {
		t.Errorf("exit code %d, want 2\n%s", code, output)
	}
}

func TestLaunchIsBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "agent.sh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexec sleep 100\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	output, code := emrsim(t, "launch", "--timeout", "6s", "--binary", path, "--", "10.0.1.10", "10.0.1.11")
	if code != 1 || !strings.Contains(output, "--timeout 6s") || time.Since(start) > 20*time.Second {
		t.Errorf("exit code %d after %v, want 1 soon after 6 s\n%s", code, time.Since(start), output)
	}
}

func TestLaunchOpensShell(t *testing.T) {
	t.Parallel()
	cmd := command(t, "launch", "--shell", "core-1", "--", "10.0.1.10", "10.0.1.11")
	cmd.Stdin = strings.NewReader("ip -oneline address show dev ens5; cat /etc/hostname; exit 3\n")
	out, err := cmd.CombinedOutput()
	skipWithoutNamespaces(t, string(out))
	if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(string(out), "inet 10.0.1.11/32 ") {
		t.Errorf("exit code %d, want the shell's; %v\n%s", code, err, out)
	}
}

// TestLaunchPlain rehearses instances outside EMR.
func TestLaunchPlain(t *testing.T) {
	t.Parallel()
	output, code := emrsim(t, "launch", "--plain", "2", "--", "--ips", "10.0.1.20-22")
	if code != 0 || len(regexp.MustCompile(`(?m)^node-[12] .* refused  10\.0\.1\.2[01] .* done .* same$`).FindAllString(output, -1)) != 2 {
		t.Errorf("exit code %d\n%s", code, output)
	}
}

func TestLaunchRefusesArguments(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		says []string
	}{
		{[]string{"--"}, []string{"no addresses"}},
		{[]string{"--", "10.0.1.10", "10.0.1.300", "x"}, []string{"10.0.1.300", `"x"`}},
		{[]string{"--", "release"}, []string{"only apply can be rehearsed"}},
		{[]string{"--bananas", "--", "10.0.1.10"}, []string{"--bananas"}},
		{[]string{"--masters", "2", "--release", "seven", "--iptables", "x", "--files", "y", "--tasks", "-1", "--subnet", "z", "--", "10.0.1.10"},
			[]string{"--masters", "--release", "--iptables", "--files", "--tasks", "--subnet"}},
		{[]string{"--vpc-cidr", "10.0.0.0/16", "--subnet", "10.9.1.0/24", "--", "10.9.1.10"}, []string{"subnet 10.9.1.0/24: is in none of the VPC's CIDRs: 10.0.0.0/16"}},
		{[]string{"--vpc-cidr", "10.0.0.0/16", "--subnets", "10.0.1.0/24,10.9.1.0/24", "--", "10.0.1.10"}, []string{"subnet 10.9.1.0/24: is in none"}},
		{[]string{"--vpc-cidr", "ten", "--data-centre", "10.1.0.0/16,10.2.0.0/16", "--", "10.0.1.10"}, []string{"--vpc-cidr", "--data-centre"}},
		{[]string{"--virtual", "--vpc-cidr", "10.0.0.0/16", "--", "10.0.1.10"}, []string{"--virtual", "--vpc-cidr"}},
		{[]string{"--plain", "3", "--", "10.0.1.10"}, []string{"--plain", "--ips"}},
		{[]string{"--", "--ips", "10.0.1.20-29"}, []string{"--ips", "--plain"}},
		{[]string{"--plain", "3", "--tasks", "1", "--", "--ips", "10.0.1.20-29"}, []string{"--plain", "--tasks"}},
		{[]string{"--plain", "3", "--shell", "core-1", "--", "--ips", "10.0.1.20-29"}, []string{"--shell core-1", "node-1, node-2, node-3"}},
		{[]string{"--core", "1000", "--", "10.0.1.10"}, []string{"1001 nodes"}},
		{[]string{"--binary", "/nowhere/at/all", "--", "10.0.1.10"}, []string{"/nowhere/at/all"}},
	} {
		output, code := emrsim(t, append([]string{"launch"}, test.args...)...)
		if code != 2 {
			t.Errorf("%q: exit code %d, want 2\n%s", test.args, code, output)
		}
		for _, s := range test.says {
			if !strings.Contains(output, s) {
				t.Errorf("%q: output does not name %s\n%s", test.args, s, output)
			}
		}
	}
}

// TestLaunchLeavesNothing ends a rehearsal while the agents run, by each signal.
func TestLaunchLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			// No other process has this name in its command line.
			name := fmt.Sprintf("agent-%d-%d.sh", os.Getpid(), signal)
			if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho working >&2\nsleep 60\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			temporary := filepath.Join(dir, "tmp")
			if err := os.Mkdir(temporary, 0o700); err != nil {
				t.Fatal(err)
			}
			before, mounted := machine(t), mounts(t)
			cmd := command(t, "launch", "--binary", filepath.Join(dir, name), "--", "10.0.1.10", "10.0.1.11")
			cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
			output, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			var errors bytes.Buffer
			cmd.Stderr = &errors
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var seen bytes.Buffer
			buffer := make([]byte, 1024)
			for strings.Count(seen.String(), "working") < 2 {
				n, err := output.Read(buffer)
				seen.Write(buffer[:n])
				if err != nil {
					cmd.Wait()
					skipWithoutNamespaces(t, errors.String())
					t.Fatalf("ended before the agents worked: %v\n%s%s", err, &seen, &errors)
				}
			}
			if processes(t, name) == 0 {
				t.Fatal("no running agent was found")
			}
			start := time.Now()
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			go func() { // reads to the end
				for err := error(nil); err == nil; _, err = output.Read(buffer) {
				}
			}()
			cmd.Wait()
			want := map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 130, syscall.SIGKILL: -1}[signal]
			if got := cmd.ProcessState.ExitCode(); got != want {
				t.Errorf("exit code %d, want %d\n%s", got, want, &errors)
			}
			for processes(t, name) > 0 && time.Since(start) < 20*time.Second {
				time.Sleep(20 * time.Millisecond)
			}
			if n := processes(t, name); n > 0 {
				t.Errorf("%d processes are still running", n)
			}
			if after := machine(t); after != before {
				t.Errorf("the machine's network was changed: before\n%s\nafter\n%s", before, after)
			}
			for _, m := range mounts(t) {
				if !slices.Contains(mounted, m) {
					t.Errorf("still mounted: %s", m)
				}
			}
			if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
				t.Errorf("files are left: %v %v", left, err)
			}
		})
	}
}

// machine returns the network state of the test's namespaces.
func machine(t *testing.T) string {
	t.Helper()
	state := ""
	for _, c := range [][]string{{"ip", "-oneline", "link"}, {"ip", "-oneline", "address"}, {"ip", "rule"}, {"ip", "route", "show", "table", "all"},
		{"nft", "--stateless", "list", "ruleset"}} {
		out, err := exec.Command(c[0], c[1:]...).CombinedOutput()
		if err != nil && c[0] == "ip" {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
		state += string(out)
	}
	names, err := filepath.Glob("/run/netns/*")
	if err != nil {
		t.Fatal(err)
	}
	return state + strings.Join(names, "\n")
}

// mounts returns the lines of mountinfo. A line may vanish when another program removes the mounted
// directory.
func mounts(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// processes counts the processes that have a text in their command line.
func processes(t *testing.T, text string) (n int) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if line, err := os.ReadFile(l); err == nil && bytes.Contains(line, []byte(text)) && !strings.HasPrefix(l, fmt.Sprintf("/proc/%d/", os.Getpid())) {
			n++
		}
	}
	return n
}
