package agent

import (
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// away makes connections to AWS time out, whatever the rules are.
func (n *testNode) away(req *http.Request) (*http.Response, error) {
	if strings.HasPrefix(req.URL.Host, "169.254.") {
		return n.RoundTrip(req)
	}
	select {
	case <-req.Context().Done():
		return nil, req.Context().Err()
	case <-time.After(5 * time.Second):
	}
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
}

// unrecorded gives the node an address whose record Parameter Store does not take in time.
func (n *testNode) unrecorded() Report {
	n.t.Helper()
	n.cfg.Timeout = 3 * time.Minute
	n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
		if c.Key() != "ssm:PutParameter" {
			return cloud.FaultAction{}
		}
		return cloud.FaultAction{Kind: cloud.FaultFail, Code: "ThrottlingException", Message: "Rate exceeded", Status: 400}
	})
	rep, err := Apply(n.t.Context(), n.cfg, n.env)
	if len(n.uses()) != 1 {
		n.t.Fatalf("in use %v, %v", n.uses(), err)
	}
	n.cloud.Fault(nil)
	n.cfg.Timeout = DefaultTimeout
	return rep
}

// Endpoints that answer neither with the rules of an unproven address nor without them are not cut
// off by the rules. A node without a timer keeps the address all the same.
func TestOutageWithAnUnprovenAddress(t *testing.T) {
	for name, before := range map[string]func(*testNode){
		"first address": func(*testNode) {},
		"another list": func(n *testNode) {
			n.apply()
			time.Sleep(time.Minute)
			n.cfg.Pools.Core = []netip.Addr{reviewA22}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{})
				before(n)
				n.unrecorded()
				n.restore(ExitOK)
				time.Sleep(time.Minute)
				uses, rules, s := n.uses(), n.kernel.Rules(), n.state()
				if !s.Doubts(s.Static) {
					t.Fatalf("%s is not unproven: the test tests nothing", s.Static)
				}
				env := n.env
				env.HTTP = roundTrip(n.away)
				_, err := Apply(t.Context(), n.cfg, env)
				if CodeOf(err) != ExitUnreachable || !slices.Equal(n.uses(), uses) || n.kernel.Rules() != rules {
					t.Errorf("code %d, in use %v, before %v\n%s", CodeOf(err), n.uses(), uses, n.kernel.Rules())
				}
				n.apply()
			})
		})
	}
}

// A run that leaves its record to the timer, because Parameter Store does not take it, says what
// became of the Name tag.
func TestNameWithARecordThatIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		rep := n.unrecorded()
		if !n.state().Named {
			t.Errorf("not named, changes %q", rep.Changes)
		}
		golden.Is(t, "name-without-a-record.txt", n.told(strings.Join(rep.Changes, "\n")+"\n"))
		// It stays known where a later record is not taken either.
		n.restore(ExitOK)
		time.Sleep(time.Minute)
		n.putRecord("10.0.1.21", strings.ReplaceAll(n.value("10.0.1.21"), n.InstanceID, "i-0dead"))
		if n.unrecorded(); !n.state().Named {
			t.Error("the rerun has forgotten that the instance is named")
		}
	})
}

// A run that was killed at any point, and meets an outage when it is run again, leaves in use what
// the state file says is in use.
func TestKilledAndThenAnOutage(t *testing.T) {
	run := func(at int) (points int) {
		synctest.Test(t, func(t *testing.T) {
			n := newTestNode(t, cloud.Options{})
			n.apply()
			n.cfg.Pools.Core = []netip.Addr{reviewA22}
			time.Sleep(5 * time.Minute)
			n.env.HTTP = &dropping{testNode: n, only: "ssm.", unless: "10.0.1.21"}
			points, _ = n.killAt(at, Apply)
			time.Sleep(time.Minute)
			env := n.env
			env.HTTP = roundTrip(n.away)
			_, err := Apply(t.Context(), n.cfg, env)
			if _, ruled := n.kernel.RuleStatic(); !ruled {
				t.Errorf("killed at %d: no rules are left, %s is %s: %v", at, n.state().Static, n.state().Phase, err)
			}
		})
		return points
	}
	for at, points := 1, run(0); at <= points; at++ {
		run(at)
	}
}
