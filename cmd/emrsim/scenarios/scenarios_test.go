package scenarios_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/scenario"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/scenarios"
)

// Environment variables that TestMain sets.
const (
	buildVariable = "EMRSIM_BUILD_DIR"     // where programs may be built
	skipVariable  = "EMRSIM_NO_NAMESPACES" // namespaces cannot be made
)

// TestMain runs all tests of the package in their own namespaces.
func TestMain(m *testing.M) {
	inside, code, err := lab.Isolate(context.Background())
	switch {
	case err != nil && os.Getenv("REQUIRE_NETNS") == "1":
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	case err != nil:
		os.Setenv(skipVariable, "1")
		os.Exit(m.Run())
	case !inside:
		os.Exit(code)
	}
	dir, err := os.MkdirTemp("", "emrsim-scenarios")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv(buildVariable, dir)
	// A scenario waits far more than it computes, so more of them than processors run at once.
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		parallel.Value.Set("6")
	}
	code = m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// built returns the program of this checkout, or the program in PATH if there is no Go, and the
// same program with another version, for the scenarios of upgrades.
var built = sync.OnceValues(func() (scenario.Options, error) {
	if path := os.Getenv("EMR_STATIC_IP_BINARY"); path != "" {
		path, err := filepath.Abs(path)
		return scenario.Options{Binary: path}, err
	}
	if _, err := exec.LookPath("go"); err != nil {
		path, err := exec.LookPath("emr-static-ip")
		return scenario.Options{Binary: path}, err
	}
	dir := os.Getenv(buildVariable)
	o := scenario.Options{Binary: filepath.Join(dir, "emr-static-ip"), Other: filepath.Join(dir, "other", "emr-static-ip")}
	for path, version := range map[string]string{o.Binary: "this", o.Other: "other"} {
		out, err := exec.Command("go", "build", "-ldflags", "-s -w -X github.com/emr-static-ip/emr-static-ip/agent.version="+version, "-o", path,
			"github.com/emr-static-ip/emr-static-ip/cmd/emr-static-ip").CombinedOutput()
		if err != nil {
			return o, fmt.Errorf("building emr-static-ip: %w\n%s", err, out)
		}
	}
	return o, nil
})

// options skips the test where namespaces cannot be made.
func options(t *testing.T) scenario.Options {
	t.Helper()
	if os.Getenv(skipVariable) != "" {
		t.Skip(lab.ErrNoNamespaces)
	}
	o, err := built()
	if err != nil {
		t.Fatal(err)
	}
	o.WorkDir = t.TempDir()
	return o
}

// play runs the text of a scenario.
func play(t *testing.T, name, text string, o scenario.Options) scenario.Result {
	t.Helper()
	file := filepath.Join(t.TempDir(), name+".txtar")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	got, err := scenario.Run(ctx, file, o)
	if err != nil {
		t.Fatal(err)
	}
	got.Log = strings.ReplaceAll(got.Log, filepath.Dir(file)+"/", "")
	return got
}

// TestScenarios runs every scenario that emrsim ships. The one that takes longest begins first.
func TestScenarios(t *testing.T) {
	t.Parallel()
	names := scenarios.Names()
	if i := slices.Index(names, "upgrade"); i >= 0 {
		names[0], names[i] = names[i], names[0]
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			text, err := scenarios.Text(name)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, name, string(text), o)
			switch {
			case got.Failed:
				t.Error(got.Log)
			case got.Skipped != "" && os.Getenv("REQUIRE_NETNS") == "1" && o.Other != "":
				t.Errorf("skipped: %s", got.Skipped)
			case got.Skipped != "":
				t.Skip(got.Skipped)
			}
		})
	}
}

