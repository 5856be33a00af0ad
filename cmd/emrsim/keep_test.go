package main

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/terminal"
)

// kept launches what stays, with these arguments, and returns its process id and a function that
// asks it.
func kept(t *testing.T, args ...string) (cmd *exec.Cmd, out *lockedBuffer, ask func(input string, args ...string) (string, int)) {
	t.Helper()
	cmd, out = command(t, append([]string{"launch", "--keep"}, args...)...), &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	ended := make(chan struct{})
	go func() {
		cmd.Process.Wait()
		close(ended)
	}()
	for !strings.Contains(out.String(), "The cluster stays until Ctrl-C") {
		select {
		case <-ended:
			skipWithoutNamespaces(t, out.String())
			t.Fatalf("the rehearsal has ended:\n%s", out.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	return cmd, out, func(input string, args ...string) (string, int) {
		t.Helper()
		c := command(t, append([]string{args[0], "--pid", pid}, args[1:]...)...)
		c.Stdin = strings.NewReader(input)
		text, err := c.CombinedOutput()
		if c.ProcessState == nil {
			t.Fatal(err)
		}
		return string(text), c.ProcessState.ExitCode()
	}
}

// TestKeep works with a cluster from other terminals, and ends it by Ctrl-C.
func TestKeep(t *testing.T) {
	t.Parallel()
	cmd, out, ask := kept(t, "--", "10.0.1.10", "10.0.1.11", "10.0.1.12")
	for _, test := range []struct {
		input string
		args  []string
		code  int
		says  string
	}{
		{"", []string{"nodes"}, 0, `(?m)^core-1 +CORE +i-[0-9a-f]+ +[0-9.]+ +10\.0\.1\.1[12]$`},
		{"", []string{"exec", "core-1", "--", "emr-static-ip", "status"}, 0, `(?m)^status +in order`},
		{"", []string{"exec", "core-1", "ip", "-oneline", "link"}, 0, "ens5"},
		{"echo to stderr >&2; exit 4\n", []string{"exec", "core-1", "--", "sh"}, 4, "^to stderr\n$"},
		{"", []string{"exec", "core-1", "--", "no-such-program"}, 127, "no-such-program: command not found on the node"},
		{"", []string{"exec", "core-9", "--", "true"}, 2, `no node "core-9": there are master, core-1, core-2`},
		{"exit 3\n", []string{"shell", "core-1"}, 3, ""},
		{"", []string{"end", "core-1"}, 0, `(?s)actions run\n[^\n]* INFO .*\nversion .*\nchanged=.*instance i-[0-9a-f]+ is terminated\n$`},
		{"", []string{"nodes"}, 0, `^NODE.*\nmaster.*\ncore-2.*\n$`},
		{"", []string{"add", "core"}, 0, `(?s)runs\n[^\n]* INFO .*\nversion .*\nstatic IP +10\.0\.1\.1[12]\n.*\nchanged=[^\n]*\n$`},
		{"", []string{"nodes"}, 0, `(?m)^core-3 +CORE +i-[0-9a-f]+ +[0-9.]+ +10\.0\.1\.1[12]$`},
		{"", []string{"end", "--abrupt", "core-3"}, 0, "is terminated"},
		{"", []string{"end"}, 2, "which node"},
		{"", []string{"add", "boss"}, 2, "which role"},
		{"", []string{"add", "node"}, 2, "emrsim add core"},
		{"", []string{"exec", "core-2", "--"}, 2, "a node and a command"},
	} {
		text, code := ask(test.input, test.args...)
		if code != test.code || !regexp.MustCompile(test.says).MatchString(text) {
			t.Errorf("emrsim %v: exit code %d, want %d and %q:\n%s", test.args, code, test.code, test.says, text)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); !strings.Contains(out.String(), "the cluster is removed"); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("Ctrl-C does not end it:\n%s", out.String())
		}
	}
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		text, code := ask("", "nodes")
		if code == 2 && strings.Contains(text, "there is no rehearsal of yours") {
			break
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("after the end: exit code %d\n%s", code, text)
		}
	}
}

// TestKeepPlain works with instances outside EMR from other terminals.
func TestKeepPlain(t *testing.T) {
	t.Parallel()
	_, out, ask := kept(t, "--plain", "2", "--", "--ips", "10.0.1.20-29")
	if text := out.String(); !strings.Contains(text, "emrsim exec node-1") || strings.Contains(text, "core-1") {
		t.Errorf("the commands that may follow:\n%s", text)
	}
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"exec", "node-1", "--", "emr-static-ip", "status"}, 0, `(?m)^status +in order`},
		{[]string{"end", "node-2"}, 0, `^node-2: systemd .*\nnode-2: instance i-[0-9a-f]+ is terminated\n$`},
		{[]string{"add", "core"}, 2, "emrsim add node"},
		{[]string{"add", "node"}, 0, `(?m)^static IP +10\.0\.1\.2[0-9]$`},
	} {
		text, code := ask("", test.args...)
		if code != test.code || !regexp.MustCompile(test.says).MatchString(text) {
			t.Errorf("emrsim %v: exit code %d, want %d and %q:\n%s", test.args, code, test.code, test.says, text)
		}
	}
}

// TestKeepKilled kills a rehearsal that stays: neither its nodes nor its socket are left.
func TestKeepKilled(t *testing.T) {
	t.Parallel()
	cmd, _, ask := kept(t, "--", "10.0.1.10", "10.0.1.11", "10.0.1.12")
	if _, code := ask("", "nodes"); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	name := "@emrsim-" + strconv.Itoa(os.Geteuid()) + "-" + strconv.Itoa(cmd.Process.Pid)
	if text, err := os.ReadFile("/proc/net/unix"); err != nil || !strings.Contains(string(text), name+"\n") {
		t.Fatalf("no socket %s: %v", name, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile("/proc/net/unix")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), name+"\n") {
			break
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("the socket %s is left", name)
		}
	}
}

// TestShellInTerminal opens a shell of a rehearsal in a terminal. The shell has job control, and
// its end leaves no message. A program that it left in the background does not delay the end.
func TestShellInTerminal(t *testing.T) {
	t.Parallel()
	master, tty, err := terminal.Open()
	if err != nil {
		t.Skip(err)
	}
	defer master.Close()
	if err := terminal.Resize(master, terminal.Size{Rows: 33, Columns: 99}); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "launch", "--shell", "core-1", "--", "10.0.1.10", "10.0.1.11")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	var out lockedBuffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		buffer := make([]byte, 4096)
		for {
			n, err := master.Read(buffer)
			out.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	}()
	for !strings.Contains(out.String(), "core-1# ") {
		select {
		case <-read:
			skipWithoutNamespaces(t, out.String())
			t.Fatalf("no shell:\n%s", out.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	if _, err := master.Write([]byte("stty size; sleep 100 & jobs; echo $((6 * 7))\nexit\n")); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	<-read
	err = cmd.Wait()
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("the rehearsal ended %s after its shell", took)
	}
	text := out.String()
	_, shell, _ := strings.Cut(text, "a shell on core-1")
	for _, want := range []string{"33 99", "sleep 100", "\r\n42\r\n", "emr-static-ip status"} {
		if !strings.Contains(shell, want) {
			t.Errorf("the shell lacks %q", want)
		}
	}
	for _, not := range []string{"tty process group", "no job control", "No such process"} {
		if strings.Contains(text, not) {
			t.Errorf("the terminal shows %q", not)
		}
	}
	if err != nil || t.Failed() {
		t.Errorf("%v\n%s", err, text)
	}
}
