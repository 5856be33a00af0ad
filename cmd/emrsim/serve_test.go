package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// served starts emrsim serve and returns its output and the environment that it prints.
func served(t *testing.T, args ...string) (cmd *exec.Cmd, text string, env []string) {
	t.Helper()
	// With a seed the primary addresses are always the same: none is one that a test assigns.
	cmd = command(t, append([]string{"serve", "--seed", "1"}, args...)...)
	var out, problems lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for start := time.Now(); !strings.Contains(out.String(), "# CORE"); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > 30*time.Second {
			t.Fatalf("no address: %s%s", out.String(), problems.String())
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^export (\S+)$`).FindAllStringSubmatch(out.String(), -1) {
		env = append(env, m[1])
	}
	return cmd, out.String(), env
}

// aws runs the AWS CLI against the model only.
func aws(t *testing.T, env []string, args ...string) (stdout string, err error) {
	t.Helper()
	path, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("the AWS CLI is not installed")
	}
	c := exec.CommandContext(t.Context(), path, append(args, "--output", "json")...)
	c.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_MAX_ATTEMPTS=1", "AWS_PAGER="}, env...)
	var out, problems bytes.Buffer
	c.Stdout, c.Stderr = &out, &problems
	if err = c.Run(); err != nil {
		t.Logf("aws %v: %v\n%s", args, err, problems.String())
		return problems.String(), err
	}
	return out.String(), nil
}

// TestServe lets the AWS CLI use the model.
func TestServe(t *testing.T) {
	t.Parallel()
	cmd, text, env := served(t, "--quotas", "none", "--describe-lag", "0s")
	m := regexp.MustCompile(`(?m)^# CORE +(i-\w+) (eni-\w+) (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no core node:\n%s", text)
	}
	instance, eni := m[1], m[2]
	if out, err := aws(t, env, "ssm", "put-parameter", "--name", "/emr-static-ip/test", "--type", "String", "--value", "one"); err != nil || !strings.Contains(out, `"Version": 1`) {
		t.Errorf("put-parameter: %v %s", err, out)
	}
	if out, err := aws(t, env, "ssm", "put-parameter", "--name", "/emr-static-ip/test", "--type", "String", "--value", "two"); err == nil || !strings.Contains(out, "ParameterAlreadyExists") {
		t.Errorf("put-parameter again: %v %s", err, out)
	}
	if out, err := aws(t, env, "ec2", "assign-private-ip-addresses", "--network-interface-id", eni, "--private-ip-addresses", "10.0.1.11"); err != nil {
		t.Errorf("assign-private-ip-addresses: %v %s", err, out)
	}
	out, err := aws(t, env, "ec2", "describe-network-interfaces", "--network-interface-ids", eni)
	var described struct {
		NetworkInterfaces []struct {
			Attachment         struct{ InstanceId string }
			PrivateIpAddresses []struct {
				PrivateIpAddress string
				Primary          bool
			}
		}
	}
	if err != nil || json.Unmarshal([]byte(out), &described) != nil || len(described.NetworkInterfaces) != 1 {
		t.Fatalf("describe-network-interfaces: %v %s", err, out)
	}
	if got := described.NetworkInterfaces[0]; got.Attachment.InstanceId != instance || len(got.PrivateIpAddresses) != 2 || got.PrivateIpAddresses[1].PrivateIpAddress != "10.0.1.11" {
		t.Errorf("describe-network-interfaces: %s", out)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
}

// TestServeFaults checks that a fault and a quota of the command line reach the caller.
func TestServeFaults(t *testing.T) {
	t.Parallel()
	_, text, env := served(t, "--fault", "ec2:AssignPrivateIpAddresses=throttle", "--quota", "ssm:PutParameter=0/1")
	eni := regexp.MustCompile(`eni-\w+`).FindString(text)
	if out, err := aws(t, env, "ec2", "assign-private-ip-addresses", "--network-interface-id", eni, "--private-ip-addresses", "10.0.1.11"); err == nil || !strings.Contains(out, "RequestLimitExceeded") {
		t.Errorf("assign-private-ip-addresses: %v %s", err, out)
	}
	for n, want := range []string{`"Version": 1`, "ThrottlingException"} {
		if out, err := aws(t, env, "ssm", "put-parameter", "--name", "/a", "--type", "String", "--value", "x", "--overwrite"); (err == nil) != (n == 0) || !strings.Contains(out, want) {
			t.Errorf("put-parameter %d: %v %s", n, err, out)
		}
	}
}

func TestServeRefuses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	defer taken.Close()
	for says, args := range map[string][]string{
		"--fault":       {"--fault", "ssm:PutParameter=explode"},
		":PROBABILITY":  {"--fault", "ssm:PutParameter=fail:2"},
		"--quota ":      {"--quota", "ssm:PutParameter=1"},
		"--quotas":      {"--quotas", "many"},
		"--subnet":      {"--subnet", "10.0.1.1/24"},
		"--release":     {"--release", "seven"},
		"--masters":     {"--masters", "2"},
		"--listen":      {"--listen", taken.Addr().String()},
		"--latency":     {"--latency", "-1s"},
		"--stale":       {"--stale", "3"},
		"Insufficient":  {"--subnet", "10.0.1.0/28", "--core", "20"},
		"nothing is ex": {"more"},
	} {
		if output, code := emrsim(t, append([]string{"serve"}, args...)...); code != 2 || !strings.Contains(output, says) {
			t.Errorf("serve %v: exit code %d, want 2 and %q\n%s", args, code, says, output)
		}
	}
}
