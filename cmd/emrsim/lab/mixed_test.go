package lab

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// These tests have nodes of two versions in one subnet, with one ledger and as many addresses as
// nodes. The version under test asks EC2 first. The former version writes its record first.

// mixed is a cluster with one master, some core nodes, and the list of addresses for them.
type mixed struct {
	*Cluster
	t        *testing.T
	old, new string // programs
	list     []string
}

func launchMixed(t *testing.T, cores int, change func(*ClusterSpec)) *mixed {
	t.Helper()
	m := &mixed{t: t, list: []string{"10.0.1.10"}}
	for n := range byte(cores) {
		m.list = append(m.list, netip.AddrFrom4([4]byte{10, 0, 1, 11 + n}).String())
	}
	m.Cluster = launch(t, func(s *ClusterSpec) {
		if s.Cores = cores; change != nil {
			change(s)
		}
	})
	m.old, m.new = need(t, claimFirstVersion), binary(t)
	return m
}

// run runs a program on each node at the same time and returns the results. Without args it passes
// the list of addresses.
func (m *mixed) run(what map[*Node]string, args ...string) map[*Node]Result {
	m.t.Helper()
	if len(args) == 0 {
		args = m.list
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	results := map[*Node]Result{}
	for n, program := range what {
		all.Go(func() {
			got, err := m.Run(m.t.Context(), n, Command{Program: program, Args: args, Env: []string{nodePath + ":" + programs}})
			mu.Lock()
			defer mu.Unlock()
			if results[n] = got; err != nil {
				m.t.Errorf("%s: %v", n.Name, err)
			}
		})
	}
	all.Wait()
	return results
}

// each returns the same program for all nodes.
func each(program string, nodes ...*Node) map[*Node]string {
	what := map[*Node]string{}
	for _, n := range nodes {
		what[n] = program
	}
	return what
}

// killAt kills the program on a node right after the given call has had its effect; its answer is
// lost. The returned function switches this off.
func (m *mixed) killAt(points map[*Node]string) (end func()) {
	ctx, cancel := context.WithCancel(m.t.Context())
	m.t.Cleanup(cancel)
	m.Cloud.Fault(func(call cloud.Call) cloud.FaultAction {
		for n, at := range points {
			if call.Caller == n.Instance && call.Key() == at && ctx.Err() == nil {
				return cloud.FaultAction{Kind: cloud.FaultHangAfter, Then: n.Kill}
			}
		}
		return cloud.FaultAction{}
	})
	return func() {
		cancel()
		m.Cloud.Fault(nil)
	}
}

// agree checks that each node has and uses one address, that no two nodes have the same one, and
// that the ledger has exactly their records.
func (m *mixed) agree(results map[*Node]Result) {
	m.t.Helper()
	holders := map[netip.Addr]string{}
	for _, n := range m.Nodes() {
		static := expectDone(m.t, m.Cluster, n, results[n])
		if other, twice := holders[static]; twice {
			m.t.Errorf("%s and %s both have %v", n.Name, other, static)
		}
		holders[static] = n.Name
	}
	if records := m.Cloud.Parameters(); len(records) != len(m.Nodes()) {
		m.t.Errorf("%d records for %d nodes: %v", len(records), len(m.Nodes()), records)
	}
}

// TestMixedLaunch starts nodes of both versions at the same time. Every node must get an address at
// once. After one more run of each node, nodes and ledger must agree.
func TestMixedLaunch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*ClusterSpec)
	}{
		{"prompt", nil},
		{"late describes and reads", func(s *ClusterSpec) {
			s.Account.RemapDelay, s.Account.StaleEC2 = cloud.Range{Max: 2 * time.Second}, cloud.Staleness{Probability: 0.3, MaxAge: 2 * time.Second}
			s.Account.StaleSSM = cloud.Staleness{Probability: 0.3, MaxAge: time.Second}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := launchMixed(t, 4, test.change)
			what := map[*Node]string{}
			for i, n := range m.Nodes() {
				what[n] = []string{m.new, m.old}[i%2]
			}
			for n, got := range m.run(what) {
				if got.ExitCode != 0 || len(m.Secondary(n)) != 1 {
					t.Errorf("%s: exit code %d, assigned %v\n%s", n.Name, got.ExitCode, m.Secondary(n), got.Stderr)
				}
			}
			m.agree(m.run(what))
		})
	}
}

