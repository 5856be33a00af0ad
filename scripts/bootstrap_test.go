package scripts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// awsCLI returns the path of the AWS CLI. It skips the test if there is none that works.
func awsCLI(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("the AWS CLI is not installed: only the tests with its stand-in run (cmd/emrsim/lab and TestPublish)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput(); err != nil {
		t.Skipf("the AWS CLI does not work here: %v: %s", err, out)
	}
	return path
}

// awsEnvironment returns an environment in which the AWS CLI can reach only one endpoint.
func awsEnvironment(t *testing.T, endpoint string) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") && !strings.Contains(strings.ToUpper(v), "PROXY=") {
			env = append(env, v)
		}
	}
	dir := t.TempDir()
	return append(env, "AWS_ENDPOINT_URL_S3="+endpoint, "AWS_ENDPOINT_URL="+endpoint, "AWS_ACCESS_KEY_ID=AKIATEST", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION=eu-west-1",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+dir+"/config", "AWS_SHARED_CREDENTIALS_FILE="+dir+"/credentials", "AWS_MAX_ATTEMPTS=1")
}

// TestBootstrapHelp checks that bootstrap.sh explains itself, also as a copy that fetches nothing.
func TestBootstrapHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"s3://bucket/prefix", "--help"}} {
		if code, out := runScript(t, nil, "./bootstrap.sh", args...); code != 0 || !strings.HasPrefix(out, "usage: bootstrap.sh [BASE] MASTER_IP CORE_IP...\n") {
			t.Errorf("%q: exit code %d\n%s", args, code, out)
		}
	}
}

// TestBootstrapWithAWSCLI runs bootstrap.sh with the real AWS CLI. The other tests in
// cmd/emrsim/lab use a stand-in for the CLI.
func TestBootstrapWithAWSCLI(t *testing.T) {
	awsCLI(t)
	needRoot(t)
	source, err := os.ReadFile("bootstrap.sh")
	if err != nil {
		t.Fatal(err)
	}
	program := append([]byte("#!/bin/sh\necho \"told $1\"\nexit 7\n#"), bytes.Repeat([]byte("x"), 12<<20)...) // large enough for the CLI to fetch it in parts
	sum := fmt.Sprintf("%x", sha256.Sum256(program))
	status, content := 0, program
	s3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case status != 0:
			w.WriteHeader(status)
		case !strings.HasPrefix(r.URL.Path, "/bucket/a/prefix/emr-static-ip-linux-") || !strings.HasSuffix(r.URL.Path, "-"+sum[:12]):
			w.WriteHeader(http.StatusNotFound)
		default:
			w.Header().Set("ETag", `"x"`)
			http.ServeContent(w, r, "", time.Unix(1, 0), bytes.NewReader(content))
		}
	}))
	defer s3.Close()
	for _, test := range []struct {
		name, endpoint string
		status         int
		content        []byte
		base           string
		code           int
		says           string
	}{
		{"right", s3.URL, 0, program, "s3://bucket/a/prefix", 7, "installed version"},
		{"wrong checksum", s3.URL, 0, []byte("other"), "s3://bucket/a/prefix", 1, "wrong checksum"},
		{"no access", s3.URL, 403, nil, "s3://bucket/a/prefix", 4, "(403)"},
		{"missing", s3.URL, 0, nil, "s3://bucket/other", 1, "(404)"},
		{"refused", "http://127.0.0.1:1", 0, nil, "s3://bucket/a/prefix", 5, "cannot reach"},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, content = test.status, test.content
			dir := t.TempDir()
			installed := filepath.Join(dir, "sbin", "emr-static-ip")
			text := strings.NewReplacer("@BASE@", test.base, "@VERSION@", "v1", "@SHA256_AMD64@", sum, "@SHA256_ARM64@", sum,
				"program=/usr/local/sbin/emr-static-ip\n", "program="+installed+"\n", "attempts=4 ", "attempts=1 ").Replace(string(source))
			script := filepath.Join(dir, "bootstrap.sh")
			if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, script, "a b")
			cmd.Env = append(awsEnvironment(t, test.endpoint), "TMPDIR="+dir)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			_ = cmd.Run()
			code := cmd.ProcessState.ExitCode()
			if code != test.code || !strings.Contains(stderr.String(), test.says) || (code == 7) != (stdout.String() == "told a b\n") {
				t.Errorf("exit code %d, want %d and %q\n%s%s", code, test.code, test.says, &stdout, &stderr)
			}
			if _, err := os.Stat(installed); (err == nil) != (code == 7) {
				t.Errorf("installed: %v", err)
			}
		})
	}
}
