package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// moveTo makes n the core node of another cluster, in that subnet.
func (n *testNode) moveTo(subnet string) {
	m := n.env.HTTP.(*agenttest.Node)
	m.MoveTo(subnet)
	n.Node, n.kernel = m.Node, m.Kernel
}

// A list for three subnets serves the nodes of each, and no node asks EC2 for another subnet's
// address.
func TestListForThreeSubnets(t *testing.T) {
	messages := golden.Open(t, "list-for-three-subnets.txt")
	networks := []string{"10.0.1.0/24", "10.0.2.0/24", "10.7.3.0/24"}
	list := netiptest.Addrs("10.0.2.21 10.0.1.21 10.7.3.21 10.0.1.22 10.7.3.22 10.0.2.22")
	for i, network := range networks {
		t.Run(network, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{})
				if i > 0 {
					n.moveTo(n.cloud.CreateSubnet(n.VPCID, netip.MustParsePrefix(network)))
				}
				n.cfg.Pools = Pools{Master: netiptest.Addrs("10.0.1.20 10.7.3.20 10.0.2.20"), Core: list}
				r := n.apply()
				if !n.Subnet.Contains(r.Static) || !slices.Contains(list, r.Static) || !slices.Equal(n.uses(), []netip.Addr{r.Static}) {
					t.Errorf("got %s in %s", r.Static, network)
				}
				messages.Is(t, network, n.told(ending(r, nil)))
				for _, c := range n.cloud.Calls() {
					if c.Action == "AssignPrivateIpAddresses" && !strings.Contains(c.Params, r.Static.String()) {
						t.Errorf("asked for %s", c.Params)
					}
				}
				n.cfg = DefaultConfig()
				if r := n.apply(); len(r.Changes) > 0 {
					t.Errorf("a rerun changed %q", r.Changes)
				}
			})
		})
	}
}

// A list without an address of this subnet is refused before anything is changed.
func TestListForOtherSubnets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.cfg.Pools = Pools{Master: netiptest.Addrs("10.0.1.20"), Core: netiptest.Addrs("10.0.2.21 10.0.2.22")}
		_, err := Apply(t.Context(), n.cfg, n.env)
		if CodeOf(err) != ExitUsage {
			t.Errorf("code %d: %v", CodeOf(err), err)
		}
		golden.Is(t, "list-for-other-subnets.txt", ending(Report{}, err)+"\n")
		if len(n.kernel.Applied()) > 0 || len(n.cloud.Parameters()) > 0 {
			t.Error("something was changed")
		}
		for _, c := range n.cloud.Calls() {
			if c.Applied && c.Service != "imds" {
				t.Errorf("changed: %s", c)
			}
		}
	})
}

// A cluster that was resized beyond its list can be rerun on the nodes that have an address, with
// the list or without.
func TestResizedBeyondTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.cfg.Pools.Core = netiptest.Addrs("10.0.1.21")
		static := n.apply().Static
		if _, err := n.cloud.AddNode(n.ClusterID, cloud.RoleCore); err != nil {
			t.Fatal(err)
		}
		n.env.HTTP.(*agenttest.Node).RewriteFiles()
		for _, pools := range []Pools{n.cfg.Pools, {}} {
			n.cfg.Pools = pools
			r := n.apply()
			if r.Static != static {
				t.Errorf("%s, warnings %q", r.Static, r.Warnings)
			}
			golden.Is(t, "one-node-more.txt", n.told(strings.Join(r.Warnings, "\n")+"\n"))
		}
		if err := os.Remove(filepath.Join(n.env.Path(n.cfg.StateDir), "state.json")); err != nil {
			t.Fatal(err)
		}
		n.cfg.Pools = Pools{Master: netiptest.Addrs("10.0.1.20"), Core: netiptest.Addrs("10.0.1.22")}
		if _, err := Apply(t.Context(), n.cfg, n.env); CodeOf(err) != ExitUsage {
			t.Errorf("another list that is too short: %v", err)
		}
	})
}

