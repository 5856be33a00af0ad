package scripts

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// runScript runs a program with a time limit and returns its exit code and output.
func runScript(t *testing.T, env []string, program string, args ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// makeDist makes a distribution with a small program instead of the real one.
func makeDist(t *testing.T, version string) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module example.com/program\n\ngo 1.24\n",
		"main.go": "package main\n\nimport \"os\"\n\nfunc main() {\n\tprintln(\"usage: program\")\n\tos.Exit(2)\n}\n",
	} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if code, out := runScript(t, []string{"CGO_ENABLED=0"}, "go", "build", "-C", dir, "-trimpath", "-ldflags", "-s -w", "-o", "program"); code != 0 {
		t.Fatal(out)
	}
	program, err := os.ReadFile(dir + "/program")
	if err != nil {
		t.Fatal(err)
	}
	for _, architecture := range []string{"amd64", "arm64"} {
		// Both programs run on this machine and differ only in the bytes at the end, which do no
		// harm.
		if err := os.MkdirAll(dir+"/bin", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/bin/emr-static-ip-linux-"+architecture, []byte(string(program)+version+architecture), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if code, out := runScript(t, nil, "./dist.sh", version, dir+"/bin", dir+"/dist"); code != 0 || !strings.Contains(out, "next, make publish TO=s3://") {
		t.Fatal(out)
	}
	// Licences go along with the code: Go's own is linked into each program.
	for name, want := range map[string]string{
		"THIRD-PARTY-NOTICES.txt":            "\nstd " + runtime.Version() + ": BSD-3-Clause\n",
		"emr-static-ip-linux-amd64.cdx.json": `"id": "BSD-3-Clause"`,
		"emr-static-ip-linux-arm64.cdx.json": `"id": "Apache-2.0"`,
	} {
		if text, err := os.ReadFile(filepath.Join(dir, "dist", name)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %q: %v", name, want, err)
		}
	}
	return dir + "/dist"
}

