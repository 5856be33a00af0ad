package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// TestSubnetsOfAFleet gives one list for three subnets to a cluster that is launched in each of
// them in turn.
func TestSubnetsOfAFleet(t *testing.T) {
	t.Parallel()
	subnets := []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24"), netip.MustParsePrefix("10.0.2.0/24"), netip.MustParsePrefix("10.0.16.0/20")}
	texts := golden.Open(t, "subnets-of-a-fleet.txt")
	list := []string{"--master-ips", "10.0.16.10,10.0.1.10,10.0.2.10", "--core-ips", "10.0.1.11-12,10.0.16.11-12,10.0.2.11-12"}
	for n, want := range subnets {
		t.Run(strings.ReplaceAll(want.String(), "/", "-"), func(t *testing.T) {
			c := launch(t, func(s *ClusterSpec) {
				s.Fleets, s.Shape = true, Shape{Subnets: subnets, Chosen: n + 1}
				s.Static = nil
				for _, first := range []string{"10.0.1.10", "10.0.2.10", "10.0.16.10"} {
					for a, end := addr(first), addr(first).Next().Next(); a.Compare(end) <= 0; a = a.Next() {
						s.Static = append(s.Static, a)
					}
				}
			})
			if c.Plan().Subnet != want {
				t.Fatalf("launched in %s", c.Plan().Subnet)
			}
			results := startAll(t, c, list...)
			seen := map[netip.Addr]bool{}
			for _, n := range c.Nodes() {
				static := expectDone(t, c, n, results[n])
				if !want.Contains(static) || seen[static] {
					t.Errorf("%s has %s", n.Name, static)
				}
				seen[static] = true
				texts.Is(t, fmt.Sprintf("%s, %s", want, n.Name), c.told(Result{Stdout: section(results[n].Stdout, "notes")}))
				expectUnchanged(t, c, n)
			}
			denied(t, c)
		})
	}
}

// denied fails the test if the policies denied a node anything.
func denied(t *testing.T, c *Cluster) {
	t.Helper()
	for _, call := range c.Cloud.Calls() {
		if call.Code == "UnauthorizedOperation" || call.Code == "AccessDeniedException" {
			t.Errorf("%s: %s", call, call.Message)
		}
	}
}

// TestNoAddressInTheSubnet refuses a list for other subnets before any change.
func TestNoAddressInTheSubnet(t *testing.T) {
	c := launch(t, func(s *ClusterSpec) {
		s.Fleets = true
		s.Shape.Subnets, s.Shape.Chosen = []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24"), netip.MustParsePrefix("10.0.2.0/24")}, 2
	})
	n := c.Nodes()[1]
	before := snapshot(t, n)
	got := start(t, c, n, Command{Args: []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}})
	if got.ExitCode != 2 {
		t.Errorf("exit code %d\n%s", got.ExitCode, got.Stderr)
	}
	golden.Is(t, "no-address-in-the-subnet.txt", c.told(got))
	expectUntouched(t, c, n, before)
}

