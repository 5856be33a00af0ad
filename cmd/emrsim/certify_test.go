package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/certify"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// endpointOf returns the address in the environment that emrsim serve prints.
func endpointOf(t *testing.T, env []string) string {
	t.Helper()
	for _, v := range env {
		if address, ok := strings.CutPrefix(v, "AWS_ENDPOINT_URL="); ok {
			return address
		}
	}
	t.Fatalf("no endpoint in %q", env)
	return ""
}

// certifier returns a command certify about the model that emrsim serve serves.
func certifier(t *testing.T, env []string, out *lockedBuffer, args ...string) *exec.Cmd {
	t.Helper()
	cmd := command(t, append([]string{"certify", "--endpoint", endpointOf(t, env)}, args...)...)
	for _, v := range append(os.Environ(), env...) {
		if !strings.HasPrefix(v, "AWS_ENDPOINT_URL=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd
}

// TestCertify compares the model with the model in another process.
func TestCertify(t *testing.T) {
	t.Parallel()
	_, _, env := served(t, "--quotas", "paid", "--describe-lag", "0s")
	file := filepath.Join(t.TempDir(), "r.json")
	var out lockedBuffer
	if err := certifier(t, env, &out, "--gentle", "--out", file).Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	rec, err := certify.Read(file)
	if err != nil || len(rec.Steps) < 60 {
		t.Errorf("%d steps: %v", len(rec.Steps), err)
	}
	for _, v := range certify.Verdicts(rec) {
		if !v.Confirmed {
			t.Errorf("%s is contradicted: %s", v.Fact.ID, v.Evidence)
		}
	}
}

// TestCertifyDiffers compares the model with one whose answers are disturbed: exit code 1.
func TestCertifyDiffers(t *testing.T) {
	t.Parallel()
	_, _, env := served(t, "--quotas", "none", "--describe-lag", "0s", "--fault", "ssm:GetParameter=deny")
	var out lockedBuffer
	cmd := certifier(t, env, &out, "--gentle")
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(out.String(), "AccessDeniedException") {
		t.Errorf("exit code %d: %v\n%s", cmd.ProcessState.ExitCode(), err, out.String())
	}
}

// TestCertifyInterrupted ends runs by signals. After SIGINT and SIGTERM nothing is left; after
// SIGKILL --cleanup removes what is left.
func TestCertifyInterrupted(t *testing.T) {
	t.Parallel()
	_, _, env := served(t, "--quotas", "default", "--describe-lag", "0s")
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		var out lockedBuffer
		cmd := certifier(t, env, &out, "--verbose")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); !strings.Contains(out.String(), "\nput below "); time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > time.Minute {
				t.Fatalf("no steps:\n%s", out.String())
			}
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		killed := signal == syscall.SIGKILL
		if code := cmd.ProcessState.ExitCode(); !killed && code != 130 {
			t.Errorf("%v: exit code %d, want 130\n%s", signal, code, out.String())
		}
		for n, want := range []int{2, 0} {
			var removed lockedBuffer
			if err := certifier(t, env, &removed, "--cleanup").Run(); err != nil {
				t.Fatalf("%v: %v\n%s", signal, err, removed.String())
			}
			if got := strings.Count(removed.String(), "removed eni-"); killed && got != want || !killed && strings.Contains(removed.String(), "removed ") {
				t.Errorf("%v: cleanup %d:\n%s", signal, n+1, removed.String())
			}
		}
	}
}

// TestCertifyTimeout ends a run by its deadline: exit code 1, and nothing is left.
func TestCertifyTimeout(t *testing.T) {
	t.Parallel()
	_, _, env := served(t, "--quotas", "none", "--describe-lag", "0s")
	var out, removed lockedBuffer
	cmd := certifier(t, env, &out, "--timeout", "2s")
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%v\n%s", err, out.String())
	}
	if err := certifier(t, env, &removed, "--cleanup").Run(); err != nil || strings.Contains(removed.String(), "removed ") {
		t.Errorf("%v\n%s", err, removed.String())
	}
}

// TestCertifyUsage checks that wrong usage is refused before anything is made, and that nothing is
// made on AWS without --yes.
func TestCertifyUsage(t *testing.T) {
	t.Parallel()
	const onAWS = "--aws --region us-east-1 --subnet subnet-0a1b2c3d --prefix /certify"
	for line, names := range map[string][]string{
		"--aws":                               {"--region", "--subnet", "--prefix"},
		"--aws --endpoint http://127.0.0.1:1": {"--aws", "--endpoint"},
		"--endpoint 127.0.0.1":                {"--endpoint"},
		"--endpoint https://ec2.us-east-1.amazonaws.com":                    {"--endpoint", "--aws"},
		"--endpoint http://127.0.0.1:1 --prefix /aws/x":                     {"--prefix"},
		"--endpoint http://127.0.0.1:1 --prefix certify":                    {"--prefix"},
		"--endpoint http://127.0.0.1:1 --subnet eni-0a1b2c3d --region mars": {"--subnet", "--region"},
		"--endpoint http://127.0.0.1:1 --timeout 0s":                        {"--timeout"},
		"--cleanup":          {"--cleanup", "--endpoint"},
		onAWS:                {"--yes", "subnet-0a1b2c3d", "/certify/certify-", "--policy", "--gentle", "--cleanup"},
		onAWS + " --cleanup": {"--yes", "subnet-0a1b2c3d", certify.Tag},
		"more":               {},
	} {
		output, code := emrsim(t, append([]string{"certify"}, strings.Fields(line)...)...)
		if code != 2 {
			t.Errorf("certify %s: exit code %d, want 2\n%s", line, code, output)
		}
		for _, name := range names {
			if !strings.Contains(output, name) {
				t.Errorf("certify %s: the output lacks %s:\n%s", line, name, output)
			}
		}
	}
	for _, variable := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_SSM"} {
		var out lockedBuffer
		cmd := command(t, append([]string{"certify"}, strings.Fields(onAWS)...)...)
		cmd.Env = append(os.Environ(), variable+"=http://127.0.0.1:1")
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != 2 || !strings.Contains(out.String(), "http://127.0.0.1:1") {
			t.Errorf("%s: %v\n%s", variable, err, out.String())
		}
	}
	output, code := emrsim(t, append([]string{"certify", "--policy", "-"}, strings.Fields(onAWS)...)...)
	if _, err := iam.ParsePolicy([]byte(output)); code != 0 || err != nil {
		t.Errorf("the policy: exit code %d, %v\n%s", code, err, output)
	}
}
