package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// These tests run the real program on nodes of a lab, with endpoints that cannot be AWS's.

// built returns the program under test: EMR_STATIC_IP_BINARY, or a build of this checkout, or the
// program in PATH if there is no Go.
var built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("EMR_STATIC_IP_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	if _, err := exec.LookPath("go"); err != nil {
		return exec.LookPath("emr-static-ip")
	}
	path := filepath.Join(os.Getenv(buildVariable), "emr-static-ip")
	out, err := exec.Command("go", "build", "-o", path, "github.com/emr-static-ip/emr-static-ip/cmd/emr-static-ip").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building emr-static-ip: %w\n%s", err, out)
	}
	return path, nil
})

func binary(t *testing.T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// launch builds a cluster with one master and two core nodes. Its static IPs are 10.0.1.10 to .19.
// The test runs in parallel with others, because labs do not see each other.
func launch(t *testing.T, change func(*ClusterSpec)) *Cluster {
	t.Helper()
	t.Parallel()
	needNamespaces(t)
	spec := ClusterSpec{
		Account:  cloud.Options{Seed: newSeed(), Quotas: cloud.DefaultQuotas(), ShutdownTime: cloud.Exactly(time.Second)},
		Cores:    2,
		NameTag:  "test",
		Policies: []string{iam.Place{}.Policy(iam.InstanceProfile), iam.Place{}.Policy(iam.Doctor)},
		Progress: func(e Event) { t.Logf("%-8s %s", e.Node, e.Text) },
	}
	for n := range byte(10) {
		spec.Static = append(spec.Static, netip.AddrFrom4([4]byte{10, 0, 1, 10 + n}))
	}
	if change != nil {
		change(&spec)
	}
	t.Logf("seed %[1]d of the cloud model: -args -seed %[1]d repeats addresses and identifiers, not the order of calls", spec.Account.Seed)
	c, err := Launch(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// start runs the agent on a node and returns when it has ended.
func start(t *testing.T, c *Cluster, n *Node, cmd Command) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd.Program = binary(t)
	expectReserved(t, c, cmd.Args)
	got, err := c.Run(ctx, n, cmd)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// startAll runs the agent on all nodes at once.
func startAll(t *testing.T, c *Cluster, args ...string) map[*Node]Result {
	t.Helper()
	binary(t)
	expectReserved(t, c, args)
	var mu sync.Mutex
	results := map[*Node]Result{}
	var all sync.WaitGroup
	for _, n := range c.Nodes() {
		all.Go(func() {
			got, err := c.Run(t.Context(), n, Command{Program: binary(t), Args: args})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			results[n] = got
			mu.Unlock()
		})
	}
	all.Wait()
	return results
}

// expectDone fails the test unless the run succeeded, the node has exactly one static IP, and a
// download uses that address.
func expectDone(t *testing.T, c *Cluster, n *Node, got Result) netip.Addr {
	t.Helper()
	assigned := c.Secondary(n)
	if got.ExitCode != 0 || len(assigned) != 1 {
		t.Errorf("%s: exit code %d, assigned %v\n%s%s", n.Name, got.ExitCode, assigned, got.Stdout, got.Stderr)
		return netip.Addr{}
	}
	if source, err := c.Download(t.Context(), n); err != nil || source != assigned[0] {
		t.Errorf("%s: download: %v from %v, want %v", n.Name, err, source, assigned[0])
	}
	if answer, err := c.CallNode(t.Context(), assigned[0]); err != nil || answer.Name != n.Name {
		t.Errorf("%s: call to %v: %+v, %v", n.Name, assigned[0], answer, err)
	}
	if record, found, err := c.Ledger(assigned[0]); err != nil || !found || !strings.Contains(record, n.Instance) {
		t.Errorf("%s: ledger for %v: %q, %v, %v", n.Name, assigned[0], record, found, err)
	}
	return assigned[0]
}

// expectUnchanged fails the test unless a run reports changed=0 and leaves the kernel unchanged.
func expectUnchanged(t *testing.T, c *Cluster, n *Node, args ...string) {
	t.Helper()
	before, err := n.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := start(t, c, n, Command{Args: args})
	if got.ExitCode != 0 || !regexp.MustCompile(`(?m)^changed=0 `).MatchString(got.Stdout) {
		t.Errorf("%s: a run with %q: exit code %d, want changed=0\n%s%s", n.Name, args, got.ExitCode, got.Stdout, got.Stderr)
	}
	after, err := n.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Errorf("%s: a run with %q changed the kernel's state:\n%s\nafter\n%s", n.Name, args, before, after)
	}
}

// expectUntouched fails the test if the node's kernel was changed, or the account by the node.
func expectUntouched(t *testing.T, c *Cluster, n *Node, before string) {
	t.Helper()
	after, err := n.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Errorf("%s: the kernel's state was changed:\n%s\nafter\n%s", n.Name, before, after)
	}
	if assigned := c.Secondary(n); len(assigned) > 0 {
		t.Errorf("%s: EC2 assigned %v", n.Name, assigned)
	}
	for _, call := range c.Calls(n) {
		if call.Applied {
			t.Errorf("%s: %s changed something", n.Name, call)
		}
	}
}

func snapshot(t *testing.T, n *Node) string {
	t.Helper()
	s, err := n.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFirstLaunchAndRerun(t *testing.T) {
	t.Parallel()
	list := []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}
	for _, test := range []struct {
		name   string
		change func(*ClusterSpec)
		args   []string
	}{
		{"emr-6", func(s *ClusterSpec) { s.Release = "emr-6.15.0" }, list},
		{"emr-7", func(s *ClusterSpec) { s.Release = "emr-7.5.0" }, list},
		{"emr-6 with iptables by name", func(s *ClusterSpec) { s.Release = "emr-6.15.0" }, append([]string{"--nat-backend", "iptables"}, list...)},
		{"emr-7 with iptables by name", func(s *ClusterSpec) { s.Release = "emr-7.5.0" }, append([]string{"--nat-backend", "iptables"}, list...)},
		{"emr-7 without iptables", func(s *ClusterSpec) { s.Iptables = IptablesNone }, list},
		{"emr-7 with iptables legacy", func(s *ClusterSpec) { s.Iptables = IptablesLegacy }, list},
		{"few files", func(s *ClusterSpec) { s.Files = cloud.FilesMinimal }, list},
		{"own group unknown to the files", func(s *ClusterSpec) { s.Files = cloud.FilesNoGroup }, list},
		{"fleets", func(s *ClusterSpec) { s.Fleets = true }, []string{"10.0.1.10-12"}},
		{"three masters and a task node", func(s *ClusterSpec) { s.Masters, s.Cores, s.Tasks = 3, 1, 1 },
			[]string{"--master-ips", "10.0.1.10-10.0.1.12", "--core-ips=10.0.1.13", "--task-ips", "10.0.1.14,10.0.1.15"}},
		{"late describes and metadata", func(s *ClusterSpec) {
			s.Account.RemapDelay, s.Account.IMDSDelay = cloud.Range{Max: 2 * time.Second}, cloud.Range{Max: 3 * time.Second}
			s.Account.StaleSSM = cloud.Staleness{Probability: 0.3, MaxAge: time.Second}
		}, list},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := launch(t, test.change)
			results := startAll(t, c, test.args...)
			holders := map[netip.Addr]string{}
			for _, n := range c.Nodes() {
				static := expectDone(t, c, n, results[n])
				if other, twice := holders[static]; twice {
					t.Errorf("%s and %s both have %v", n.Name, other, static)
				}
				holders[static] = n.Name
				if got := c.NameTag(n); got != "test-"+n.Role {
					t.Errorf("%s: name tag %q", n.Name, got)
				}
				if got := n.IMDSSources(); !slices.Equal(got, []netip.Addr{n.Primary.Address}) {
					t.Errorf("%s: IMDS saw requests from %v", n.Name, got)
				}
			}
			for _, n := range c.Nodes() {
				expectUnchanged(t, c, n)
				expectUnchanged(t, c, n, test.args...)
			}
			if got, err := c.Spoofed(t.Context()); err != nil || got > 0 {
				t.Errorf("the VPC dropped %d packets whose source address was not the sender's (%v)", got, err)
			}
		})
	}
}

