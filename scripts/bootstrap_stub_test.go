package scripts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
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
)

// needRoot skips a test that needs root. With REQUIRE_NETNS=1 the test fails instead.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("REQUIRE_NETNS") == "1" {
		t.Fatal("REQUIRE_NETNS=1, and not root: bootstrap.sh would ask sudo")
	}
	t.Skip("not root: bootstrap.sh would ask sudo")
}

// stubbed is a directory in which bootstrap.sh runs with stand-ins for programs of the node.
type stubbed struct {
	dir, script, installed string
	program                []byte
}

// stub writes a bootstrap.sh that installs program into a directory of the test. Its stand-in for
// aws copies the program there and counts its calls in the file calls.
func stub(t *testing.T, program []byte, replace ...string) stubbed {
	t.Helper()
	needRoot(t)
	s := stubbed{dir: t.TempDir(), program: program}
	s.script, s.installed = s.dir+"/bootstrap.sh", s.dir+"/sbin/emr-static-ip"
	source, err := os.ReadFile("bootstrap.sh")
	if err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(program))
	replace = append(replace, "@BASE@", "s3://bucket/prefix", "@VERSION@", "v1", "@SHA256_AMD64@", sum, "@SHA256_ARM64@", sum, "program=/usr/local/sbin/emr-static-ip\n", "program="+s.installed+"\n")
	text := string(source)
	for i := 0; i < len(replace); i += 2 {
		if strings.Count(text, replace[i]) != 1 {
			t.Fatalf("bootstrap.sh does not contain %q exactly once", replace[i])
		}
		text = strings.Replace(text, replace[i], replace[i+1], 1)
	}
	s.write(t, s.script, text)
	s.write(t, s.dir+"/object", string(program))
	s.write(t, s.dir+"/bin/aws", "#!/bin/bash\necho call >>\"$STUB/calls\"\nexec cp \"$STUB/object\" \"${*: -1}\"\n")
	s.write(t, s.dir+"/bin/curl", "#!/bin/sh\nexit 7\n") // no access to this machine's network
	return s
}

func (s stubbed) write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// run runs the script with the stand-ins first in PATH.
func (s stubbed) run(ctx context.Context, env ...string) (code int, stdout, stderr string) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.script, "a b")
	cmd.Env = slices.Concat([]string{"PATH=" + s.dir + "/bin:" + os.Getenv("PATH"), "STUB=" + s.dir, "TMPDIR=" + s.dir, "AWS_REGION=eu-west-1"}, env)
	cmd.WaitDelay = time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String(), said.String()
}

// leftovers returns files that a run must not leave behind.
func (s stubbed) leftovers(t *testing.T) (names []string) {
	t.Helper()
	for _, pattern := range []string{"/tmp.*", "/.emr-static-ip.*", "/sbin/.*"} {
		found, err := filepath.Glob(s.dir + pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	return names
}

func (s stubbed) calls(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(s.dir + "/calls")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte("\n"))
}

var told7 = []byte("#!/bin/bash\necho \"told $1\"\nexit 7\n#")

// TestBootstrapAtOnce starts several runs at the same time. No run may see a file that another has
// not finished, or fail because of another.
func TestBootstrapAtOnce(t *testing.T) {
	s := stub(t, append(slices.Clip(told7), bytes.Repeat([]byte("x"), 8<<20)...))
	// The pauses between the steps of a run give other runs time.
	s.write(t, s.dir+"/bin/install", "#!/bin/bash\nsleep 0.0$((RANDOM % 10))\n/usr/bin/install \"$@\" && sleep 0.0$((RANDOM % 10))\n")
	for range 3 {
		if err := os.RemoveAll(s.dir + "/sbin"); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if code, stdout, stderr := s.run(t.Context()); code != 7 || stdout != "told a b\n" {
					t.Errorf("exit code %d, want 7, stdout %q\n%s", code, stdout, stderr)
				}
			})
		}
		all.Wait()
		if content, err := os.ReadFile(s.installed); err != nil || !bytes.Equal(content, s.program) {
			t.Errorf("installed %d bytes: %v", len(content), err)
		}
		if left := s.leftovers(t); len(left) > 0 {
			t.Errorf("leftovers %q", left)
		}
	}
}

