package lab

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
)

// TestPlain runs the real binary on instances outside EMR, with the policy that does not name EMR:
// a scale-out, doctor, plan, status, a lost rule and a release.
func TestPlain(t *testing.T) {
	t.Parallel()
	for name, group := range map[string]string{"Auto Scaling group": "web", "no group": ""} {
		t.Run(name, func(t *testing.T) {
			c := launch(t, func(s *ClusterSpec) {
				s.Cores, s.Plain, s.Group = 0, 3, group
				s.Policies = []string{iam.Place{}.Policy(iam.PlainProfile), iam.Place{}.Policy(iam.Doctor)}
			})
			const list = "10.0.1.10-19"
			given := map[netip.Addr]bool{}
			for n, got := range startAll(t, c, "--ips", list) {
				given[expectDone(t, c, n, got)] = true
			}
			added, err := c.Grow(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			static := expectDone(t, c, added, start(t, c, added, Command{Args: []string{"--ips", list}}))
			if given[static] = true; len(given) != 4 {
				t.Errorf("4 nodes have the addresses %v", given)
			}
			nodes := c.Nodes()
			for _, n := range nodes {
				if tag := c.NameTag(n); tag != "test" {
					t.Errorf("%s: the Name tag is %q: there is no role to append", n.Name, tag)
				}
				if again := start(t, c, n, Command{}); again.ExitCode != 0 || !strings.Contains(again.Stdout, "changed=0 ") {
					t.Errorf("%s: a second run: exit code %d\n%s%s", n.Name, again.ExitCode, again.Stdout, again.Stderr)
				}
			}
			n := nodes[0]
			for _, args := range []string{"status", "doctor --ips " + list, "plan --ips " + list, "restore"} {
				if got := start(t, c, n, Command{Args: strings.Fields(args)}); got.ExitCode != 0 {
					t.Errorf("%s: exit code %d\n%s%s", args, got.ExitCode, got.Stdout, got.Stderr)
				}
			}
			if got := start(t, c, n, Command{Args: []string{"release"}}); got.ExitCode != 0 || len(c.Secondary(n)) > 0 {
				t.Errorf("release: exit code %d, assigned %v\n%s", got.ExitCode, c.Secondary(n), got.Stderr)
			}
			if addresses, err := n.Addresses(t.Context(), n.Link); err != nil || slices.ContainsFunc(addresses, func(a string) bool { return strings.HasPrefix(a, "10.0.1.1") && strings.HasSuffix(a, "/32") }) {
				t.Errorf("after the release: %v, %v", addresses, err)
			}
		})
	}
}

// TestPlainOnEMR checks that a node of EMR refuses a list without roles, and changes nothing.
func TestPlainOnEMR(t *testing.T) {
	c := launch(t, func(s *ClusterSpec) { s.Cores = 0 })
	n := c.Nodes()[0]
	before := snapshot(t, n)
	got := start(t, c, n, Command{Args: []string{"--ips", "10.0.1.10-19"}})
	if got.ExitCode != 2 || len(c.Secondary(n)) > 0 || snapshot(t, n) != before || !strings.Contains(got.Stderr, c.ID) {
		t.Errorf("exit code %d, assigned %v\n%s", got.ExitCode, c.Secondary(n), got.Stderr)
	}
}
