package lab

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// These tests are about the time after the bootstrap action: neighbours that rewrite addresses and
// rules, a reboot, an address that is moved.

// TestNeighbours lets neighbours spoil the kernel's state. status must report the damage, and the
// next restore must repair and report it.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	named := []string{"--nat-backend", "iptables"}
	flushed := [][]string{{"iptables", "-t", "nat", "-F"}, {"iptables", "-t", "nat", "-X"}}
	for _, variant := range []struct {
		name     string
		release  string
		iptables Iptables
		args     []string
		flush    [][]string // deletes the rules
	}{
		{"iptables nft", "emr-7.5.0", IptablesNFT, named, flushed}, {"iptables legacy", "emr-6.15.0", IptablesLegacy, named, flushed},
		{"nftables beside iptables", "emr-6.15.0", IptablesLegacy, nil, [][]string{{"nft", "flush", "ruleset"}}},
		{"nftables", "emr-7.5.0", IptablesNone, nil, nil},
	} {
		t.Run(variant.name, func(t *testing.T) {
			c := launch(t, func(s *ClusterSpec) { s.Release, s.Iptables = variant.release, variant.iptables })
			core := c.Nodes()[1]
			static := expectDone(t, c, core, start(t, c, core, Command{Args: append([]string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}, variant.args...)}))
			calls := c.APICalls(core)
			expectUnchanged(t, c, core, "restore")
			if n := c.APICalls(core); n != calls {
				t.Errorf("restore made %d calls to AWS", n-calls)
			}
			expectStatus(t, c, core, 0, "in order")
			address := static.String() + "/32"
			own := core.Primary.Address.String() + "/24"

			spoil(t, c, core, "a DHCP renewal that deletes secondary addresses", static, "ip addr add "+address, [][]string{
				{"ip", "addr", "flush", "dev", core.Link, "to", address}})
			spoil(t, c, core, "a DHCP hook that makes the link anew", static, "ip addr add "+address, [][]string{
				{"ip", "addr", "flush", "dev", core.Link}, {"ip", "addr", "add", own, "brd", "+", "dev", core.Link}, {"ip", "route", "replace", "default", "via", c.Plan().Gateway.String(), "dev", core.Link}})
			if variant.flush == nil {
				return // no program to delete the rules
			}
			spoil(t, c, core, "a restarted firewall that flushes the rules", static, "EMR-STATIC-IP-OUT", variant.flush)
			spoil(t, c, core, "a reboot", static, "EMR-STATIC-IP-IN", append(slices.Clip(variant.flush), []string{"ip", "addr", "del", address, "dev", core.Link}))
			if variant.args == nil {
				return // the table's priority puts it before all others
			}
			spoil(t, c, core, "Docker's rule in front of ours", static, "POSTROUTING", [][]string{
				{"iptables", "-t", "nat", "-I", "POSTROUTING", "-s", "172.17.0.0/16", "-j", "MASQUERADE"}})
		})
	}
}

// spoil runs a neighbour's commands on the node. It fails the test unless restore repairs the
// damage.
func spoil(t *testing.T, c *Cluster, n *Node, what string, static netip.Addr, reported string, commands [][]string) {
	t.Helper()
	for _, argv := range commands {
		if out, err := spoilWith(t.Context(), n, argv); err != nil {
			t.Fatalf("%s: %v: %v %s", what, argv, err, out)
		}
	}
	expectStatus(t, c, n, 10, "drifted")
	got := start(t, c, n, Command{Args: []string{"restore"}})
	if got.ExitCode != 0 || !strings.Contains(got.Stdout, reported) || regexp.MustCompile(`(?m)^changed=0 `).MatchString(got.Stdout) || !strings.Contains(got.Stderr, " WARN ") {
		t.Errorf("%s: exit code %d, want a report of %s\n%s%s", what, got.ExitCode, reported, got.Stdout, got.Stderr)
	}
	expectUnchanged(t, c, n, "restore")
	expectStatus(t, c, n, 0, "in order")
	if source, err := c.Download(t.Context(), n); err != nil || source != static {
		t.Errorf("%s: download: %v from %v, want %v", what, err, source, static)
	}
}

