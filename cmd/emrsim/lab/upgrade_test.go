package lab

import (
	"context"
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
	otherVersion = sync.OnceValues(func() (string, string) {
		return compile("../../..", "other-version", "-s -w -X "+versionVariable+"=other")
	})
	formerVersion     = sync.OnceValues(func() (string, string) { return compileCommit(formerCommit, "former") })
	claimFirstVersion = sync.OnceValues(func() (string, string) { return compileCommit(claimFirstCommit, "claim-first") })
)

// compileCommit builds the program from a commit of this repository. If it cannot, it returns the
// reason.
func compileCommit(commit, name string) (path, problem string) {
	dir := filepath.Join(os.Getenv(buildVariable), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err.Error()
	}
	// The user who runs the tests need not own the checkout.
	archive := `git -c safe.directory='*' archive "$1" | tar -x -C "$2"`
	if out, err := exec.Command("sh", "-c", `cd ../../.. && git -c safe.directory='*' cat-file -e "$1^{commit}" && `+archive, "sh", commit, dir).CombinedOutput(); err != nil {
		return "", "no history with commit " + commit + " (a shallow clone?): " + err.Error() + ": " + string(out)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		return "", "no sources in commit " + commit
	}
	return compile(dir, name+"-version", "-s -w -X "+versionVariable+"="+name)
}

const versionVariable = "github.com/emr-static-ip/emr-static-ip/agent.version"

// compile builds the program from sources. If it cannot, it returns the reason.
func compile(sources, name, ldflags string, env ...string) (path, problem string) {
	if _, err := exec.LookPath("go"); err != nil {
		return "", err.Error()
	}
	path = filepath.Join(os.Getenv(buildVariable), name)
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute) // enough without a build cache
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", ldflags, "-o", path, "./cmd/emr-static-ip")
	cmd.Dir = sources
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", err.Error() + ": " + string(out)
	}
	return path, ""
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
	for _, test := range []struct {
		name  string
		other func() (string, string)
		rules bool // the other version has other rules, which each version replaces by its own
	}{{"another stamp", otherVersion, false}, {"former version", formerVersion, true}} {
		t.Run(test.name, func(t *testing.T) {
			needNamespaces(t)
			other, problem := test.other()
			if problem != "" {
				t.Skip(problem)
			}
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
					if !strings.HasPrefix(change, "installed "+installedProgram+": ") && change != "installed "+shutdownAction && !rules {
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
