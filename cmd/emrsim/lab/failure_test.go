package lab

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// A failure is something that goes wrong on a node. What the operator is told, who has only the
// log, is in testdata/failures.txt under its name: the cause, then the remedy.
type failure struct {
	name    string
	cluster func(*ClusterSpec)      // by default a master and one core node, which fails
	prepare func(*testing.T, *site) // causes the failure
	args    []string                // nil: the list of addresses
	env     []string                // in addition to the node's own
	user    string                  // as in Command
	signal  syscall.Signal          // sent when the site's stop is called
	within  time.Duration           // --timeout; repeated with more time if a busy machine needs it
	code    int
	changed bool // something may be changed; without it EC2, ledger and kernel must stay as before
	after   func(*testing.T, *site, Result)
}

// site is the cluster in which a failure happens.
type site struct {
	*Cluster
	core *Node

	mu     sync.Mutex
	denied string // action that IAM denies: ec2:CreateTags
	stop   func() // sends the failure's signal to the program

	args []string // replaces the failure's args: set by prepare
}

func (s *site) deny(action string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = action
}

func (s *site) authorize(r cloud.AccessRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Caller.InstanceID != "" && r.Action == s.denied {
		return fmt.Errorf("denied by the test: %s", r.Action)
	}
	return nil
}

// faults makes every call of the core node fail for which only returns true.
func (s *site) faults(only func(cloud.Call) bool, action cloud.FaultAction) {
	s.Cloud.Fault(func(call cloud.Call) cloud.FaultAction {
		if call.Caller == s.core.Instance && only(call) {
			return action
		}
		return cloud.FaultAction{}
	})
}

// list is the argument list for a master and one core node.
var list = []string{"10.0.1.10", "10.0.1.11"}

// failures returns the whole matrix.
func failures() []failure {
	return slices.Concat(argumentFailures(), identityFailures(), permissionFailures(), tagFailures(), endpointFailures(), settingsFailures(), addressFailures(), nodeFailures(), endings())
}

// TestFailures runs the real program into each failure. Exit code, cause and remedy must be as
// expected. A run that fails before it changes anything must leave everything as before.
func TestFailures(t *testing.T) {
	t.Parallel()
	texts := golden.Open(t, "failures.txt")
	for _, f := range failures() {
		t.Run(f.name, func(t *testing.T) {
			s := &site{}
			s.Cluster = launch(t, func(spec *ClusterSpec) {
				spec.Cores, spec.Account.Quotas, spec.Account.Authorize = 1, nil, s.authorize
				if f.cluster != nil {
					f.cluster(spec)
				}
			})
			s.core = s.Nodes()[1]
			if f.prepare != nil {
				f.prepare(t, s)
			}
			before, assigned, calls := snapshot(t, s.core), s.Secondary(s.core), len(s.Calls(s.core))
			got := s.run(t, f)
			for f.within > 0 && f.within < time.Minute && (got.ExitCode != f.code || !texts.Has(f.name, s.toldBy(f, got))) {
				f.within *= 2 // not more: a call that has 20 s to itself is told otherwise
				t.Logf("exit code %d, stderr\n%s\nrunning again with --timeout %s", got.ExitCode, got.Stderr, f.within)
				got = s.run(t, f)
			}
			if got.ExitCode != f.code {
				t.Errorf("exit code %d, want %d", got.ExitCode, f.code)
			}
			texts.Is(t, f.name, s.toldBy(f, got))
			if f.code != 0 && got.Stderr != "" {
				expectBlock(t, got, f.code)
			}
			if !f.changed {
				if after := snapshot(t, s.core); after != before {
					t.Errorf("the kernel's state was changed:\n%s\nafter\n%s", before, after)
				}
				if now := s.Secondary(s.core); !slices.Equal(now, assigned) {
					t.Errorf("EC2 has assigned %v, before %v", now, assigned)
				}
				for _, call := range s.Calls(s.core)[calls:] {
					if call.Applied {
						t.Errorf("%s changed something", call)
					}
				}
			}
			if f.after != nil {
				f.after(t, s, got)
			}
			if t.Failed() {
				t.Logf("stdout\n%s\nstderr\n%s", got.Stdout, got.Stderr)
			}
		})
	}
}

// waited matches how long a run waited, or waits for an answer when its time runs out.
var waited = regexp.MustCompile(`\b(waiting|for|answer in) \d+s\b`)

// toldBy returns what the operator is told. A timeout that a busy machine has made longer does not
// show in it.
func (s *site) toldBy(f failure, got Result) string {
	text := s.told(got)
	if f.within > 0 {
		text = strings.ReplaceAll(waited.ReplaceAllString(text, "$1 Ns"), " "+f.within.String(), " TIMEOUT")
	}
	return text
}

func (s *site) run(t *testing.T, f failure) Result {
	t.Helper()
	ctx, cancel := contextFor(t)
	defer cancel()
	s.mu.Lock()
	s.stop = cancel
	s.mu.Unlock()
	args := list
	if s.args != nil {
		args = s.args
	} else if f.args != nil {
		args = f.args
	}
	if f.within > 0 {
		args = append([]string{"--timeout", f.within.String()}, args...)
	}
	got, err := s.Run(ctx, s.core, Command{Program: binary(t), Args: args, Env: f.env, User: f.user, Signal: f.signal, Quiet: true})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// block matches the final block of a failed run.
var block = regexp.MustCompile(`(?m)^emr-static-ip failed(: .+)? \(exit code (\d+)\)$`)

// expectBlock fails the test unless the run printed exactly one final block, with the exit code.
func expectBlock(t *testing.T, got Result, code int) {
	t.Helper()
	found := block.FindAllStringSubmatch(got.Stderr, -1)
	if len(found) != 1 || found[0][2] != strconv.Itoa(code) || (found[0][1] == "") != (code == 1) {
		t.Errorf("final blocks %q, want one of exit code %d", found, code)
	}
	if strings.ContainsFunc(got.Stderr, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
		t.Errorf("control characters in %q", got.Stderr)
	}
}

// TestEveryExitCode checks that the matrix has each exit code in the README, and no other.
func TestEveryExitCode(t *testing.T) {
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Exit codes\n")
	section, _, _ = strings.Cut(section, "\n## ")
	documented := map[int]string{}
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| ([^|]*?) *\|`).FindAllStringSubmatch(section, -1) {
		code, err := strconv.Atoi(row[1])
		if err != nil {
			t.Fatal(err)
		}
		documented[code] = row[2]
	}
	if len(documented) < 10 {
		t.Fatalf("the README documents only %v", documented)
	}
	covered := map[int][]string{}
	names := map[string]bool{}
	for _, f := range failures() {
		covered[f.code] = append(covered[f.code], f.name)
		if names[f.name] {
			t.Errorf("two failures are named %s", f.name)
		}
		names[f.name] = true
	}
	const crashed = 128 + int(syscall.SIGABRT) // no failure leads there; cmd/emr-static-ip tests it
	for _, code := range slices.Sorted(maps.Keys(documented)) {
		if len(covered[code]) == 0 && code != crashed {
			t.Errorf("no failure of the matrix has exit code %d: %s", code, documented[code])
		}
	}
	for code, names := range covered {
		if _, ok := documented[code]; !ok {
			t.Errorf("the README does not document exit code %d of %v", code, names)
		}
	}
}