// TestBootstrapInstallFails lets a step of the installation fail. Nothing may be left behind. If
// another run has installed the program meanwhile, the failure must be ignored.
func TestBootstrapInstallFails(t *testing.T) {
	other := `install -D -m 0755 "$STUB/object" "$STUB/sbin/emr-static-ip"; ` // another run at the same time
	for _, test := range []struct {
		name, program, stub string
		code                int
	}{
		{"the disk is full", "install", `head -c 10 "$STUB/object" >"${*: -1}"; echo "No space left on device" >&2; exit 1`, 1},
		{"the copy is damaged", "install", `echo damaged >"${*: -1}"`, 1},
		{"not moved", "mv", "exit 1", 1},
		{"no directory", "mkdir", "exit 1", 1},
		{"not moved, installed by another run", "mv", other + "exit 1", 7},
		{"no name, installed by another run", "mkdir", other + "exit 1", 7},
		{"ended", "mv", `kill "$PPID"; sleep 0.2`, 143},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := stub(t, told7)
			s.write(t, s.dir+"/bin/"+test.program, "#!/bin/bash\nPATH=${PATH#*:}\n"+test.stub+"\n")
			code, _, stderr := s.run(t.Context())
			if code != test.code {
				t.Errorf("exit code %d, want %d\n%s", code, test.code, stderr)
			}
			if left := s.leftovers(t); len(left) > 0 {
				t.Errorf("leftovers %q", left)
			}
			if _, err := os.Stat(s.installed); (err == nil) != (code == 7) {
				t.Errorf("installed: %v", err)
			}
		})
	}
}

// TestBootstrapCredentials checks that the script waits for late credentials of the instance
// profile, and that it does not report missing credentials as a missing permission.
func TestBootstrapCredentials(t *testing.T) {
	for _, test := range []struct {
		name, says string // says is the AWS CLI's output in the first calls
		late       int    // number of such calls
		code       int
		want       []string
	}{
		{"late", "fatal error: Unable to locate credentials", 6, 7, []string{"waiting for AWS credentials"}},
		{"late, by another word", "fatal error: Error when retrieving credentials from iam-role: Credential refresh failed, response did not contain: access_key", 6, 7, []string{"waiting for AWS"}},
		{"never", "fatal error: Unable to locate credentials", 1000, 4, []string{"no AWS credentials within 2 s", "instance profile"}},
		{"no permission", "fatal error: An error occurred (403) when calling the HeadObject operation: Forbidden", 1000, 4, []string{"no access to", "s3:GetObject"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := stub(t, told7, "\ncredentials_seconds=120 ", "\ncredentials_seconds=2 ", "\ncredentials_pause=5\n", "\ncredentials_pause=0.1\n", "\nattempts=4 ", "\nattempts=1 ")
			s.write(t, s.dir+"/bin/aws", fmt.Sprintf("#!/bin/bash\necho call >>\"$STUB/calls\"\n[ \"$(wc -l <\"$STUB/calls\")\" -gt %d ] || { echo %q >&2; exit 1; }\nexec cp \"$STUB/object\" \"${*: -1}\"\n", test.late, test.says))
			code, _, stderr := s.run(t.Context())
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, want := range test.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("stderr lacks %q", want)
				}
			}
			if strings.Contains(stderr, "s3:GetObject") != (test.name == "no permission") {
				t.Error("wrong advice about s3:GetObject")
			}
			if calls := s.calls(t); test.code == 7 && calls != test.late+1 || test.name == "no permission" && calls != 1 {
				t.Errorf("%d calls", calls)
			}
			if t.Failed() {
				t.Log(stderr)
			}
		})
	}
}

// TestBootstrapSays checks that the output of programs reaches the terminal without control
// characters and with a limited length.
func TestBootstrapSays(t *testing.T) {
	s := stub(t, told7, "\nattempts=4 ", "\nattempts=1 ")
	s.write(t, s.dir+"/bin/aws", "#!/bin/bash\nprintf 'fatal \\e[2J\\a\\r\\u202e\\x9b5i\\nsecond line '\nhead -c 100000 /dev/zero | tr '\\0' x\necho ' the end'\nexit 1\n")
	for _, locale := range []string{"LC_ALL=C", "LC_ALL=C.UTF-8"} {
		code, _, stderr := s.run(t.Context(), locale)
		if code != 1 || !strings.Contains(stderr, "cannot fetch") || !strings.Contains(stderr, "second line") || !strings.Contains(stderr, "the end") {
			t.Errorf("%s: exit code %d\n%.2000q", locale, code, stderr)
		}
		if odd := regexp.MustCompile(`[^\n -~]`).FindString(stderr); odd != "" || len(stderr) > 2000 || strings.Count(stderr, "\n") != 2 {
			t.Errorf("%s: %d bytes with %q:\n%.2000q", locale, len(stderr), odd, stderr)
		}
	}
}