// s3Store returns a stand-in for the AWS CLI that keeps objects in a directory. It implements the
// calls of the scripts and fails at the call with the number FAIL_AT.
func s3Store(t *testing.T) (dir string, env []string) {
	t.Helper()
	dir = t.TempDir()
	stub := `#!/bin/bash
# aws s3 cp [options] [--] FROM TO. --recursive takes all of a directory; what comes back is what --include names.
set -euo pipefail
echo "$*" >>"$STORE/calls"
[ "$(wc -l <"$STORE/calls")" != "${FAIL_AT:-}" ] || { echo "upload failed: An error occurred (AccessDenied) when calling the PutObject operation: Access Denied" >&2; exit 1; }
[ "$1 $2 $3" = "s3 cp --only-show-errors" ] || { echo "unknown: $*" >&2; exit 252; }
shift 3
recursive='' include=()
while [ $# -gt 2 ]; do
	case $1 in
	--) shift ;;
	--recursive) recursive=1; shift ;;
	--exclude) [ "$2" = '*' ] || exit 252; shift 2 ;;
	--include) include+=("$2"); shift 2 ;;
	--cli-*) shift 2 ;;
	*) echo "unknown: $1" >&2; exit 252 ;;
	esac
done
from=$1 to=$2
case $from in s3://*) from=$STORE/${from#s3://} ;; esac
case $to in s3://*) to=$STORE/${to#s3://} ;; esac
case $recursive:$1:$2 in
:s3://*:-) cat "$from" ;;
1:s3://*) for file in "${include[@]}"; do mkdir -p "$(dirname "$to/$file")"; cp "$from/$file" "$to/$file"; done ;;
:s3://*) cp "$from" "$to" ;;
1:*)
	mkdir -p "$to"
	cp -r "$from/." "$to"
	# Many at once, in any order: when the upload breaks off, the version that is in force may have lost all but its own objects.
	[ -z "${HALF:-}" ] || exit 1
	;;
*) mkdir -p "$(dirname "$to")"; cp "$from" "$to" ;;
esac
case $2:$(wc -l <"$STORE/calls") in
s3://*:"${SPOIL_AT:-}") if [ -d "$to" ]; then echo spoilt >>"$to/VERSION"; else echo spoilt >>"$to"; fi ;;
esac
`
	bin := t.TempDir()
	if err := os.WriteFile(bin+"/aws", []byte(stub), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, []string{"STORE=" + dir, "PATH=" + bin + ":" + os.Getenv("PATH"), "AWS_REGION=eu-west-1"}
}

// storedObjects returns the files of the store below a bucket.
func storedObjects(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir+"/bucket", func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		found[strings.TrimPrefix(p, dir+"/bucket/")] = string(data)
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return found
}

// bootFrom runs a published bootstrap.sh that installs into a temporary directory. The output of
// the program follows the output of bootstrap.sh.
func bootFrom(t *testing.T, script string, env []string, args ...string) (int, string) {
	t.Helper()
	needRoot(t)
	installed := filepath.Join(t.TempDir(), "sbin", "emr-static-ip")
	text := strings.Replace(script, "program=/usr/local/sbin/emr-static-ip\n", "program="+installed+"\n", 1)
	path := filepath.Join(t.TempDir(), "bootstrap.sh")
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil || text == script {
		t.Fatal("bootstrap.sh: ", err)
	}
	return runScript(t, env, path, args...)
}

func TestPublish(t *testing.T) {
	one, two := makeDist(t, "v1"), makeDist(t, "v2")
	dir, env := s3Store(t)
	const base = "s3://bucket/a/prefix"
	publish := func(dist string, extra ...string) (int, string) {
		os.Remove(dir + "/calls")
		return runScript(t, append(slices.Concat(env, extra), "DIST="+dist), "./publish.sh", base)
	}

	if code, out := runScript(t, append(env, "DIST="+one), "./publish.sh", base+"/", "--dry-run"); code != 0 || len(storedObjects(t, dir)) > 0 || !strings.Contains(out, "-> "+base+"/bootstrap.sh\n") {
		t.Errorf("--dry-run: exit code %d, %d objects\n%s", code, len(storedObjects(t, dir)), out)
	}
	if code, out := publish(one); code != 0 || !strings.Contains(out, "Path="+base+"/bootstrap.sh,Args=") {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	calls, err := os.ReadFile(dir + "/calls")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(calls)), "\n")
	if last := lines[len(lines)-2:]; !strings.HasSuffix(last[0], " "+base+"/bootstrap.sh") || !strings.HasSuffix(last[1], "bootstrap.sh -") {
		t.Errorf("bootstrap.sh was not uploaded last:\n%s", calls)
	}
	if len(lines) > 4 {
		t.Errorf("the AWS CLI was started %d times:\n%s", len(lines), calls)
	}
	first := storedObjects(t, dir)
	script := first["a/prefix/bootstrap.sh"]
	if !strings.Contains(script, "\nbase='"+base+"'\n") || !strings.Contains(script, "\nversion='v1'\n") {
		t.Errorf("bootstrap.sh:\n%.2000s", script)
	}
	for _, name := range []string{"emr-static-ip-linux-amd64", "emr-static-ip-linux-arm64", "emr-static-ip-linux-amd64.cdx.json", "emr-static-ip-linux-arm64.cdx.json", "LICENSE", "THIRD-PARTY-NOTICES.txt", "VERSION"} {
		if want, err := os.ReadFile(filepath.Join(one, name)); err != nil || first["a/prefix/"+name] != string(want) {
			t.Errorf("%s: %d bytes, %v", name, len(first["a/prefix/"+name]), err)
		}
	}
	if code, out := runScript(t, nil, "sh", "-c", "cd "+dir+"/bucket/a/prefix && sha256sum --quiet --check SHA256SUMS"); code != 0 {
		t.Errorf("SHA256SUMS: %s", out)
	}
	if code, out := bootFrom(t, script, env, "x"); runtime.GOARCH == "amd64" && (code != 2 || !strings.Contains(out, "installed version v1 for amd64") || !strings.Contains(out, "usage: program")) {
		t.Errorf("bootstrap.sh: exit code %d\n%s", code, out)
	}

	// If a step of the next version fails, or its upload is damaged, the former version must stay
	// in force and work.
	for _, fault := range []string{"HALF=1", "FAIL_AT=1", "FAIL_AT=2", "FAIL_AT=3", "SPOIL_AT=1"} {
		if code, out := publish(two, fault); code == 0 || !strings.Contains(out, "what was published before is in force") {
			t.Errorf("%s: exit code %d\n%s", fault, code, out)
		}
		now := storedObjects(t, dir)
		for _, p := range []string{"a/prefix/bootstrap.sh", sumName(script, "amd64"), sumName(script, "arm64")} {
			if now[p] != first[p] {
				t.Errorf("%s: %s was changed", fault, p)
			}
		}
	}
	if code, out := bootFrom(t, script, env, "x"); runtime.GOARCH == "amd64" && (code != 2 || !strings.Contains(out, "installed version v1 for amd64")) {
		t.Errorf("bootstrap.sh after a failed upload: exit code %d\n%s", code, out)
	}
	// bootstrap.sh is in force as soon as it is uploaded. If it is damaged, publish.sh must report
	// this.
	for _, fault := range []string{"FAIL_AT=4", "SPOIL_AT=3"} {
		if code, out := publish(two, fault); code == 0 || !strings.Contains(out, "publish again") {
			t.Errorf("%s: exit code %d\n%s", fault, code, out)
		}
	}
	// An upgrade and a rollback.
	for _, step := range []struct{ dist, version string }{{two, "v2"}, {one, "v1"}} {
		if code, out := publish(step.dist); code != 0 {
			t.Errorf("exit code %d\n%s", code, out)
		}
		if now := storedObjects(t, dir); !strings.Contains(now["a/prefix/bootstrap.sh"], "\nversion='"+step.version+"'\n") {
			t.Errorf("%s is not in force", step.version)
		}
	}
	if now := storedObjects(t, dir); now["a/prefix/bootstrap.sh"] != script {
		t.Error("publishing the same version again changed bootstrap.sh")
	}
}

