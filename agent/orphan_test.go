package agent

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// lose deletes the state file.
func (n *testNode) lose() {
	n.t.Helper()
	if err := os.Remove(n.env.Path(filepath.Join(n.cfg.StateDir, state.File))); err != nil {
		n.t.Fatal(err)
	}
}

// moveAway gives the node's address to another instance, which writes its record.
func (n *testNode) moveAway(a netip.Addr) {
	n.t.Helper()
	o := n.other()
	n.unassign(a)
	o.assign(a)
	o.putRecord(a.String(), o.ownRecord())
	time.Sleep(time.Minute)
}

// onLink reports whether the primary interface has the address.
func (n *testNode) onLink(a netip.Addr) bool {
	return slices.ContainsFunc(n.kernel.Addresses(testLink), func(p netip.Prefix) bool { return p.Addr() == a })
}

// An address that the kernel has of an earlier run, and that EC2 gives to another node, is taken
// out of the kernel although no state file names it. An address of somebody else stays.
func TestStrayAddress(t *testing.T) {
	foreign := netip.MustParsePrefix("10.0.1.77/32")
	messages := golden.Open(t, "stray-address.txt")
	for name, forget := range map[string]func(*testNode){
		"lost":              (*testNode).lose,
		"another directory": func(n *testNode) { n.cfg.StateDir = "/var/lib/another" },
		"another directory, released": func(n *testNode) {
			n.cfg.StateDir = "/var/lib/another"
			s := State{Version: 1, Phase: PhaseReleased, InstanceID: n.InstanceID, Settings: n.cfg.Settings()}
			if err := state.Save(n.env.Path(n.cfg.StateDir), s); err != nil {
				n.t.Fatal(err)
			}
		},
	} {
		for _, what := range []string{"apply", "apply, all taken", "release"} {
			t.Run(name+"/"+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := newTestNode(t, cloud.Options{})
					n.apply()
					time.Sleep(time.Minute)
					forget(n)
					n.moveAway(reviewA21)
					n.kernel.AddAddress(testLink, foreign)
					do, code, uses := Apply, ExitOK, []netip.Addr{reviewA22, foreign.Addr()}
					switch what {
					case "apply, all taken":
						n.cfg.Pools.Core, n.cfg.Timeout = []netip.Addr{reviewA21}, 3*time.Minute
						code, uses = ExitNoAddress, []netip.Addr{foreign.Addr()}
					case "release":
						do, uses = Release, []netip.Addr{foreign.Addr()}
					}
					rep, err := do(t.Context(), n.cfg, n.env)
					if CodeOf(err) != code {
						t.Errorf("code %d, %v", CodeOf(err), err)
					}
					got := n.uses()
					slices.SortFunc(got, netip.Addr.Compare)
					if n.onLink(reviewA21) || !slices.Equal(got, uses) || !n.onLink(foreign.Addr()) {
						t.Errorf("in use %v, want %v; on the link %v; changes %q", got, uses, n.kernel.Addresses(testLink), rep.Changes)
					}
					if strings.Contains(n.value("10.0.1.21"), n.InstanceID) || n.value("10.0.1.21") == "" {
						t.Errorf("the record of the address's new node is %q", n.value("10.0.1.21"))
					}
					messages.Is(t, name+"/"+what, n.told(strings.Join(rep.Warnings, "\n")))
				})
			})
		}
	}
}

// An error in asking EC2 is no evidence that it gives the address to another node.
func TestStrayAddressUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.apply()
		n.lose()
		time.Sleep(time.Minute)
		n.deny("ec2:DescribeNetworkInterfaces")
		rules := n.kernel.Rules()
		if _, err := Apply(t.Context(), n.cfg, n.env); CodeOf(err) != ExitPermission {
			t.Errorf("code %d, %v", CodeOf(err), err)
		}
		if !slices.Equal(n.uses(), []netip.Addr{reviewA21}) || n.kernel.Rules() != rules {
			t.Errorf("in use %v\n%s", n.uses(), n.kernel.Rules())
		}
	})
}

// A plan says what the run does about it, and does nothing.
func TestStrayAddressInAPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.apply()
		time.Sleep(time.Minute)
		n.lose()
		n.moveAway(reviewA21)
		rules := n.kernel.Rules()
		rep, err := Plan(t.Context(), n.cfg, n.env)
		if err != nil || n.kernel.Rules() != rules || !n.onLink(reviewA21) {
			t.Errorf("%v\n%s", err, n.kernel.Rules())
		}
		if text := strings.Join(rep.Changes, "\n"); !strings.Contains(text, "ip addr del 10.0.1.21/32") {
			t.Errorf("changes %s", text)
		}
	})
}

// A run and a release that find the state file lost, and are killed at any point, are ended by the
// next one as if they had not been killed.
func TestLostStateAndKilled(t *testing.T) {
	for name, test := range map[string]struct {
		do     operation
		before func(*testNode)
	}{
		"apply":                  {do: Apply},
		"apply, moved":           {do: Apply, before: func(n *testNode) { n.moveAway(reviewA21) }},
		"apply, another list":    {do: Apply, before: func(n *testNode) { n.cfg.Pools.Core = []netip.Addr{reviewA22} }},
		"release without a list": {do: Release, before: func(n *testNode) { n.cfg.Pools = Pools{} }},
		"release, moved":         {do: Release, before: func(n *testNode) { n.moveAway(reviewA21) }},
		"release, another record": {do: Release, before: func(n *testNode) {
			n.putRecord("10.0.1.22", n.ownRecord())
			n.assign(reviewA22)
			n.cfg.Pools = Pools{}
		}},
		"release, cut off": {do: Release, before: func(n *testNode) {
			n.env.HTTP = &dropping{testNode: n}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			run := func(at int) (points int, left string) {
				synctest.Test(t, func(t *testing.T) {
					n := newTestNode(t, cloud.Options{})
					n.apply()
					time.Sleep(time.Minute)
					n.lose()
					if test.before != nil {
						test.before(n)
					}
					time.Sleep(5 * time.Minute)
					var err error
					if points, err = n.killAt(at, test.do); at > 0 {
						time.Sleep(time.Minute)
						_, err = n.killAt(0, test.do)
					}
					if err != nil {
						t.Errorf("killed at %d: code %d, %v", at, CodeOf(err), err)
					}
					if _, known, _ := state.Load(n.env.Path(n.cfg.StateDir), ""); known {
						left = n.left()
					}
				})
				return points, left
			}
			killedEverywhere(t, run)
		})
	}
}