// TestBootstrapVariable checks that the program does not get the variable with the place, which is
// the script's own and would be an unknown flag to the program.
func TestBootstrapVariable(t *testing.T) {
	s := stub(t, []byte("#!/bin/bash\nenv | grep ^EMR_STATIC_IP | sort\n"))
	for _, what := range []string{"installed", "again"} {
		if code, stdout, stderr := s.run(t.Context(), "EMR_STATIC_IP_BASE=s3://other/place", "EMR_STATIC_IP_ROLE=CORE"); code != 0 || stdout != "EMR_STATIC_IP_ROLE=CORE\n" {
			t.Errorf("%s: exit code %d, the program's environment has %q\n%s", what, code, stdout, stderr)
		}
	}
}

// TestBootstrapRefused checks that the script recognizes the AWS CLI's error texts and prints the
// right advice.
func TestBootstrapRefused(t *testing.T) {
	const traceback = `Traceback (most recent call last):
  File "/usr/local/bin/aws", line 19, in <module>
    import awscli.clidriver
  File "/usr/local/lib/python3.9/site-packages/botocore/credentials.py", line 42, in <module>
    from botocore.utils import InstanceMetadataFetcher, parse_key_val_file
`
	forbidden := "fatal error: An error occurred (403) when calling the HeadObject operation: Forbidden"
	at := func(ahead time.Duration) string {
		return "HTTP/1.1 403 Forbidden\r\nServer: AmazonS3\r\nDate: " + time.Now().Add(-ahead).UTC().Format(http.TimeFormat) + "\r\n\r\n"
	}
	for _, test := range []struct {
		name, base, says, head string // head is curl's answer about S3
		code, calls            int
		want                   string
	}{
		{"a broken CLI", "s3://bucket/prefix", traceback + "ImportError: No module named connection", "", 1, 1, "does not work"},
		{"a CLI without Python", "s3://bucket/prefix", "timeout: failed to run command 'aws': No such file or directory", "", 1, 1, "does not work"},
		{"missing below credentials", "s3://bucket/credentials", `fatal error: An error occurred (404) when calling the HeadObject operation: Key "credentials/KEY" does not exist`, "", 1, 1, "not found"},
		{"missing, without a code, below credentials", "s3://credentials/403", `fatal error: NoSuchKey "403/KEY" in credentials`, "", 1, 1, "not found"},
		{"no route to a bucket called credentials", "s3://credentials/x", `fatal error: Could not connect to the endpoint URL: "https://credentials.s3.eu-west-1.amazonaws.com/x/KEY"`, "", 5, 4, "(region eu-west-1)"},
		{"another region", "s3://bucket/prefix", "fatal error: An error occurred (301) when calling the HeadObject operation: Moved Permanently", "", 1, 1, "in the cluster's region"},
		{"another region, in S3's words", "s3://bucket/prefix", "fatal error: An error occurred (AuthorizationHeaderMalformed): the region 'eu-west-1' is wrong; expecting 'us-east-1'", "", 1, 1, "not in the region eu-west-1"},
		{"no region", "s3://bucket/prefix", "Provided region_name 'eu west' doesn't match a supported format.", "", 1, 1, "AWS_REGION"},
		{"the clock, in S3's words", "s3://bucket/prefix", "fatal error: An error occurred (RequestTimeTooSkewed) when calling the GetObject operation: The difference between the request time and the current time is too large.", "", 4, 1, "chronyc"},
		{"a clock that is ahead", "s3://bucket/prefix", forbidden, at(20 * time.Minute), 4, 4, "this node's clock is wrong"},
		{"a clock that is behind", "s3://bucket/prefix", forbidden, at(-20 * time.Minute), 4, 4, "this node's clock is wrong"},
		{"no permission, by a right clock", "s3://bucket/prefix", forbidden, at(time.Minute), 4, 4, "s3:GetObject"},
		{"no permission, by a clock that nobody knows", "s3://bucket/prefix", forbidden, "Date: nonsense", 4, 4, "s3:GetObject"},
		{"a CLI of another interpreter", "s3://bucket/prefix", "/usr/bin/env: ‘python3.7’: No such file or directory", "", 1, 1, "does not work"},
		{"a CLI of a newer C library", "s3://bucket/prefix", "/usr/local/bin/aws: /lib64/libc.so.6: version `GLIBC_2.28' not found", "", 1, 1, "does not work"},
		{"half of the credentials", "s3://bucket/prefix", "fatal error: Partial credentials found in env, missing: AWS_SECRET_ACCESS_KEY", "", 4, 1, "~/.aws/credentials"},
		{"a process without credentials", "s3://bucket/prefix", "fatal error: Error when retrieving credentials from custom-process: no", "", 4, 1, "~/.aws/credentials"},
		{"no such profile", "s3://bucket/prefix", "The config profile (etl) could not be found", "", 4, 1, "~/.aws/config"},
		{"an unknown authority", "s3://bucket/prefix", "fatal error: SSL validation failed for https://s3.eu-west-1.amazonaws.com/ [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate", "", 5, 1, "AWS_CA_BUNDLE"},
		{"a proxy that refuses", "s3://bucket/prefix", "curl: (56) Received HTTP code 403 from proxy after CONNECT", "", 5, 4, "NO_PROXY"},
		{"a proxy that wants a password", "s3://bucket/prefix", "Tunnel connection failed: 407 Proxy Authentication Required", "", 5, 4, "USER:PASSWORD"},
		{"a proxy that is not there", "s3://bucket/prefix", `fatal error: Failed to connect to proxy URL: "http://proxy:3128/"`, "", 5, 4, "HTTPS_PROXY"},
		{"a certificate of the future", "s3://bucket/prefix", "fatal error: SSL validation failed: certificate verify failed: certificate is not yet valid", "", 5, 4, "look at the clock"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := stub(t, told7, "\ncredentials_seconds=120 ", "\ncredentials_seconds=0 ", "pause=1 problem", "pause=0 problem")
			s.write(t, s.dir+"/says", test.says)
			s.write(t, s.dir+"/head", test.head)
			s.write(t, s.dir+"/bin/aws", "#!/bin/bash\necho call >>\"$STUB/calls\"\nkey=${*: -2:1}\nsed \"s|KEY|${key##*/}|\" \"$STUB/says\" >&2\nexit 1\n")
			s.write(t, s.dir+"/bin/curl", "#!/bin/sh\ncat \"$STUB/head\"\n")
			code, _, stderr := s.run(t.Context(), "EMR_STATIC_IP_BASE="+test.base)
			if code != test.code || s.calls(t) != test.calls || !strings.Contains(stderr, test.want) {
				t.Errorf("exit code %d, want %d; %d calls, want %d; want %q\n%s", code, test.code, s.calls(t), test.calls, test.want, stderr)
			}
			if strings.Contains(stderr, "role of the cluster's instance profile") != strings.Contains(stderr, "s3:GetObject") || strings.Contains(stderr, "give the cluster") {
				t.Errorf("wrong advice:\n%s", stderr)
			}
		})
	}
}

