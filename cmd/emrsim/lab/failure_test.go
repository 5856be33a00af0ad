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
)

// A failure is something that goes wrong on a node, and what an operator who has only the log is told of it: the cause, and what to do.
type failure struct {
	name    string
	cluster func(*ClusterSpec)      // the cluster has a master and one core node, which is the one that fails
	prepare func(*testing.T, *site) // what goes wrong
	args    []string                // nil: the list of addresses
	env     []string                // beside the node's own
	user    string                  // as in Command
	signal  syscall.Signal          // sent when prepare's site is stopped
	within  time.Duration           // --timeout; where a busy machine needs more to come to the point, the run is repeated with more
	code    int
	told    []string // what stderr (of status: stdout) says: cause, then remedy
	changed bool     // something had been changed before, or is changed; without it nothing may be: in EC2, in the ledger, in the kernel
	after   func(*testing.T, *site, Result)
}

// site is where a failure takes place.
type site struct {
	*Cluster
	core *Node

	mu     sync.Mutex
	denied string // the action that IAM denies: ec2:CreateTags
	stop   func() // ends the program by its failure's signal

	args []string // in the place of the failure's: what prepare found out
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

// faults makes every call for which only says so go wrong.
func (s *site) faults(only func(cloud.Call) bool, action cloud.FaultAction) {
	s.Cloud.Fault(func(call cloud.Call) cloud.FaultAction {
		if call.Caller == s.core.Instance && only(call) {
			return action
		}
		return cloud.FaultAction{}
	})
}

// list is what a master and one core node are given.
var list = []string{"10.0.1.10", "10.0.1.11"}

// failures is the whole matrix.
func failures() []failure {
	return slices.Concat(argumentFailures(), identityFailures(), permissionFailures(), endpointFailures(), addressFailures(), nodeFailures(), endings())
}

// TestFailures runs the real program into each failure: cause, remedy and exit code are what the operator is told, and a run that fails before it has
// begun to change anything leaves everything as it was.
func TestFailures(t *testing.T) {
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
			before, attached, calls := snapshot(t, s.core), s.Secondary(s.core), len(s.Calls(s.core))
			got := s.run(t, f)
			for f.within > 0 && f.within < time.Minute && (got.ExitCode != f.code || len(f.untold(got)) > 0) {
				f.within *= 4
				t.Logf("exit code %d, not told %q: again, within %s", got.ExitCode, f.untold(got), f.within)
				got = s.run(t, f)
			}
			if got.ExitCode != f.code {
				t.Errorf("exit code %d, want %d", got.ExitCode, f.code)
			}
			for _, part := range f.untold(got) {
				t.Errorf("lacks %q", part)
			}
			if got.Stderr != "" && f.code != 0 && strings.Contains(got.Stderr, "failed") {
				expectBlock(t, got, f.code)
			}
			if !f.changed {
				if after := snapshot(t, s.core); after != before {
					t.Errorf("the kernel's state was changed:\n%s\nafter\n%s", before, after)
				}
				if now := s.Secondary(s.core); !slices.Equal(now, attached) {
					t.Errorf("EC2 attached %v, before %v", now, attached)
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

// untold is what the run should have told and has not.
func (f failure) untold(got Result) []string {
	return slices.DeleteFunc(slices.Clone(f.told), func(part string) bool { return strings.Contains(got.Stderr+got.Stdout, part) })
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

// block is the final block of a failed run.
var block = regexp.MustCompile(`(?m)^emr-static-ip failed: (.+) \(exit code (\d+)\)$`)

// expectBlock fails the test unless the run ended with its final block, which has the exit code and says what to do.
func expectBlock(t *testing.T, got Result, code int) {
	t.Helper()
	found := block.FindAllStringSubmatch(got.Stderr, -1)
	if len(found) != 1 || found[0][2] != strconv.Itoa(code) || found[0][1] == "" {
		t.Errorf("final blocks %q, want one of exit code %d", found, code)
	}
	for _, title := range []string{"what failed", "what to do"} {
		if !strings.Contains(got.Stderr, "\n"+title+"\n") && !(title == "what to do" && code >= 128) {
			t.Errorf("the final block lacks %q", title)
		}
	}
	if strings.ContainsFunc(got.Stderr, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
		t.Errorf("control characters in %q", got.Stderr)
	}
}

// TestEveryExitCode: the matrix has each exit code that the README documents, and no other.
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
		if len(f.told) == 0 {
			t.Errorf("%s: nothing is asked of what is told", f.name)
		}
		if names[f.name] {
			t.Errorf("%s is there twice", f.name)
		}
		names[f.name] = true
	}
	for _, code := range slices.Sorted(maps.Keys(documented)) {
		if len(covered[code]) == 0 {
			t.Errorf("no end-to-end test ends with exit code %d: %s", code, documented[code])
		}
	}
	for code, names := range covered {
		if _, ok := documented[code]; !ok {
			t.Errorf("the README does not document exit code %d of %v", code, names)
		}
	}
}
