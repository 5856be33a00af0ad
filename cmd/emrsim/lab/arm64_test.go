package lab

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestARM64 fetches the arm64 binary as a Graviton node does, and runs it under qemu's user mode
// emulation on an instance of the model. It runs version, and a plan, which uses IMDS, EC2,
// Parameter Store and the kernel. The node has the iptables program, because the emulation has no
// netlink for netfilter.
func TestARM64(t *testing.T) {
	needNamespaces(t)
	emulator := ""
	for _, name := range []string{"qemu-aarch64-static", "qemu-aarch64"} {
		if path, err := exec.LookPath(name); err == nil && emulator == "" {
			emulator = path
		}
	}
	if emulator == "" {
		t.Skip("no qemu-aarch64-static here (Debian: apt-get install qemu-user-static): the arm64 binary is not run")
	}
	path := need(t, func() (string, error) {
		return compile("../../..", "emr-static-ip-arm64", "-s -w -X "+versionVariable+"=v1-arm", "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	})
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := launch(t, nil)
	core := c.Nodes()[1]
	b := openBucket(t, core)
	p := publication{base: "s3://bucket/prefix", amd64: echoProgram("amd64"), arm64: program}
	b.put(p.objects())
	if err := core.WriteFile("/run/graviton/uname", []byte("#!/bin/sh\necho aarch64\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := core.Output(t.Context(), "chmod", "755", "/run/graviton/uname"); err != nil {
		t.Fatal(err)
	}
	env := withCLI(t, core, b)
	env[0] = "PATH=/run/graviton:" + strings.TrimPrefix(env[0], "PATH=")
	// If the machine's kernel runs foreign binaries through qemu, the binary runs. Otherwise
	// bootstrap.sh says that it cannot start.
	got, err := c.Run(t.Context(), core, Command{Program: p.bootstrap(t), Args: []string{"version"}, Env: env})
	if err != nil || got.ExitCode != 0 && !(got.ExitCode == 1 && strings.Contains(got.Stderr, "it is built for arm64")) || !strings.Contains(got.Stderr, "installed version v1-test for arm64") {
		t.Fatalf("bootstrap.sh: %v, exit code %d\n%s%s", err, got.ExitCode, got.Stdout, got.Stderr)
	}
	run := func(args ...string) Result {
		t.Helper()
		got, err := c.Run(t.Context(), core, Command{Program: emulator, OnNode: true, Args: append([]string{installedProgram}, args...)})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := run("version"); got.ExitCode != 0 || !strings.Contains(got.Stdout, "v1-arm ") || !strings.Contains(got.Stdout, "linux/arm64") {
		t.Errorf("version: exit code %d\n%s%s", got.ExitCode, got.Stdout, got.Stderr)
	}
	before := snapshot(t, core)
	for range 3 { // under emulation on a busy machine the program may notice the end of iptables too late
		if got = run("plan", "10.0.1.10", "10.0.1.11", "10.0.1.12"); got.ExitCode == 0 {
			break
		}
	}
	for _, want := range []string{"assign 10.0.1.1", "ip addr add 10.0.1.1", "EMR-STATIC-IP-OUT", "/emr-static-ip/" + c.SubnetID + "/10.0.1.1"} {
		if got.ExitCode != 0 || !strings.Contains(got.Stdout, want) {
			t.Fatalf("plan: exit code %d, want %q\n%s%s", got.ExitCode, want, got.Stdout, got.Stderr)
		}
	}
	expectUntouched(t, c, core, before)
}
