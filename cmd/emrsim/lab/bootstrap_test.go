package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// installedProgram is where scripts/bootstrap.sh installs the program.
const installedProgram = "/usr/local/sbin/emr-static-ip"

func sum(content []byte) string {
	s := sha256.Sum256(content)
	return hex.EncodeToString(s[:])
}

// publication is the result of publish.sh in a bucket: the binaries of both architectures, and a
// bootstrap.sh with their place and checksums.
type publication struct {
	base         string // s3://bucket/prefix
	amd64, arm64 []byte
	hasty        bool // fewer and shorter attempts, to save time
}

// objects returns the objects in the bucket.
func (p publication) objects() map[string][]byte {
	return map[string][]byte{
		p.path("amd64", p.amd64): p.amd64,
		p.path("arm64", p.arm64): p.arm64,
	}
}

func (p publication) path(architecture string, content []byte) string {
	_, place, _ := strings.Cut(p.base, "://")
	return "/" + place + "/emr-static-ip-linux-" + architecture + "-" + sum(content)[:12]
}

// bootstrap writes the published bootstrap.sh to a file of this machine and returns the path.
func (p publication) bootstrap(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../scripts/bootstrap.sh")
	if err != nil {
		t.Fatal(err)
	}
	script := string(text)
	put := func(old, new string) {
		if strings.Count(script, old) != 1 {
			t.Fatalf("bootstrap.sh does not contain %q exactly once", old)
		}
		script = strings.Replace(script, old, new, 1)
	}
	put("'@BASE@'", "'"+p.base+"'")
	put("'@VERSION@'", "'v1-test'")
	put("'@SHA256_AMD64@'", "'"+sum(p.amd64)+"'")
	put("'@SHA256_ARM64@'", "'"+sum(p.arm64)+"'")
	if p.hasty {
		put("\nattempts=4 ", "\nattempts=2 ")
		put("\nattempt_seconds=45 ", "\nattempt_seconds=2 ")
	}
	path := filepath.Join(t.TempDir(), "bootstrap.sh")
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// echoProgram returns a program that prints its arguments and the given name, and ends with exit
// code 7.
func echoProgram(name string) []byte {
	return []byte("#!/bin/sh\nfor a; do echo \"[$a]\"; done\necho " + name + "\nexit 7\n")
}

// withCLI copies a stand-in for the AWS CLI to the node and returns an environment with its PATH.
func withCLI(t *testing.T, n *Node, b *bucket) []string {
	t.Helper()
	if err := n.Copy("/proc/self/exe", "/run/cli/aws", 0o755); err != nil {
		t.Fatal(err)
	}
	return []string{"PATH=/run/cli:" + strings.TrimPrefix(nodePath, "PATH="), "AWS_ENDPOINT_URL_S3=" + b.URL}
}

// leftovers returns files that a bootstrap action must not leave behind.
func leftovers(t *testing.T, n *Node) (list []string) {
	t.Helper()
	for _, dir := range []string{"/tmp", "/usr/local/sbin"} {
		err := n.ns.do(func() error {
			entries, err := os.ReadDir(dir)
			for _, e := range entries {
				if strings.HasPrefix(e.Name(), "tmp.") || strings.HasPrefix(e.Name(), ".emr") {
					list = append(list, filepath.Join(dir, e.Name()))
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return list
}

func needCurl(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip(err)
	}
}

// TestBootstrapScript runs bootstrap.sh against a bucket with failures.
func TestBootstrapScript(t *testing.T) {
	c := launch(t, func(s *ClusterSpec) { s.Cores = 1 })
	n := c.Nodes()[1]
	b := openBucket(t, n)
	p := publication{base: "s3://bucket/some/prefix", amd64: echoProgram("amd64"), arm64: echoProgram("arm64"), hasty: true}
	object := p.path("amd64", p.amd64)
	env := withCLI(t, n, b)
	uname := func(machine string) []string {
		dir := "/run/uname-" + machine
		if err := n.WriteFile(dir+"/uname", []byte("#!/bin/sh\necho "+machine+"\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Output(t.Context(), "chmod", "755", dir+"/uname"); err != nil {
			t.Fatal(err)
		}
		return []string{"PATH=" + dir + ":" + strings.TrimPrefix(env[0], "PATH=")}
	}
	if _, err := n.Output(t.Context(), "ip", "route", "add", "unreachable", "192.0.2.1/32"); err != nil {
		t.Fatal(err)
	}
	x86 := uname("x86_64")
	for _, test := range []struct {
		name   string
		env    []string
		change func(p *publication)
		faults []func(http.ResponseWriter, *http.Request)
		gone   bool // the object does not exist
		args   []string
		code   int
		says   []string
		asks   int // number of requests to the bucket
		after  func()
	}{
		{name: "wrong checksum", faults: []func(http.ResponseWriter, *http.Request){garbled, garbled}, code: 1,
			says: []string{"wrong checksum of s3://bucket/some/prefix/", sum([]byte("garbled")), sum(p.amd64), "was not run"}, asks: 2},
		{name: "missing", gone: true, code: 1, says: []string{"not found: s3://bucket/some/prefix/emr-static-ip-linux-amd64-", "publish.sh"}, asks: 1},
		{name: "no access", faults: []func(http.ResponseWriter, *http.Request){answer(403), answer(403)}, code: 4, says: []string{"no access", "s3:GetObject on bucket/some/prefix/*"}, asks: 2},
		{name: "connection refused", env: []string{"AWS_ENDPOINT_URL_S3=http://127.0.0.1:1"}, code: 5, says: []string{"cannot reach", "com.amazonaws."}},
		{name: "no route", env: []string{"AWS_ENDPOINT_URL_S3=http://192.0.2.1"}, code: 5, says: []string{"cannot reach", "gateway endpoint"}},
		{name: "hanging server", faults: []func(http.ResponseWriter, *http.Request){hang, hang}, code: 5, says: []string{"no answer", "gateway endpoint"}, asks: 2},
		{name: "unknown architecture", env: uname("riscv64"), code: 1, says: []string{"riscv64"}},
		{name: "not published", change: func(p *publication) { p.base = "@BASE@" }, code: 1, says: []string{"publish.sh s3://"}},
		{name: "no CLI", env: []string{nodePath}, code: 1, says: []string{"no AWS CLI"}},
		{name: "disk full", env: []string{"TMPDIR=/nowhere"}, code: 1, says: []string{"temporary directory"}},

		{name: "right", args: []string{"10.0.1.10", "two words", "*", "", "$(id)"}, code: 7, says: []string{"installed version v1-test for amd64"}, asks: 1},
		{name: "again", args: []string{"x"}, code: 7, says: []string{"installed already"}},
		{name: "again, and nothing can be reached", env: []string{"AWS_ENDPOINT_URL_S3=http://192.0.2.1"}, code: 7},
		{name: "arm64", env: uname("aarch64"), code: 7, says: []string{"for arm64"}, asks: 1},
		{name: "slow down, then right", faults: []func(http.ResponseWriter, *http.Request){answer(503)}, code: 7, says: []string{"attempt 1 of 2"}, asks: 2},
		{name: "damaged", code: 7, says: []string{"installed version"}, asks: 1},
		{name: "cannot be run", code: 7, says: []string{"installed version"}, asks: 1},
		{name: "garbled, then right", faults: []func(http.ResponseWriter, *http.Request){garbled}, code: 7, says: []string{"attempt 1 of 2"}, asks: 2},
		{name: "another place by argument", change: func(p *publication) { p.base = "@BASE@" }, args: []string{"s3://bucket/some/prefix/", "x"}, code: 7, asks: 1},
		{name: "another place by variable", change: func(p *publication) { p.base = "@BASE@" }, env: []string{"EMR_STATIC_IP_BASE=s3://bucket/some/prefix"}, args: []string{"x"}, code: 7, asks: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			switch test.name { // state of the node before
			case "slow down, then right", "garbled, then right", "another place by argument", "another place by variable":
				n.Output(t.Context(), "rm", installedProgram)
			case "damaged":
				if err := n.WriteFile(installedProgram, []byte("damaged")); err != nil {
					t.Fatal(err)
				}
			case "cannot be run":
				n.Output(t.Context(), "chmod", "644", installedProgram)
			}
			objects := p.objects()
			if test.gone {
				delete(objects, object)
			}
			b.put(objects)
			b.fail(test.faults...)
			published := p
			if test.change != nil {
				test.change(&published)
			}
			got, err := c.Run(t.Context(), n, Command{Program: published.bootstrap(t), Args: test.args, Env: slices.Concat(env, x86, test.env)})
			if err != nil {
				t.Fatal(err)
			}
			if got.ExitCode != test.code || got.Duration > 20*time.Second {
				t.Errorf("exit code %d after %v, want %d", got.ExitCode, got.Duration, test.code)
			}
			for _, want := range test.says {
				if !strings.Contains(got.Stderr, want) {
					t.Errorf("the output lacks %q", want)
				}
			}
			asked := b.requests()
			if len(asked) != test.asks {
				t.Errorf("requests to the bucket: %q, want %d", asked, test.asks)
			}
			if _, err := exec.LookPath("curl"); err == nil && len(asked) > 0 && !strings.HasSuffix(asked[0], " us-east-1") {
				t.Errorf("requests %q, want the region that IMDS names", asked)
			}
			if list := leftovers(t, n); len(list) > 0 {
				t.Errorf("leftovers %q", list)
			}
			content, err := n.ReadFile(installedProgram)
			switch {
			case test.code != 7 && err == nil:
				t.Error("something was installed")
			case test.code == 7:
				args := slices.DeleteFunc(slices.Clone(test.args), func(a string) bool { return strings.HasPrefix(a, "s3://") })
				architecture, want := "amd64", p.amd64
				if test.name == "arm64" {
					architecture, want = "arm64", p.arm64
				}
				told := architecture + "\n"
				for i := range args {
					told = "[" + args[len(args)-1-i] + "]\n" + told
				}
				if err != nil || string(content) != string(want) || got.Stdout != told {
					t.Errorf("installed %q (%v) with the output %q, want %q", content, err, got.Stdout, told)
				}
				if mode, err := n.Output(t.Context(), "stat", "-c", "%a %u", installedProgram); err != nil || mode != "755 0\n" {
					t.Errorf("mode and owner %q, %v", mode, err)
				}
			}
			if t.Failed() {
				t.Logf("%s%s", got.Stdout, got.Stderr)
			}
		})
	}
}

// TestBootstrapOverHTTP fetches with curl from an address in the first argument.
func TestBootstrapOverHTTP(t *testing.T) {
	needCurl(t)
	c := launch(t, func(s *ClusterSpec) { s.Cores = 1 })
	n := c.Nodes()[1]
	b := openBucket(t, n)
	p := publication{base: b.URL + "/x", amd64: echoProgram("amd64"), arm64: echoProgram("arm64"), hasty: true}
	place := "/x/emr-static-ip-linux-amd64-" + sum(p.amd64)[:12]
	for _, test := range []struct {
		name   string
		base   string
		faults []func(http.ResponseWriter, *http.Request)
		code   int
		says   string
	}{
		{"missing", b.URL + "/y", nil, 1, "not found"},
		{"no access", b.URL + "/x", []func(http.ResponseWriter, *http.Request){answer(403), answer(403)}, 4, "no access"},
		{"refused", "http://127.0.0.1:1/x", nil, 5, "cannot reach"},
		{"hanging", b.URL + "/x", []func(http.ResponseWriter, *http.Request){hang, hang}, 5, "cannot reach"},
		{"right", b.URL + "/x", []func(http.ResponseWriter, *http.Request){answer(500)}, 7, "attempt 1 of 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b.put(map[string][]byte{place: p.amd64})
			b.fail(test.faults...)
			if err := n.WriteFile("/run/uname/uname", []byte("#!/bin/sh\necho x86_64\n")); err != nil {
				t.Fatal(err)
			}
			n.Output(t.Context(), "chmod", "755", "/run/uname/uname")
			got, err := c.Run(t.Context(), n, Command{Program: p.bootstrap(t), Args: []string{test.base, "a b"}, Env: []string{"PATH=/run/uname:/usr/bin:/bin"}})
			if err != nil || got.ExitCode != test.code || !strings.Contains(got.Stderr, test.says) || (test.code == 7) != (got.Stdout == "[a b]\namd64\n") {
				t.Errorf("%v, exit code %d, want %d and %q\n%s%s", err, got.ExitCode, test.code, test.says, got.Stdout, got.Stderr)
			}
		})
	}
}

// TestBootstrapAsEMR runs bootstrap.sh with the real binary as the user hadoop, as EMR does, with
// and without sudo.
func TestBootstrapAsEMR(t *testing.T) {
	needNamespaces(t)
	if OneUser() && os.Getenv("REQUIRE_NETNS") != "1" {
		t.Skip("only root exists in this user namespace")
	}
	c := launch(t, nil)
	core := c.Nodes()[1]
	b := openBucket(t, core)
	program, err := os.ReadFile(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	p := publication{base: "s3://bucket/prefix", amd64: program, arm64: program}
	b.put(p.objects())
	env := withCLI(t, core, b)
	script := p.bootstrap(t)
	args := []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}
	got, err := c.Run(t.Context(), core, Command{Program: script, Args: args, Env: env, User: "hadoop"})
	if err != nil || got.ExitCode != 9 || !strings.Contains(got.Stderr, "sudo -n does not work") {
		t.Errorf("without sudo: %v, exit code %d, want 9\n%s", err, got.ExitCode, got.Stderr)
	}
	if err := core.Copy("/proc/self/exe", "/run/cli/sudo", 0o755|fs.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) Result {
		got, err := c.Run(t.Context(), core, Command{Program: script, Args: args, Env: env, User: "hadoop"})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got = run(args...)
	expectDone(t, c, core, got)
	if content, err := core.ReadFile(installedProgram); err != nil || sum(content) != sum(program) || strings.Contains(got.Stdout, "installed "+installedProgram) {
		t.Errorf("installed %d bytes, %v; the run says\n%s", len(content), err, got.Stdout)
	}
	b.requests()
	if got := run(); got.ExitCode != 0 || !strings.Contains(got.Stdout, "\nchanged=0 ") || len(b.requests()) > 0 {
		t.Errorf("again: exit code %d\n%s%s", got.ExitCode, got.Stdout, got.Stderr)
	}
	if got := run("10.0.1.300"); got.ExitCode != 2 {
		t.Errorf("wrong arguments: exit code %d, want 2\n%s", got.ExitCode, got.Stderr)
	}
	if list := leftovers(t, core); len(list) > 0 {
		t.Errorf("leftovers %q", list)
	}
	if t.Failed() {
		t.Log(fmt.Sprint(b.requests()))
	}
}