// sumName returns the name of the object that a bootstrap.sh fetches.
func sumName(script, architecture string) string {
	_, sum, _ := strings.Cut(script, "\nsha256_"+architecture+"='")
	return "a/prefix/emr-static-ip-linux-" + architecture + "-" + sum[:12]
}

func TestPublishRefuses(t *testing.T) {
	dist := makeDist(t, "v1")
	dir, env := s3Store(t)
	if err := os.WriteFile(dist+"/LICENSE", []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		dist string
		code int
		says string
	}{
		{nil, dist, 2, "usage:"},
		{[]string{"--help"}, dist, 0, "DIST=DIRECTORY"},
		{[]string{"s3://bucket/x", "-h"}, dist, 0, "usage: publish.sh s3://BUCKET/PREFIX [--dry-run]\n"},
		{[]string{"bucket/prefix"}, dist, 2, "does not have the form s3://BUCKET/PREFIX"},
		{[]string{"s3://bucket/pre'fix"}, dist, 2, "does not have the form s3://BUCKET/PREFIX"},
		{[]string{"s3://bucket/a b"}, dist, 2, "does not have the form s3://BUCKET/PREFIX"},
		{[]string{"s3://"}, dist, 2, "'s3://' does not have the form"},
		{[]string{"s3://BUCKET/PREFIX"}, dist, 2, "put your bucket in the place of 'BUCKET'"},
		{[]string{"s3://bucket/x", "s3://bucket/y"}, dist, 2, "more than one"},
		{[]string{"s3://bucket/x", "--dryrun"}, dist, 2, "unknown flag"},
		{[]string{"s3://bucket/x"}, t.TempDir(), 1, "make dist"},
		{[]string{"s3://bucket/x"}, dist, 1, "not what make dist made"},
	} {
		if code, out := runScript(t, append(env, "DIST="+test.dist), "./publish.sh", test.args...); code != test.code || !strings.Contains(out, test.says) {
			t.Errorf("%q: exit code %d, want %d and %q\n%s", test.args, code, test.code, test.says, out)
		}
	}
	if found := storedObjects(t, dir); len(found) > 0 {
		t.Errorf("uploaded %d objects", len(found))
	}
}