// TestBootstrapCLIThatCrashes checks that an AWS CLI that says nothing and is ended by a signal, or
// cannot be started, is called broken, and is not tried again.
func TestBootstrapCLIThatCrashes(t *testing.T) {
	for _, end := range []string{"kill -SEGV $$", "kill -ILL $$", "exit 127", "exit 126"} {
		s := stub(t, told7)
		s.write(t, s.dir+"/bin/aws", "#!/bin/bash\necho call >>\"$STUB/calls\"\n"+end+"\n")
		if code, _, stderr := s.run(t.Context()); code != 1 || s.calls(t) != 1 || !strings.Contains(stderr, "the AWS CLI (aws) of this node does not work") {
			t.Errorf("%s: exit code %d, %d calls\n%s", end, code, s.calls(t), stderr)
		}
	}
}

// TestBootstrapSweeps checks that a run removes what a killed run has left, and nothing else.
func TestBootstrapSweeps(t *testing.T) {
	s := stub(t, told7)
	old := time.Now().Add(-2 * time.Hour)
	gone := []string{"/sbin/.emr-static-ip.aaaaaaaaaa", "/.emr-static-ip.bbbbbbbbbb/emr-static-ip"}
	stay := []string{"/sbin/.emr-static-ip.cccccccccc", "/sbin/.emr-static-ip.conf", "/sbin/other", "/kept/file", "/.emr-static-ip.dddddddddd/emr-static-ip"}
	for _, name := range append(gone, stay...) {
		s.write(t, s.dir+name, "x")
	}
	for _, name := range []string{gone[0], filepath.Dir(gone[1]), stay[1], stay[2], "/kept"} {
		if err := os.Chtimes(s.dir+name, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(s.dir+"/kept", s.dir+"/.emr-static-ip.eeeeeeeeee"); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"first", "again, where it is installed"} {
		code, _, stderr := s.run(t.Context())
		if removed := strings.Count(stderr, "removed "); code != 7 || (what == "first") != (removed == 2) {
			t.Errorf("%s: exit code %d, %d removed\n%s", what, code, removed, stderr)
		}
		for _, name := range gone {
			if _, err := os.Lstat(s.dir + name); err == nil {
				t.Errorf("%s: %s was not removed", what, name)
			}
		}
		for _, name := range append(stay, "/.emr-static-ip.eeeeeeeeee") {
			if _, err := os.Stat(s.dir + name); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

// TestBootstrapAfterAKill checks that a run removes what a run has left that was killed just
// before, and not what belongs to a run that goes on.
func TestBootstrapAfterAKill(t *testing.T) {
	s := stub(t, told7)
	// The stand-in for aws waits, so that the run is killed in the middle.
	s.write(t, s.dir+"/bin/aws", "#!/bin/bash\ntouch \"$STUB/fetching\"\nexec sleep 60\n")
	cmd := exec.CommandContext(t.Context(), s.script)
	cmd.Env = []string{"PATH=" + s.dir + "/bin:" + os.Getenv("PATH"), "STUB=" + s.dir, "TMPDIR=" + s.dir, "AWS_REGION=eu-west-1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	group := -cmd.Process.Pid
	for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(s.dir + "/fetching"); err == nil {
			break
		}
	}
	s.write(t, s.dir+"/bin/aws", "#!/bin/bash\nexec cp \"$STUB/object\" \"${*: -1}\"\n")
	goesOn := len(s.leftovers(t))
	if code, _, stderr := s.run(t.Context()); code != 7 || goesOn == 0 || len(s.leftovers(t)) != goesOn {
		t.Errorf("while another run goes on: exit code %d, %d files before, %q after\n%s", code, goesOn, s.leftovers(t), stderr)
	}
	if err := syscall.Kill(group, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// As if it had been killed while it installed the program.
	s.write(t, fmt.Sprintf("%s/sbin/.emr-static-ip.%d.aaaaaaaaaa", s.dir, cmd.Process.Pid), "x")
	if code, _, stderr := s.run(t.Context()); code != 7 || len(s.leftovers(t)) > 0 {
		t.Errorf("exit code %d, left behind: %q\n%s", code, s.leftovers(t), stderr)
	}
}

// TestBootstrapOfAProgramThatCrashes checks that a crash of the Go runtime, which ends with exit
// code 2, is not called wrong arguments.
func TestBootstrapOfAProgramThatCrashes(t *testing.T) {
	for _, test := range []struct {
		program string
		code    int
		want    string
	}{
		{"#!/bin/bash\necho fatal error: failed to reserve page summary memory >&2\nexit 2\n", 1, "cannot start: fatal error"},
		{"#!/bin/bash\nkill -ABRT $$\n", 1, "cannot start"},
		{"#!/bin/bash\n[ \"$1\" = version ] || exit 2\n", 2, ""},
	} {
		s := stub(t, []byte(test.program))
		if code, _, stderr := s.run(t.Context()); code != test.code || !strings.Contains(stderr, test.want) {
			t.Errorf("exit code %d, want %d\n%s", code, test.code, stderr)
		}
	}
}