func TestTaskNodeWithoutPool(t *testing.T) {
	c := launch(t, func(s *ClusterSpec) { s.Cores, s.Tasks = 1, 1 })
	task := c.Nodes()[2]
	before := snapshot(t, task)
	got := start(t, c, task, Command{Args: []string{"10.0.1.10", "10.0.1.11"}})
	if got.ExitCode != 0 {
		t.Errorf("exit code %d, want 0\n%s%s", got.ExitCode, got.Stdout, got.Stderr)
	}
	golden.Is(t, "task-node-without-pool.txt", c.told(got))
	expectUntouched(t, c, task, before)
}

func TestPoolTooSmall(t *testing.T) {
	c := launch(t, func(s *ClusterSpec) { s.Cores = 3 })
	for _, n := range c.Nodes()[:2] {
		before := snapshot(t, n)
		got := start(t, c, n, Command{Args: []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}})
		if got.ExitCode != 2 || !strings.Contains(got.Stderr, "2") || !strings.Contains(got.Stderr, "3") {
			t.Errorf("%s: exit code %d, want 2 and both numbers\n%s", n.Name, got.ExitCode, got.Stderr)
		}
		expectUntouched(t, c, n, before)
	}
}

// TestProblemsAtOnce gives several wrong addresses. The error must name each of them, and nothing
// must be changed.
func TestProblemsAtOnce(t *testing.T) {
	c := launch(t, nil)
	core := c.Nodes()[1]
	before := snapshot(t, core)
	got := start(t, c, core, Command{Args: []string{"10.0.1.2", "10.99.2.11", core.Primary.Address.String(), "10.0.1.255"}})
	for _, named := range []string{"10.0.1.2", "10.99.2.11", core.Primary.Address.String(), "10.0.1.255"} {
		if !strings.Contains(got.Stderr, named) {
			t.Errorf("the error does not name %s", named)
		}
	}
	if got.ExitCode != 2 {
		t.Errorf("exit code %d, want 2", got.ExitCode)
	}
	if t.Failed() {
		t.Log(got.Stderr)
	}
	expectUntouched(t, c, core, before)
}

