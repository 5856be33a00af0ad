package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// stubs returns a directory with programs: name to the text of a shell script.
func stubs(t *testing.T, programs map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/bash\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestAsRoot checks how an ordinary user gets the rights of root. The demo must ask for a password
// only where there are no user namespaces; the tests need the real root.
func TestAsRoot(t *testing.T) {
	const (
		user       = "echo 1000"
		sudo       = `[ "$1" = -n ] && exit 0; echo "sudo $*"`
		namespaces = `[ "${!#}" = true ] && exit 0; echo "unshare $*"`
		refuses    = "exit 1"
	)
	for _, test := range []struct {
		name, sudo, unshare string
		args                []string
		code                int
		want                string
	}{
		{"demo, both", sudo, namespaces, []string{"--namespaces-first", "a program", "x"}, 0, "unshare --user --map-root-user --net --mount a program x\n"},
		{"demo, no namespaces", sudo, refuses, []string{"--namespaces-first", "a program", "x"}, 0, "sudo -E env PATH="},
		{"tests, both", sudo, namespaces, []string{"a program", "x"}, 0, "sudo -E env PATH="},
		{"tests, a password", refuses, namespaces, []string{"a program", "x"}, 0, "unshare --user --map-root-user --net --mount a program x\n"},
		{"neither", refuses, refuses, []string{"--namespaces-first", "a program"}, 1, "no sudo without a password, and no user namespaces"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := stubs(t, map[string]string{"id": user, "sudo": test.sudo, "unshare": test.unshare})
			code, out := runScript(t, []string{"PATH=" + dir + ":" + os.Getenv("PATH")}, "./as-root.sh", test.args...)
			if code != test.code || !strings.Contains(out, test.want) {
				t.Errorf("exit code %d, want %d and %q\n%s", code, test.code, test.want, out)
			}
		})
	}
	dir := stubs(t, map[string]string{"id": "echo 0", "sudo": "echo sudo", "unshare": "echo unshare"})
	if code, out := runScript(t, []string{"PATH=" + dir + ":" + os.Getenv("PATH")}, "./as-root.sh", "--namespaces-first", "echo", "as it is"); code != 0 || out != "as it is\n" {
		t.Errorf("root: exit code %d\n%s", code, out)
	}
}

// TestMakeDemo checks that make demo prefers user namespaces, and that both it and make test say
// what they install before they build.
func TestMakeDemo(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip(err)
	}
	// make runs a line with the variable MAKE also with --dry-run. This test would run all tests.
	makefile, err := os.ReadFile("../Makefile")
	if err != nil || regexp.MustCompile(`[^$]\$[({]MAKE[)}]`).Match(makefile) {
		t.Fatalf("the Makefile has the variable MAKE, or cannot be read: %v", err)
	}
	for _, target := range []string{"demo", "test"} {
		code, out := runScript(t, nil, "make", "-C", "..", "--dry-run", target)
		setup, work := strings.Index(out, "scripts/setup.sh run"), strings.Index(out, map[string]string{"demo": "scripts/build.sh", "test": "scripts/test.sh"}[target])
		if code != 0 || setup < 0 || work < setup {
			t.Errorf("make %s: exit code %d, setup at %d, work at %d\n%s", target, code, setup, work, out)
		}
		if target == "demo" && !strings.Contains(out, "scripts/as-root.sh --namespaces-first bin/emrsim launch") {
			t.Errorf("make demo:\n%s", out)
		}
		if target == "test" && (!strings.Contains(out, "setup.sh run test") || !strings.Contains(out, "about 6 minutes")) {
			t.Errorf("make test does not install all before the work, or does not say how long it takes:\n%s", out)
		}
	}
}

// TestSetupSaysFirst checks that setup.sh names the packages before it installs them.
func TestSetupSaysFirst(t *testing.T) {
	// The package manager fails, so setup.sh prints what it was told. Nothing of the machine's own
	// programs is found.
	dir := stubs(t, map[string]string{
		"id": "echo 0", "go": "exit 0", "apt-get": `echo "apt-get got $*"; exit 1`, "timeout": `shift; exec "$@"`,
	})
	for _, name := range []string{"bash", "env", "tail", "cat"} {
		program, err := exec.LookPath(name)
		if err != nil {
			t.Skip(err)
		}
		if err := os.Symlink(program, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("setup.sh")
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "setup.sh")
	own := strings.Replace(string(text), `export PATH="$PATH:/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin"`, `export PATH="$PATH"`, 1)
	if own == string(text) {
		t.Fatal("setup.sh does not set PATH as this test expects")
	}
	if err := os.WriteFile(script, []byte(own), 0o755); err != nil {
		t.Fatal(err)
	}
	code, out := runScript(t, []string{"PATH=" + dir}, script, "run")
	at := -1
	for _, want := range []string{
		"setup: missing: ip iptables unshare", "installing: iproute2 iptables util-linux nftables procps\n",
		"apt-get got -q install -y --no-install-recommends iproute2 iptables util-linux nftables procps\n", "still missing: ip iptables unshare",
	} {
		if next := strings.Index(out, want); code != 1 || next <= at {
			t.Errorf("exit code %d, want %q next\n%s", code, want, out)
		} else {
			at = next
		}
	}
}

// TestBuildProgress checks what build.sh prints: nothing if all is in the cache, progress while it
// compiles, and the compiler's errors with its exit code.
func TestBuildProgress(t *testing.T) {
	build := func(script string) (int, string) {
		dir := stubs(t, map[string]string{"go": script})
		return runScript(t, []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "PROGRESS_SECONDS=1"}, "./build.sh", "bin/x", "./cmd/x", "-ldflags", "-s -w")
	}
	if code, out := build(`[ "$*" = "build -v -o bin/x -ldflags -s -w ./cmd/x" ] || echo "got $*" >&2`); code != 0 || out != "" {
		t.Errorf("all in the cache: exit code %d\n%s", code, out)
	}
	code, out := build("echo 'go: downloading example.com/a v1.0.0' >&2; echo one/a >&2; sleep 1.1; echo two.com/b >&2")
	for _, want := range []string{"go: downloading example.com/a v1.0.0\n", "build: compiling bin/x: up to two minutes", "build: bin/x: 2 packages compiled in "} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, want %q\n%s", code, want, out)
		}
	}
	if code, out := build("echo '# one/a' >&2; echo 'a.go:1:2: undefined: x' >&2; exit 3"); code != 3 || out != "# one/a\na.go:1:2: undefined: x\n" {
		t.Errorf("an error: exit code %d\n%s", code, out)
	}
}
