package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// formerCommit is the last commit before the shutdown action and the published bootstrap.sh. This
// version is in use.
const formerCommit = "9de3d1b"

// claimFirstCommit is the last commit whose nodes write their record before they ask EC2 for the
// address.
const claimFirstCommit = "65427f2"

// otherVersion is the program under test with another version stamp. The others are built from a
// commit. Each is built once.
var (
	otherVersion = sync.OnceValues(func() (string, error) {
		return compile("../../..", "other-version", "-s -w -X "+versionVariable+"=other")
	})
	formerVersion     = sync.OnceValues(func() (string, error) { return compileCommit(formerCommit, "former") })
	claimFirstVersion = sync.OnceValues(func() (string, error) { return compileCommit(claimFirstCommit, "claim-first") })
)

// errLacking means that Go or the history of this repository is not here.
var errLacking = errors.New("a program cannot be built here")

// need returns a program that the test needs. It skips the test if the program cannot be built.
// Where no test may be skipped, only the lack of Go or of history is an excuse.
func need(t *testing.T, program func() (string, error)) string {
	t.Helper()
	path, err := program()
	switch {
	case err == nil:
	case errors.Is(err, errLacking) || os.Getenv("REQUIRE_NETNS") != "1":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
	return path
}

// compileCommit builds the program from a commit of this repository.
func compileCommit(commit, name string) (string, error) {
	dir := filepath.Join(os.Getenv(buildVariable), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := checkOut(commit, dir); err != nil {
		return "", err
	}
	return compile(dir, name+"-version", "-s -w -X "+versionVariable+"="+name)
}

// checkOut writes the sources of a commit, or some of its files, to a directory.
func checkOut(commit, dir string, files ...string) error {
	// The user who runs the tests need not own the checkout.
	const script = `commit=$1 dir=$2; shift 2; cd ../../.. && git -c safe.directory='*' cat-file -e "$commit^{commit}" &&
		git -c safe.directory='*' archive "$commit" "$@" | tar -x -C "$dir"`
	if out, err := exec.Command("sh", append([]string{"-c", script, "sh", commit, dir}, files...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: no history with commit %s (a shallow clone?): %w: %s", errLacking, commit, err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		return fmt.Errorf("%w: no sources in commit %s", errLacking, commit)
	}
	return nil
}

// fetchModules fetches the modules of the former versions, which this version may not need. The
// tests build those versions in a namespace without a network. What cannot be fetched, the build
// names.
func fetchModules() {
	for _, commit := range []string{formerCommit, claimFirstCommit} {
		dir, err := os.MkdirTemp("", "emrsim-lab-modules")
		if err != nil {
			return
		}
		if checkOut(commit, dir, "go.mod", "go.sum") == nil {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			cmd := exec.CommandContext(ctx, "go", "mod", "download")
			cmd.Dir = dir
			_ = cmd.Run()
			cancel()
		}
		os.RemoveAll(dir)
	}
}

const versionVariable = "github.com/emr-static-ip/emr-static-ip/agent.version"

// compile builds the program from sources.
func compile(sources, name, ldflags string, env ...string) (string, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return "", fmt.Errorf("%w: %w", errLacking, err)
	}
	path := filepath.Join(os.Getenv(buildVariable), name)
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute) // enough without a build cache
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", ldflags, "-o", path, "./cmd/emr-static-ip")
	cmd.Dir = sources
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w: %s", name, err, out)
	}
	return path, nil
}

// changes returns the changes that a run reports.
func changes(r Result) (list []string) {
	_, text, found := strings.Cut("\n"+r.Stdout, "\nchanges\n")
	for line := range strings.Lines(text) {
		if !found || !strings.HasPrefix(line, "  ") {
			break
		}
		list = append(list, strings.TrimSpace(line))
	}
	return list
}

// left returns the state after a run, without the program and its files: kernel, addresses in EC2,
// and record.
func left(t *testing.T, c *Cluster, n *Node) string {
	t.Helper()
	var b strings.Builder
	for _, a := range c.Secondary(n) {
		record, found, err := c.Ledger(a)
		if err != nil || !found {
			t.Errorf("ledger of %v: %v, %v", a, found, err)
		}
		b.WriteString(a.String() + " " + record + "\n")
	}
	return b.String() + snapshot(t, n)
}

// onLink matches an address of the list on a link.
var onLink = regexp.MustCompile(`inet 10\.0\.1\.1[012]/32 `)

// TestUpgradeAndRollback runs one version with another version's state, records and rules, and then
// goes back. Only the installed program may change.
func TestUpgradeAndRollback(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		other func() (string, error)
		rules bool // the other version has other rules, which each version replaces by its own
	}{{"another stamp", otherVersion, false}, {"former version", formerVersion, true}} {
		t.Run(test.name, func(t *testing.T) {
			needNamespaces(t)
			other := need(t, test.other)
			c := launch(t, nil)
			core := c.Nodes()[1]
			run := func(program string, args ...string) Result {
				t.Helper()
				got, err := c.Run(t.Context(), core, Command{Program: program, Args: args})
				if err != nil || got.ExitCode != 0 {
					t.Fatalf("%s %q: %v, exit code %d\n%s%s", filepath.Base(program), args, err, got.ExitCode, got.Stdout, got.Stderr)
				}
				return got
			}
			list := []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}
			nothing := snapshot(t, core)
			expectDone(t, c, core, run(other, list...))
			want := left(t, c, core)
			for i, step := range []struct {
				program string
				args    []string
			}{{binary(t), list}, {other, list}, {binary(t), nil}, {other, nil}, {binary(t), []string{"restore"}}, {other, []string{"restore"}}, {binary(t), nil}} {
				got := run(step.program, step.args...)
				for _, change := range changes(got) {
					rules := test.rules && (strings.Contains(change, " transaction: ") || strings.HasPrefix(change, "+ ") || strings.HasPrefix(change, "- "))
					program := change == "installed "+installedProgram || strings.HasPrefix(change, "installed "+installedProgram+": ")
					if !program && change != "installed "+shutdownAction && !rules {
						t.Errorf("step %d, %s %q: %s", i, filepath.Base(step.program), step.args, change)
					}
				}
				if i == 0 && len(changes(got)) == 0 {
					t.Errorf("step %d: the new version installed nothing:\n%s", i, got.Stdout)
				}
				if now := left(t, c, core); now != want && !test.rules {
					t.Errorf("step %d, %s %q: it was\n%s\nand is\n%s", i, filepath.Base(step.program), step.args, want, now)
				}
				if rules := snapshot(t, core); !onLink.MatchString(rules) || !strings.Contains(rules, "EMR-STATIC-IP-OUT") {
					t.Errorf("step %d: address or rules are missing:\n%s", i, rules)
				}
				if t.Failed() {
					t.Fatalf("%s%s", got.Stdout, got.Stderr)
				}
			}
			expectStatus(t, c, core, 0, "in order")
			// After the rollback the other version releases. The shutdown action of a newer
			// version, which the other one does not know, must do no harm afterwards.
			run(other, list...)
			run(other, "release")
			if _, err := core.ReadFile(shutdownAction); err == nil {
				end(t, c, core, Command{})
			}
			if now := legacyTable.ReplaceAllString(snapshot(t, core), ""); now != nothing || len(c.Secondary(core)) > 0 {
				t.Errorf("after the release: assigned %v, state\n%s\nwant\n%s", c.Secondary(core), now, nothing)
			}
			expectDone(t, c, core, run(binary(t), list...))
		})
	}
}