// TestMakePublish checks that make publish reports a missing argument before it builds anything,
// and that make dist prints the next step.
func TestMakePublish(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip(err)
	}
	if code, out := runScript(t, nil, "make", "-C", "..", "--dry-run", "publish"); code == 0 || !strings.Contains(out, "make publish TO=s3://BUCKET/PREFIX") || strings.Contains(out, "go build") {
		t.Errorf("make publish without TO: exit code %d\n%s", code, out)
	}
	if code, out := runScript(t, nil, "make", "-C", "..", "--dry-run", "publish", "TO=bucket/x"); code == 0 || !strings.Contains(out, "TO=bucket/x does not begin with s3://") || strings.Contains(out, "build.sh") {
		t.Errorf("make publish to no place in S3: exit code %d\n%s", code, out)
	}
	if code, out := runScript(t, nil, "make", "-C", "..", "--dry-run", "publish", "TO=s3://bucket/x"); code != 0 || !strings.Contains(out, "publish.sh 's3://bucket/x'") {
		t.Errorf("make publish with TO: exit code %d\n%s", code, out)
	}
	if code, out := runScript(t, nil, "make", "-C", "..", "--dry-run", "dist"); code != 0 {
		t.Errorf("make dist: exit code %d\n%s", code, out)
	}
}

// TestPublishToMoto publishes with the real AWS CLI to an emulated S3, and runs the published
// bootstrap.sh.
func TestPublishToMoto(t *testing.T) {
	awsCLI(t)
	moto, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("moto_server is not installed: publish.sh is tested only with a stand-in for the AWS CLI")
	}
	dist := makeDist(t, "v1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	var said bytes.Buffer
	server := exec.CommandContext(t.Context(), moto, "-H", "127.0.0.1", "-p", port)
	server.Stdout, server.Stderr = &said, &said
	server.WaitDelay = time.Second
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Wait()
	defer server.Process.Kill()
	began := time.Now()
	for {
		resp, err := http.Get("http://" + address + "/moto-api/")
		if err == nil {
			resp.Body.Close()
			break
		}
		if time.Since(began) > 90*time.Second {
			t.Skipf("moto_server does not start: %v\n%s", err, &said)
		}
		time.Sleep(200 * time.Millisecond)
	}
	env := awsEnvironment(t, "http://"+address)
	if code, out := runScript(t, env, "aws", "s3", "mb", "s3://bucket"); code != 0 {
		t.Fatal(out)
	}
	if code, out := runScript(t, append(env, "DIST="+dist), "./publish.sh", "s3://bucket/a/prefix"); code != 0 {
		t.Fatal(out)
	}
	code, script := runScript(t, env, "aws", "s3", "cp", "--only-show-errors", "s3://bucket/a/prefix/bootstrap.sh", "-")
	if code != 0 {
		t.Fatal(script)
	}
	if code, out := bootFrom(t, script, env, "x"); runtime.GOARCH == "amd64" && (code != 2 || !strings.Contains(out, "installed version v1 for amd64")) {
		t.Errorf("bootstrap.sh: exit code %d\n%s", code, out)
	}
}