// TestPublicSubnet has AWS's endpoints and everything else on the Internet behind a gateway that
// drops the static IP.
func TestPublicSubnet(t *testing.T) {
	c := launch(t, func(s *ClusterSpec) { s.Shape.Public, s.Cores = true, 3 })
	nodes := c.Nodes()
	list := []string{"10.0.1.10", "10.0.1.11", "10.0.1.12", "10.0.1.13"}
	for _, n := range nodes[:2] {
		static := expectDone(t, c, n, start(t, c, n, Command{Args: list}))
		if answer, err := c.CallOutside(t.Context(), n); err != nil || answer.Source != n.Primary.Address {
			t.Errorf("%s: on the Internet %+v, %v", n.Name, answer, err)
		}
		if static.IsValid() {
			expectUnchanged(t, c, n)
			expectUnchanged(t, c, n, list...)
		}
	}
	texts := golden.Open(t, "public-subnet.txt")
	got := start(t, c, nodes[0], Command{Args: []string{"status"}})
	if got.ExitCode != 0 {
		t.Errorf("status: exit code %d\n%s", got.ExitCode, got.Stdout)
	}
	texts.Is(t, "status", c.told(got))
	d, _ := doctor(t, c, nodes[0], 0, Command{})
	for _, f := range d.Findings {
		if f.Check == "scope" {
			texts.Is(t, "doctor", c.steady(f.Result+": "+f.Detail))
		}
	}
	refused := nodes[2]
	before := snapshot(t, refused)
	for _, scope := range []string{"external", "all"} {
		got := start(t, c, refused, Command{Args: append([]string{"--snat-scope", scope}, list...)})
		if got.ExitCode != 2 {
			t.Errorf("scope %s: exit code %d\n%s", scope, got.ExitCode, got.Stderr)
		}
		texts.Is(t, "scope "+scope, c.told(got))
	}
	expectUntouched(t, c, refused, before)

	// What the operator insists on is tried, found out, and taken back.
	got = start(t, c, refused, Command{Args: append([]string{"--only-cidr", "0.0.0.0/0", "--no-name-tag"}, list...)})
	if got.ExitCode != 5 {
		t.Errorf("exit code %d\n%s", got.ExitCode, got.Stderr)
	}
	texts.Is(t, "cut off", onList.ReplaceAllString(c.told(got), "STATIC"))
	if strings.Contains(got.Stderr, "throttl") || got.Duration.Seconds() > 60 {
		t.Errorf("took %s:\n%s", got.Duration, got.Stderr)
	}
	after := snapshot(t, refused)
	if assigned := c.Secondary(refused); len(assigned) > 0 || strings.Contains(after, "SNAT") {
		t.Errorf("left: %v\n%s", assigned, after)
	}
}

// TestBucketPolicyOnTheSourceAddress reads from S3 through a gateway endpoint, under AWS's sample
// policy for buckets. Without the networks of S3, as before they were asked for, the rules send the
// static IP there, and S3 denies it.
func TestBucketPolicyOnTheSourceAddress(t *testing.T) {
	c := launch(t, func(s *ClusterSpec) { s.Shape.BucketPolicy = cloud.SourceIPBucketPolicy })
	master, core := c.Nodes()[0], c.Nodes()[1]
	list := []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}
	for _, n := range []*Node{master, core} {
		if source, err := c.GetObject(t.Context(), n); err != nil || source != n.Primary.Address {
			t.Fatalf("%s: before: %s, %v", n.Name, source, err)
		}
	}
	expectDone(t, c, master, start(t, c, master, Command{Args: list}))
	if source, err := c.GetObject(t.Context(), master); err != nil || source != master.Primary.Address {
		t.Errorf("with the static IP S3 saw %s: %v", source, err)
	}
	if answer, err := c.CallOutside(t.Context(), master); err != nil || answer.Source == master.Primary.Address {
		t.Errorf("outside, but not at S3, %+v, %v", answer, err)
	}
	// The scope before: S3's networks are like any others outside the VPC.
	got := start(t, c, core, Command{Args: append([]string{"--only-cidr", "0.0.0.0/0"}, list...)})
	expectDone(t, c, core, got)
	if source, err := c.GetObject(t.Context(), core); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("S3 admitted %s: %v", source, err)
	}
	got = start(t, c, core, Command{Args: append([]string{"--only-cidr", "0.0.0.0/0", "--exclude-cidr", "203.0.113.0/24"}, list...)})
	if source, err := c.GetObject(t.Context(), core); err != nil || source != core.Primary.Address {
		t.Errorf("with --exclude-cidr S3 saw %s: %v\n%s", source, err, got.Stderr)
	}
	denied(t, c)
}

