package lab

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// These tests change something during or after a run: the program is killed, the cluster grows and
// shrinks, the address is released.

// TestKilledAndRunAgain kills the agent after each kind of change to the account, whose answer is
// lost. Another run must complete the work.
func TestKilledAndRunAgain(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"ssm:PutParameter", "ec2:AssignPrivateIpAddresses", "ec2:CreateTags"} {
		t.Run(strings.ReplaceAll(at, ":", "-"), func(t *testing.T) {
			c := launch(t, nil)
			core := c.Nodes()[1]
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c.Cloud.Fault(func(call cloud.Call) cloud.FaultAction {
				if call.Key() == at && call.Caller == core.Instance && ctx.Err() == nil {
					return cloud.FaultAction{Kind: cloud.FaultHangAfter, Then: func() { core.Kill() }}
				}
				return cloud.FaultAction{}
			})
			args := []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}
			got := start(t, c, core, Command{Args: args})
			if got.ExitCode != 128+9 {
				t.Fatalf("exit code %d, want the code of a killed program\n%s", got.ExitCode, got.Stderr)
			}
			cancel()
			c.Cloud.Fault(nil)
			static := expectDone(t, c, core, start(t, c, core, Command{Args: args}))
			expectUnchanged(t, c, core)
			if records := c.Cloud.Parameters(); len(records) != 1 {
				t.Errorf("the ledger has %d records, want only the record of %v: %v", len(records), static, records)
			}
		})
	}
}

// TestEndedBySignal sends SIGTERM to an agent that waits for an answer.
func TestEndedBySignal(t *testing.T) {
	c := launch(t, nil)
	core := c.Nodes()[1]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Cloud.Fault(func(call cloud.Call) cloud.FaultAction {
		if call.Service != "imds" {
			cancel()
			return cloud.FaultAction{Kind: cloud.FaultHang}
		}
		return cloud.FaultAction{}
	})
	got, err := c.Run(ctx, core, Command{Program: binary(t), Args: []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}})
	if err != nil || got.ExitCode != 143 || got.Duration > 8*time.Second {
		t.Errorf("%v, exit code %d after %v, want 143 soon\n%s", err, got.ExitCode, got.Duration, got.Stderr)
	}
}

// TestClusterChanges adds a node to a cluster, terminates another, and replaces that one with the
// same list of addresses.
func TestClusterChanges(t *testing.T) {
	c := launch(t, nil)
	args := []string{"10.0.1.10", "10.0.1.11-13"}
	results := startAll(t, c, args...)
	taken := map[netip.Addr]bool{}
	for _, n := range c.Nodes() {
		taken[expectDone(t, c, n, results[n])] = true
	}
	grown, err := c.Grow(t.Context(), cloud.RoleCore)
	if err != nil {
		t.Fatal(err)
	}
	static := expectDone(t, c, grown, start(t, c, grown, Command{Args: args}))
	if taken[static] {
		t.Errorf("two nodes got %v", static)
	}
	lost := c.Nodes()[1]
	freed := c.Secondary(lost)
	c.Terminate(lost)
	replacement, err := c.Grow(t.Context(), cloud.RoleCore)
	if err != nil {
		t.Fatal(err)
	}
	if static := expectDone(t, c, replacement, start(t, c, replacement, Command{Args: args})); !slices.Equal(freed, []netip.Addr{static}) {
		t.Errorf("the replacement has %v, want the lost node's %v", static, freed)
	}
	for _, n := range c.Nodes() {
		expectUnchanged(t, c, n)
	}
}

// TestRelease releases the address. Kernel, EC2 and ledger must be as before.
func TestRelease(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ release, backend string }{
		{"emr-6.15.0", "auto"}, {"emr-7.5.0", "auto"}, {"emr-6.15.0", "iptables"}, {"emr-7.5.0", "iptables"},
	} {
		t.Run(test.release+" "+test.backend, func(t *testing.T) {
			c := launch(t, func(s *ClusterSpec) { s.Release = test.release })
			core := c.Nodes()[1]
			before := snapshot(t, core)
			expectDone(t, c, core, start(t, c, core, Command{Args: []string{"10.0.1.10", "10.0.1.11", "10.0.1.12", "--nat-backend", test.backend}}))
			got := start(t, c, core, Command{Args: []string{"release"}})
			if got.ExitCode != 0 {
				t.Errorf("exit code %d\n%s", got.ExitCode, got.Stderr)
			}
			if assigned, records := c.Secondary(core), c.Cloud.Parameters(); len(assigned) > 0 || len(records) > 0 {
				t.Errorf("still assigned: %v; in the ledger: %v", assigned, records)
			}
			if after := snapshot(t, core); legacyTable.ReplaceAllString(after, "") != before {
				t.Errorf("the kernel's state differs: before\n%s\nafter\n%s", before, after)
			}
			expectUnchanged(t, c, core, "release")
			if _, err := core.ReadFile("/var/lib/emr-static-ip/state.json"); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		})
	}
}

// legacyTable matches an iptables table without rules. The first use of a table creates it for
// good.
var legacyTable = regexp.MustCompile(`(?m)^\*nat\n(:\w+ ACCEPT\n)*COMMIT\n|^table ip nat \{\n(\tchain \w+ \{\n\t\ttype nat hook .*\n\t\}\n\n?)*\}\n`)