// expectStatus fails the test unless status returns this verdict in both formats and changes
// nothing.
func expectStatus(t *testing.T, c *Cluster, n *Node, code int, verdict string) {
	t.Helper()
	before := snapshot(t, n)
	got := start(t, c, n, Command{Args: []string{"status"}, Quiet: true})
	if got.ExitCode != code || !strings.Contains(got.Stdout, "\nstatus     "+verdict+"\n") {
		t.Errorf("status: exit code %d, want %d and %q\n%s%s", got.ExitCode, code, verdict, got.Stdout, got.Stderr)
	}
	var parsed struct{ Verdict string }
	got = start(t, c, n, Command{Args: []string{"status", "-o", "json"}, Quiet: true})
	if err := json.Unmarshal([]byte(got.Stdout), &parsed); err != nil || parsed.Verdict != verdict || got.ExitCode != code {
		t.Errorf("status -o json: exit code %d, %v\n%s", got.ExitCode, err, got.Stdout)
	}
	if after := snapshot(t, n); after != before {
		t.Errorf("status changed the kernel's state:\n%s\nafter\n%s", before, after)
	}
}

// TestAddressAddedByTheSystem lets the timer of Amazon Linux 2023 add the address first, as /32 or
// with the subnet's prefix length. The program must keep it.
func TestAddressAddedByTheSystem(t *testing.T) {
	t.Parallel()
	for _, length := range []string{"/32", "/24"} {
		t.Run(length[1:], func(t *testing.T) {
			c := launch(t, nil)
			core := c.Nodes()[1]
			c.Cloud.Fault(func(call cloud.Call) cloud.FaultAction {
				if call.Action == "AssignPrivateIpAddresses" && call.Caller == core.Instance {
					return cloud.FaultAction{Then: func() {
						for _, a := range c.Secondary(core) {
							if _, err := core.Output(t.Context(), "ip", "addr", "add", a.String()+length, "dev", core.Link); err != nil {
								t.Error(err)
							}
						}
					}}
				}
				return cloud.FaultAction{}
			})
			got := start(t, c, core, Command{Args: []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}})
			static := expectDone(t, c, core, got)
			if strings.Contains(got.Stdout, "ip addr add") {
				t.Errorf("the address was added a second time:\n%s", got.Stdout)
			}
			expectUnchanged(t, c, core, "restore")
			// The address returns with another prefix length. There must still be one address and
			// nothing to do.
			for _, argv := range [][]string{{"addr", "del", static.String() + length, "dev", core.Link}, {"addr", "add", static.String() + "/26", "dev", core.Link}} {
				if out, err := core.Output(t.Context(), "ip", argv...); err != nil {
					t.Fatal(err, out)
				}
			}
			expectUnchanged(t, c, core, "restore")
			if list, err := core.Addresses(t.Context(), core.Link); err != nil || strings.Count(strings.Join(list, " "), static.String()+"/") != 1 {
				t.Errorf("%v, %v", list, err)
			}
		})
	}
}

// TestPlanChangesNothing compares plan with apply. plan runs as root, and as a user who cannot
// become root.
func TestPlanChangesNothing(t *testing.T) {
	c := launch(t, nil)
	core := c.Nodes()[1]
	args := []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}
	before := snapshot(t, core)
	users := []string{"root", "hadoop"}
	if OneUser() {
		users = users[:1]
	}
	for _, user := range users {
		got := start(t, c, core, Command{Args: append([]string{"plan"}, args...), User: user})
		golden.Is(t, "plan-as-"+user+".txt", onList.ReplaceAllString(c.told(got), "STATIC"))
		seen := strings.Contains(got.Stdout, "ip addr add 10.0.1.1") && strings.Contains(got.Stdout, "chain EMR-STATIC-IP-OUT")
		if got.ExitCode != 0 || seen != (user == "root") {
			t.Errorf("%s: exit code %d\n%s%s", user, got.ExitCode, got.Stdout, got.Stderr)
		}
		expectUntouched(t, c, core, before)
		if _, err := core.Output(t.Context(), "ls", "/var/lib/emr-static-ip"); err == nil {
			t.Errorf("as %s, plan made the state directory", user)
		}
	}
	expectDone(t, c, core, start(t, c, core, Command{Args: args}))
	if got := start(t, c, core, Command{Args: []string{"apply", "--dry-run"}}); got.ExitCode != 0 || !strings.Contains(got.Stdout, "\nto-change=0 ") {
		t.Errorf("exit code %d\n%s%s", got.ExitCode, got.Stdout, got.Stderr)
	}
}