// On a node with a public address private networks alone see the static IP. Report and status
// say so. A scope that the Internet gateway would drop is refused before any change.
func TestPublicNode(t *testing.T) {
	messages := golden.Open(t, "public-node.txt")
	public := func(t *testing.T) *testNode {
		n := newTestNode(t, cloud.Options{})
		subnet := n.cloud.CreateSubnet(n.VPCID, netip.MustParsePrefix("10.0.2.0/24"))
		n.cloud.MapPublicIP(subnet)
		n.moveTo(subnet)
		n.cfg.Pools = Pools{Core: netiptest.Addrs("10.0.2.21")}
		return n
	}
	public4 := func(note string) bool { return strings.Contains(note, " 198.18.0.") }
	synctest.Test(t, func(t *testing.T) {
		n := public(t)
		r := n.apply()
		messages.Is(t, "the list alone", ending(r, nil))
		if c := (Config{Scope: n.state().Settings.Scope}); c.Scope != string(netcfg.ScopePrivate) || !strings.Contains(n.kernel.Rules(), "-d 192.168.0.0/16 -j SNAT") {
			t.Errorf("scope %q\n%s", c.Scope, n.kernel.Rules())
		}
		if r.Calls["ec2:DescribePrefixLists"] > 0 {
			t.Error("asked for networks that the rules do not need")
		}
		time.Sleep(time.Minute)
		if r := n.restore(ExitOK); len(r.Changes) > 0 {
			t.Errorf("restore changed %q", r.Changes)
		}
		s, err := Inspect(t.Context(), DefaultConfig(), n.env)
		if err != nil || s.Verdict != VerdictInOrder || !slices.ContainsFunc(s.Notes, public4) {
			t.Errorf("%v, %+v", err, s)
		}
		for _, cfg := range []Config{n.cfg, DefaultConfig()} { // with the list, and without
			n.cfg = cfg
			if r := n.apply(); len(r.Changes) > 0 {
				t.Errorf("a rerun changed %q", r.Changes)
			}
		}
	})
	for _, test := range []struct {
		scope, only string
		code        ExitCode
	}{
		{"external", "", ExitUsage},
		{"all", "", ExitUsage},
		{"private", "", ExitOK},
		{"external", "192.168.50.0/24", ExitOK},
		{"external", "192.168.50.0/24 8.8.8.0/24", ExitOK},
		{"", "192.168.50.0/24", ExitOK},
	} {
		name := fmt.Sprintf("--snat-scope %q --only-cidr %q", test.scope, test.only)
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := public(t)
				n.cfg.Only = netiptest.Prefixes(test.only)
				if test.scope != "" {
					n.cfg.Scope, n.cfg.Given.Scope = test.scope, true
				}
				r, err := Apply(t.Context(), n.cfg, n.env)
				if CodeOf(err) != test.code {
					t.Fatalf("%v, want code %d", err, test.code)
				}
				if err != nil {
					messages.Is(t, name, ending(Report{}, err))
					if len(n.kernel.Applied()) > 0 || len(n.cloud.Parameters()) > 0 {
						t.Error("something was changed")
					}
					return
				}
				messages.Is(t, name, strings.Join(slices.DeleteFunc(r.Notes, func(s string) bool { return !public4(s) }), "\n"))
			})
		})
	}
}

// dropping is a network on which connections to AWS time out while the rules are in the kernel.
type dropping struct {
	*testNode
	only   string // to this service alone; empty: to all
	unless string // the rules have this
	after  atomic.Int32
}

func (d *dropping) RoundTrip(req *http.Request) (*http.Response, error) {
	_, ruled := d.kernel.RuleStatic()
	if ruled && (d.unless == "" || !strings.Contains(d.kernel.Rules(), d.unless)) && !strings.HasPrefix(req.URL.Host, "169.254.") && strings.HasPrefix(req.URL.Host, d.only) {
		d.after.Add(1)
		select {
		case <-req.Context().Done():
			return nil, req.Context().Err()
		case <-time.After(5 * time.Second):
		}
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	}
	return d.testNode.RoundTrip(req)
}