// TestUpgradeInALaunch kills nodes of the former version half way, beside nodes of the new version,
// and runs the new version on them.
func TestUpgradeInALaunch(t *testing.T) {
	m := launchMixed(t, 4, nil)
	cores := m.Nodes()[1:]
	end := m.killAt(map[*Node]string{cores[0]: "ssm:PutParameter", cores[1]: "ec2:AssignPrivateIpAddresses", cores[2]: "ec2:CreateTags"})
	what := each(m.old, cores[:3]...)
	what[m.Nodes()[0]], what[cores[3]] = m.new, m.new
	for n, got := range m.run(what) {
		if want := map[string]int{m.old: 128 + 9, m.new: 0}[what[n]]; got.ExitCode != want {
			t.Errorf("%s: exit code %d, want %d\n%s", n.Name, got.ExitCode, want, got.Stderr)
		}
	}
	end()
	m.run(each(m.new, cores[:3]...))
	m.agree(m.run(each(m.new, m.Nodes()...)))
	for _, n := range m.Nodes() {
		expectUnchanged(t, m.Cluster, n, m.list...)
	}
}

// TestRollbackInALaunch runs the former version on nodes on which the new version was killed half
// way, has finished, or has left its record to the timer. Then the former version releases the
// addresses.
func TestRollbackInALaunch(t *testing.T) {
	m := launchMixed(t, 5, nil)
	cores := m.Nodes()[1:]
	before := map[*Node]string{}
	for _, n := range cores {
		before[n] = snapshot(t, n)
	}
	end := m.killAt(map[*Node]string{cores[0]: "ssm:PutParameter", cores[1]: "ec2:AssignPrivateIpAddresses", cores[2]: "ec2:CreateTags"})
	finished := m.run(each(m.new, m.Nodes()[:5]...))
	for i, n := range m.Nodes()[:5] {
		if want := []int{0, 128 + 9, 128 + 9, 128 + 9, 0}[i]; finished[n].ExitCode != want {
			t.Errorf("%s: exit code %d, want %d\n%s", n.Name, finished[n].ExitCode, want, finished[n].Stderr)
		}
	}
	end()
	m.pending(cores[4])
	m.run(each(m.old, cores...))
	results := m.run(each(m.old, cores...))
	results[m.Nodes()[0]] = finished[m.Nodes()[0]]
	m.agree(results)
	for n, got := range m.run(each(m.old, cores...), "release") {
		if got.ExitCode != 0 || len(m.Secondary(n)) > 0 {
			t.Errorf("%s: release: exit code %d, assigned %v\n%s", n.Name, got.ExitCode, m.Secondary(n), got.Stderr)
		}
		if after := snapshot(t, n); after != before[n] {
			t.Errorf("%s: state after the release\n%s\nbefore\n%s", n.Name, after, before[n])
		}
	}
	if records := m.Cloud.Parameters(); len(records) != 1 {
		t.Errorf("records %v, want only the record of the master", records)
	}
}

// programs is the directory of a node in which tests put programs.
const programs = "/mnt/programs"

// pending runs the new version on a node so that it leaves its record to the timer. For this the
// node looks as if systemd ran there, and the node's turn to write is a minute away.
func (m *mixed) pending(n *Node) {
	m.t.Helper()
	if err := n.WriteFile("/run/systemd/system/.keep", nil); err != nil {
		m.t.Fatal(err)
	}
	if err := n.WriteFile(programs+"/systemctl", []byte("#!/bin/sh\n")); err != nil {
		m.t.Fatal(err)
	}
	if _, err := n.Output(m.t.Context(), "chmod", "755", programs+"/systemctl"); err != nil {
		m.t.Fatal(err)
	}
	got := m.run(each(m.new, n), append([]string{"--ssm-put-rate", "0.02"}, m.list...)...)[n]
	assigned := m.Secondary(n)
	known, err := n.ReadFile(stateFile)
	if err != nil || got.ExitCode != 0 || len(assigned) != 1 || !strings.Contains(string(known), `"record_due"`) {
		m.t.Fatalf("%s: exit code %d, assigned %v\n%s%s", n.Name, got.ExitCode, assigned, got.Stdout, got.Stderr)
	}
	if record, found, err := m.Ledger(assigned[0]); err != nil || found {
		m.t.Errorf("%s: the record was written already: %q, %v", n.Name, record, err)
	}
}