// broken has lines that do not hold after the launch of a master and a core node, with the message
// of each. Each kind of expectation is there.
var broken = []struct{ line, says string }{
	{"has core-1 10.0.1.99", "core-1: EC2 has assigned [10.0.1.11]; expected is one of [10.0.1.99]"},
	{"has core-1 none", "nothing is expected"},
	{"! has core-1 10.0.1.11", "has core-1 10.0.1.11: this is so, and must not be"},
	{"has core-9 none", `no node "core-9": there are master, core-1`},
	{"! has core-9 none", `no node "core-9"`},
	{"has core-1,core-9 10.0.1.11", `no node "core-9"`},
	{"ledger 10.0.1.11 master", "the record of 10.0.1.11 does not name master"},
	{"ledger 10.0.1.99", "the ledger has no record of 10.0.1.99"},
	{"ledger 10.0.1.99 core-1", "the ledger has no record of 10.0.1.99; expected is core-1"},
	{"records 7", "the ledger has 2 records, expected 7"},
	{"exited core-1 3", "core-1: exit code 0, expected 3"},
	{"said core-1 'never said'", `core-1 did not print "never said"`},
	{"calls core-1 0", "expected 0"},
	{"calls core-1 ssm:PutParameter >5", "core-1 has made 1 call of ssm:PutParameter, expected >5"},
	{"calls core-1 <2", "expected <2"},
	{"tag core-1 Name other", `core-1: the tag Name is "rehearsal-CORE", expected "other"`},
	{"tag core-1 Missing", "core-1 has no tag Missing"},
	{"within 300ms records 7", "not within 300ms: the ledger has 2 records"},
	{"within 300ms ! records 2", "not within 300ms: records 2: this is so"},
	{"seen core-1 10.0.1.99", "core-1: the file server saw 10.0.1.11, expected 10.0.1.99"},
	{"! seen core-1", "seen core-1: this is so"},
	{"seen core-1/container", "core-1 has no container"},
	{"refused core-1", "core-1: the download was done, from 10.0.1.11"},
	{"reached 10.0.1.11 master", "a connection from the data centre to 10.0.1.11 reached core-1, expected master"},
	{"reached 10.0.1.99 core-1", "a connection from the data centre to 10.0.1.99 was refused"},
	{"inside core-1 master static", "master saw core-1 as"},
	{"s3 core-1", "reading from S3 on core-1: the bucket policy denies it: 403"},
	{"! s3 master", "s3 master: this is so"},
	{"spoofed 5", "the VPC dropped 0 packets"},
	{"rule core-1 'no such rule'", `core-1 has no rule "no such rule"`},
	{"same core-1 before", "core-1: addresses, routes and rules were"},
	{"same core-1 never", "there is no snapshot never of core-1"},
	{"launch --exit 3 core-1", "core-1: exit code 0, expected 3"},
	{"stdout 'never said'", "no match for `never said` found in stdout"},
	{"stderr 'never said'", "no match for `never said` found in stderr"},
	{"agent --exit 0 core-1 --bananas", "core-1: exit code 2, expected 0: "},
	{"on core-1 false", "core-1: exit code 1, expected 0"},
	{"await", "core-1: exit code 1, expected 0"},
	{"settled", "the ledger has no record of 10.0.1.11"},
	{"settled core-1", "core-1: the download was refused; the file server should have seen 10.0.1.11"},
	{"distinct all", "core-1: EC2 has assigned []"},
}

// between are lines that stand before a broken one.
var between = map[string]string{
	"stdout 'never said'": "agent core-1 status",
	"await":               "on core-1 false &",
	"s3 core-1":           "agent core-1 --only-cidr 0.0.0.0/0 10.0.1.10 10.0.1.11",
	"! s3 master":         "agent core-1 10.0.1.10 10.0.1.11",
	"settled":             "record 10.0.1.11",
	"settled core-1":      "agent core-1\nflush core-1",
	"distinct all":        "agent core-1 release",
}

// TestBrokenScenario sees each kind of expectation fail, with file, line and reason.
func TestBrokenScenario(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.KeepGoing = true
	text := "cluster --bucket-policy --core 1 -- 10.0.1.10 10.0.1.11\nsnapshot core-1 before\nlaunch\nsettled\n"
	var want []string
	for _, b := range broken {
		if first := between[b.line]; first != "" {
			text += first + "\n"
		}
		text += b.line + "\n"
		want = append(want, fmt.Sprintf("FAIL: broken.txtar:%d: ", strings.Count(text, "\n")))
	}
	got := play(t, "broken", text, o)
	if !got.Failed {
		t.Error("the scenario holds")
	}
	log := got.Log
	for i, b := range broken {
		at := strings.Index(log, want[i])
		if at < 0 {
			t.Errorf("%s: does not fail", b.line)
			continue
		}
		message, _, _ := strings.Cut(log[at:], "\n> ")
		if !strings.Contains(message, b.says) {
			t.Errorf("%s: the message lacks %q: %s", b.line, b.says, message)
		}
	}
	if n := strings.Count(log, "FAIL: "); n != len(broken) {
		t.Errorf("%d lines failed, want %d", n, len(broken))
	}
	if t.Failed() {
		t.Log(log)
	}
}

// TestEveryCommandIsUsed checks that each command stands in a shipped scenario, and that each
// expectation is seen to fail.
func TestEveryCommandIsUsed(t *testing.T) {
	shipped := ""
	for _, name := range scenarios.Names() {
		text, err := scenarios.Text(name)
		if err != nil {
			t.Fatal(err)
		}
		shipped += "\n" + string(text)
	}
	for name, c := range scenario.Commands() {
		used := strings.Contains(shipped, "\n"+name+" ") || strings.Contains(shipped, "\n"+name+"\n") || strings.Contains(shipped, "\n! "+name+" ")
		if !used {
			t.Errorf("no scenario uses %s", name)
		}
		if !c.Negatable {
			continue
		}
		fails := false
		for _, b := range broken {
			fails = fails || strings.HasPrefix(b.line, name)
		}
		if !fails {
			t.Errorf("%s is never seen to fail", name)
		}
	}
}

// TestDocumented checks that the README has the usage of every command and every shipped scenario.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range scenario.Commands() {
		if !strings.Contains(string(text), "`"+strings.ReplaceAll(c.Usage, "|", `\|`)+"`") {
			t.Errorf("README.md lacks the usage of %s: %s", name, c.Usage)
		}
	}
	for _, name := range scenarios.Names() {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("README.md lacks the scenario %s", name)
		}
	}
}