// An endpoint that answers before the rules and not with them is said to be just that, soon, and
// what the run did is taken back.
func TestEndpointCutOffByTheRules(t *testing.T) {
	messages := golden.Open(t, "cut-off.txt")
	for _, only := range []string{"", "ssm."} {
		synctest.Test(t, func(t *testing.T) {
			n := newTestNode(t, cloud.Options{})
			log := n.logged()
			d := &dropping{testNode: n, only: only}
			n.env.HTTP = d
			began := time.Now()
			r, err := Apply(t.Context(), n.cfg, n.env)
			text := ending(Report{}, err)
			if CodeOf(err) != ExitUnreachable {
				t.Errorf("code %d: %s", CodeOf(err), text)
			}
			messages.Is(t, "only "+strconv.Quote(only), text)
			if strings.Contains(text+log.String(), "throttl") {
				t.Errorf("speaks of throttling: %s\n%s", text, log)
			}
			if took := time.Since(began); took > time.Minute {
				t.Errorf("took %s", took)
			}
			if d.after.Load() == 0 {
				t.Error("no call was made with the rules: the test tests nothing")
			}
			if r.Static.IsValid() || len(n.uses()) > 0 || len(n.cloud.Parameters()) > 0 {
				t.Errorf("left: %s, %v, %v", r.Static, n.uses(), n.cloud.Parameters())
			}
			for _, e := range n.cloud.ENIs() {
				if e.ID == n.ENI && len(e.Addresses) != 1 {
					t.Errorf("EC2 still has %v", e.Addresses)
				}
			}
			n.env.HTTP = n
			if r := n.apply(); !r.Static.IsValid() {
				t.Error("a later run got no address")
			}
		})
	}
}

// An address that the node had already is not given up when an endpoint is cut off: this run did
// not assign it.
func TestEndpointCutOffForAKeptAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		static := netip.MustParseAddr("10.0.1.21")
		if err := n.cloud.Move(static, n.ENI); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		n.env.HTTP = &dropping{testNode: n, only: "ssm."}
		_, err := Apply(t.Context(), n.cfg, n.env)
		if back := (takenBackError{}); CodeOf(err) != ExitUnreachable || errors.As(err, &back) {
			t.Errorf("%v", err)
		}
		for _, e := range n.cloud.ENIs() {
			if e.ID == n.ENI && !slices.Contains(e.Addresses, static) {
				t.Errorf("EC2 has %v: the node's address was given up", e.Addresses)
			}
		}
	})
}

// A record whose answer was lost before an endpoint was cut off is deleted with the address.
func TestEndpointCutOffAfterALostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
			if c.Key() == "ssm:PutParameter" {
				return cloud.FaultAction{Kind: cloud.FaultLose}
			}
			return cloud.FaultAction{}
		})
		first := true
		n.env.HTTP = roundTrip(func(req *http.Request) (*http.Response, error) {
			if _, ruled := n.kernel.RuleStatic(); !ruled || !strings.HasPrefix(req.URL.Host, "ssm.") {
				return n.RoundTrip(req)
			}
			if first {
				first = false
				return n.RoundTrip(req)
			}
			return (&dropping{testNode: n}).RoundTrip(req)
		})
		_, err := Apply(t.Context(), n.cfg, n.env)
		if back := (takenBackError{}); first || CodeOf(err) != ExitUnreachable || !errors.As(err, &back) || len(n.cloud.Parameters()) > 0 {
			t.Errorf("%v, records %v", err, n.cloud.Parameters())
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A node whose address was in use before keeps it when new rules cut an endpoint off: traffic
// depends on it.
func TestEndpointCutOffLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.cfg.Only = netiptest.Prefixes("192.168.50.0/24")
		static := n.apply().Static
		operator := ssm.NewFromConfig(aws.Config{Region: n.cloud.Region(), HTTPClient: &http.Client{Transport: n.cloud.Transport("")},
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return n.cloud.Credentials(""), nil })})
		for _, p := range n.cloud.Parameters() { // so that the rerun has a record to write
			if _, err := operator.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: &p.Name}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		n.cfg.Only = nil
		n.env.HTTP = &dropping{testNode: n, only: "ssm.", unless: "-d 192.168.50.0/24"}
		_, err := Apply(t.Context(), n.cfg, n.env)
		if CodeOf(err) != ExitUnreachable || !slices.Equal(n.uses(), []netip.Addr{static}) {
			t.Errorf("%v, in use %v", err, n.uses())
		}
		golden.Is(t, "cut-off-later.txt", err.Error()+"\n")
	})
}

// Exceptions that leave nothing for the static IP are said to do so, by a run and by status.
func TestExceptionsThatLeaveNothing(t *testing.T) {
	messages := golden.Open(t, "exceptions.txt")
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		for _, exclude := range []string{"192.168.0.0/16", "0.0.0.0/0"} {
			_, stdout, stderr := n.program(t.Context(), "10.0.1.20", "10.0.1.21", "--exclude-cidr", exclude)
			_, status, _ := n.program(t.Context(), "status")
			messages.Is(t, exclude+", run", n.told(stdout))
			messages.Is(t, exclude+", log", logWarnings(stderr, n.env.Root))
			messages.Is(t, exclude+", status", n.told(status))
		}
	})
}