func TestLateIMDS(t *testing.T) {
	c := launch(t, func(s *ClusterSpec) { s.IMDSDelay = 4 * time.Second })
	core := c.Nodes()[1]
	got := start(t, c, core, Command{Args: []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}})
	expectDone(t, c, core, got)
	if got.Duration < 3*time.Second {
		t.Errorf("done after %v, before the metadata service answered", got.Duration)
	}
}

func TestIMDSNeverComes(t *testing.T) {
	c := launch(t, func(s *ClusterSpec) { s.IMDSDelay = time.Hour })
	core := c.Nodes()[1]
	before := snapshot(t, core)
	got := start(t, c, core, Command{Args: []string{"10.0.1.10", "10.0.1.11", "10.0.1.12", "--imds-timeout", "3s"}})
	if (got.ExitCode != 5 && got.ExitCode != 3) || got.Duration > 20*time.Second || !strings.Contains(got.Stderr, "169.254.169.254") {
		t.Errorf("exit code %d after %v, want 3 or 5 soon after 3 s and the address of the metadata service\n%s", got.ExitCode, got.Duration, got.Stderr)
	}
	expectUntouched(t, c, core, before)
}

// TestEndpointUnreachable uses a VPC endpoint whose security group does not admit the nodes: it
// drops their packets.
func TestEndpointUnreachable(t *testing.T) {
	c := launch(t, func(s *ClusterSpec) { s.EndpointBlocked = true })
	core := c.Nodes()[1]
	before := snapshot(t, core)
	got := start(t, c, core, Command{Args: []string{"10.0.1.10", "10.0.1.11", "10.0.1.12", "--timeout", "20s"}})
	if got.ExitCode != 5 || got.Duration > 30*time.Second || !strings.Contains(got.Stderr, "endpoint") {
		t.Errorf("exit code %d after %v, want 5 and an error that names the endpoint\n%s", got.ExitCode, got.Duration, got.Stderr)
	}
	expectUntouched(t, c, core, before)
}

// TestProxyIsForAWSOnly sets a proxy that does not exist. The program must not use it for IMDS.
func TestProxyIsForAWSOnly(t *testing.T) {
	c := launch(t, nil)
	core := c.Nodes()[1]
	got := start(t, c, core, Command{
		Args: []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"},
		Env:  []string{"HTTP_PROXY=http://10.0.9.9:3128", "http_proxy=http://10.0.9.9:3128", "NO_PROXY=" + c.Plan().Endpoint.String()},
	})
	expectDone(t, c, core, got)
}
