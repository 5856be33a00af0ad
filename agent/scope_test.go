package agent

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

// newPublicNode returns a node with a public IPv4 address, for as long as public is true.
func newPublicNode(t *testing.T) (n *testNode, public *bool) {
	n = newTestNode(t, cloud.Options{})
	subnet := n.cloud.CreateSubnet(n.VPCID, netip.MustParsePrefix("10.0.2.0/24"))
	n.cloud.MapPublicIP(subnet)
	n.moveTo(subnet)
	n.cfg.Pools = Pools{Core: netiptest.Addrs("10.0.2.21")}
	public = new(bool)
	*public = true
	n.env.HTTP = roundTrip(func(req *http.Request) (*http.Response, error) {
		if strings.HasSuffix(req.URL.Path, "/public-ipv4s") && !*public {
			req.URL.Path = "/latest/meta-data/none"
		}
		return n.RoundTrip(req)
	})
	return n, public
}

// A scope that follows from the node's public address does not outlive that. One that the operator
// asked for stays, and so does the private one of a state file that does not say.
func TestScopeIsDerivedAgain(t *testing.T) {
	messages := golden.Open(t, "scope-derived.txt")
	for name, test := range map[string]struct {
		asked bool
		older bool
		want  string
		from  ScopeOrigin
	}{
		"derived":                  {want: "external", from: ScopeDerived},
		"asked for":                {asked: true, want: "private", from: ScopeAsked},
		"file of an older version": {older: true, want: "private", from: ScopeAsked},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, public := newPublicNode(t)
				if test.asked {
					n.cfg.Scope, n.cfg.Given.Scope = "private", true
				}
				rep := n.apply()
				messages.Is(t, name, n.told(strings.Join(rep.Notes, "\n")))
				if test.older {
					n.editState(func(v map[string]any) { delete(v["settings"].(map[string]any), "snat_scope_from") })
				}
				time.Sleep(time.Minute)
				*public = false
				rules := n.kernel.Rules()
				if rep := n.restore(ExitOK); len(rep.Changes) > 0 || n.kernel.Rules() != rules {
					t.Errorf("restore changed %q", rep.Changes)
				}
				s := n.inspect()
				if gone := slices.Contains(s.Notes, PublicGone(n.state().Settings)); s.Verdict != VerdictInOrder || gone != (test.want == "external") {
					t.Errorf("status %s %q, notes %q", s.Verdict, s.Reasons, s.Notes)
				}
				n.cfg = DefaultConfig() // without the list
				rep = n.apply()
				if got := n.state().Settings; got.Scope != test.want || got.ScopeFrom != test.from {
					t.Errorf("the scope is %s (%s), want %s (%s)", got.Scope, got.ScopeFrom, test.want, test.from)
				}
				if changed := n.kernel.Rules() != rules; changed != (test.want == "external") {
					t.Errorf("rules\n%s", n.kernel.Rules())
				}
				if told := strings.Contains(strings.Join(rep.Notes, "\n"), "--snat-scope is external (derived), and was private"); told != (test.want == "external") {
					t.Errorf("notes %q", rep.Notes)
				}
				time.Sleep(time.Minute)
				*public = true
				n.apply()
				if got := n.state().Settings; got.Scope != "private" {
					t.Errorf("with a public address again the scope is %s", got.Scope)
				}
			})
		})
	}
}

// A scope that was asked for is not changed behind the operator's back when the node gets a public
// address.
func TestScopeAskedForIsRefusedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, public := newPublicNode(t)
		*public = false
		n.cfg.Scope, n.cfg.Given.Scope = "all", true
		n.apply()
		rules := n.kernel.Rules()
		time.Sleep(time.Minute)
		*public = true
		n.cfg = DefaultConfig()
		if _, err := Apply(t.Context(), n.cfg, n.env); CodeOf(err) != ExitUsage || n.kernel.Rules() != rules {
			t.Errorf("code %d, %v", CodeOf(err), err)
		}
		n.cfg.Scope, n.cfg.Given.Scope = "private", true
		if n.apply(); n.state().Settings.Scope != "private" {
			t.Error("the remedy does not help")
		}
	})
}

// Networks that have no effect in the scope are the arguments' fault, also where one of the two is
// the last run's.
func TestOnlyCIDRWithoutEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := newPublicNode(t)
		n.cfg.Only, n.cfg.Given.Only = netiptest.Prefixes("192.0.2.0/24"), true
		n.apply()
		rules := n.kernel.Rules()
		time.Sleep(time.Minute)
		n.cfg = DefaultConfig()
		n.cfg.Scope, n.cfg.Given.Scope = "private", true
		if _, err := Apply(t.Context(), n.cfg, n.env); CodeOf(err) != ExitUsage || n.kernel.Rules() != rules {
			t.Errorf("code %d, %v", CodeOf(err), err)
		}
		n.cfg = DefaultConfig()
		n.cfg.Only, n.cfg.Given.Only = netiptest.Prefixes("10.0.5.0/24"), true // in the VPC
		rep, err := Apply(t.Context(), n.cfg, n.env)
		if CodeOf(err) != ExitUsage || strings.Contains(strings.Join(rep.Warnings, ""), "--exclude-cidr") {
			t.Errorf("code %d, %v; warnings %q", CodeOf(err), err, rep.Warnings)
		}
	})
}

// A run that names networks derives the scope again, though the node has its public address still.
// It does not say that the address is gone.
func TestScopeOfOnlyCIDROnAPublicNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := newPublicNode(t)
		n.apply()
		time.Sleep(time.Minute)
		n.cfg = DefaultConfig()
		n.cfg.Only, n.cfg.Given.Only = netiptest.Prefixes("192.168.50.0/24"), true
		rep := n.apply()
		if got := n.state().Settings; got.Scope != "external" || got.ScopeFrom != ScopeDerived {
			t.Errorf("the scope is %s (%s)", got.Scope, got.ScopeFrom)
		}
		golden.Is(t, "scope-of-only-cidr.txt", n.told(strings.Join(rep.Notes, "\n")+"\n"))
	})
}