// TestNoPermissionForPrefixLists has a policy without DescribePrefixLists: the node gets its
// address, and a warning that S3 sees it.
func TestNoPermissionForPrefixLists(t *testing.T) {
	c := launch(t, func(s *ClusterSpec) {
		s.Cores, s.Shape.BucketPolicy = 0, cloud.SourceIPBucketPolicy
		whole := iam.Place{}.Policy(iam.InstanceProfile)
		if s.Policies[0] = strings.Replace(whole, `, "ec2:DescribePrefixLists"`, "", 1); s.Policies[0] == whole {
			t.Fatal("the policy does not have the action")
		}
	})
	n := c.Nodes()[0]
	got := start(t, c, n, Command{Args: []string{"10.0.1.10"}})
	expectDone(t, c, n, got)
	golden.Is(t, "no-permission-for-prefix-lists.txt", c.told(got))
	if source, err := c.GetObject(t.Context(), n); err == nil {
		t.Errorf("S3 admitted %s", source)
	}
}

// TestSharedVPC runs in a subnet of another account. An interface of that account, which nobody
// here sees, has an address of the list: the nodes take others.
func TestSharedVPC(t *testing.T) {
	c := launch(t, func(s *ClusterSpec) { s.Shape.Shared = true })
	taken := addr("10.0.1.11")
	c.Cloud.AddForeignENI(c.SubnetID, free(t, c), taken)
	results := startAll(t, c, "10.0.1.10", "10.0.1.11", "10.0.1.12", "10.0.1.13")
	for _, n := range c.Nodes() {
		if static := expectDone(t, c, n, results[n]); static == taken {
			t.Errorf("%s has the address of another account", n.Name)
		}
		expectUnchanged(t, c, n)
	}
	denied(t, c)
	n := c.Nodes()[1]
	if got := start(t, c, n, Command{Args: []string{"release"}}); got.ExitCode != 0 || len(c.Secondary(n)) > 0 {
		t.Errorf("release: exit code %d, left %v\n%s", got.ExitCode, c.Secondary(n), got.Stderr)
	}
}

// free returns an address of the cluster's subnet that nobody has.
func free(t *testing.T, c *Cluster) netip.Addr {
	t.Helper()
	var used []netip.Addr
	for _, i := range c.spec.Fabric.Interfaces() {
		used = append(used, i.Addresses...)
	}
	for n := 200; n < 250; n++ {
		if a := addr(fmt.Sprintf("10.0.1.%d", n)); !slices.Contains(used, a) {
			return a
		}
	}
	t.Fatal("the subnet is full")
	return netip.Addr{}
}

// TestEMR8 runs on a release with the labels of EMR 8. Its nodes are taken to be like those of
// EMR 7.
func TestEMR8(t *testing.T) {
	c := launch(t, func(s *ClusterSpec) { s.Release = "emr-spark-8.1.0" })
	results := startAll(t, c, "10.0.1.10", "10.0.1.11", "10.0.1.12")
	for _, n := range c.Nodes() {
		if n.Link != "ens5" {
			t.Errorf("%s has %s", n.Name, n.Link)
		}
		expectDone(t, c, n, results[n])
	}
}

func TestReleaseLabel(t *testing.T) {
	for release, want := range map[string]string{
		"emr-5.x": "emr-5.36.2", "emr-6.x": "emr-6.15.0", "emr-7.x": "emr-7.13.0", "emr-spark-8.x": "emr-spark-8.1.0",
		"emr-7.5.0": "emr-7.5.0", "emr-spark-8.0.0": "emr-spark-8.0.0", "emr-spark-10.2.1": "emr-spark-10.2.1",
		"emr-8.0.0": "", "emr-spark-7.0.0": "", "emr-4.9.0": "", "emr-7": "", "": "", "7.5.0": "",
	} {
		if got, known := ReleaseLabel(release); known != (want != "") || known && got != want {
			t.Errorf("%q: %q, %t, want %q", release, got, known, want)
		}
	}
}
