package simulation

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// record is the ledger's record of an address; false: there is none.
func (c *cluster) record(a netip.Addr) (ssmcoord.Record, bool) {
	c.t.Helper()
	for _, p := range c.Cloud.Parameters() {
		if strings.HasSuffix(p.Name, "/"+a.String()) {
			r, err := c.parse(p.Value)
			if err != nil {
				c.t.Fatal(err)
			}
			return r, true
		}
	}
	return ssmcoord.Record{}, false
}

// Where two creates of one claim succeeded, the record that the loser deletes is the winner's too. The winner may have looked before, so the loser
// writes it again; what is no EMR node gets no record.
func TestLoserMendsTheWinnersRecord(t *testing.T) {
	for _, emr := range []bool{true, false} {
		inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
			pool := agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")}
			n := c.launch(1, 0, pool)[0]
			winner := c.launch(1, 0, pool)[0].Node
			if !emr {
				var err error
				if winner, err = c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet}); err != nil {
					t.Fatal(err)
				}
			}
			a, done := pool.Master[0], false
			c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
				if x.Action != "PutParameter" || x.Caller != n.InstanceID || done {
					return cloud.FaultAction{}
				}
				done = true
				return cloud.FaultAction{Then: func() {
					if err := c.Take(t.Context(), winner, a); err != nil {
						t.Error(err)
					}
				}}
			})
			c.mustAll([]*Node{n})
			if got := n.Static(); got != pool.Master[1] || !done {
				t.Errorf("the loser has %s", got)
			}
			r, there := c.record(a)
			if emr && (r.Instance != winner.InstanceID || r.ENI != winner.ENI || r.Cluster != winner.ClusterID || r.Role != "MASTER") {
				t.Errorf("the record of %s, which %s has, is %+v", a, winner.InstanceID, r)
			}
			if !emr && there {
				t.Errorf("the record of %s, which no node has, is %+v", a, r)
			}
			if out := n.Apply(t.Context(), Kill{}); out.Err != nil || len(out.Report.Changes) > 0 {
				t.Errorf("a rerun: %q, %v", out.Report.Changes, out.Err)
			}
		})
	}
}

// --allow-reassignment takes an address from an interface that is no node's, and from no other.
func TestReassignment(t *testing.T) {
	for _, test := range []struct {
		name  string
		emr   bool
		allow bool
		want  string
		says  string
	}{
		{"a stranger's", false, true, "10.0.1.20", "reassignment from"},
		{"a stranger's, not asked for", false, false, "10.0.1.21", "in use by"},
		{"a node's that has no record", true, true, "10.0.1.21", "from which nothing is taken"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
				logs := c.listen()
				pool := agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")}
				n := c.launch(1, 0, pool)[0]
				n.Config.AllowReassignment = test.allow
				holder, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet})
				if test.emr {
					holder = c.launch(1, 0, pool)[0].Node
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Take(t.Context(), holder, pool.Master[0]); err != nil {
					t.Fatal(err)
				}
				plan, err := n.Plan(t.Context())
				if err != nil || plan.Static.String() != test.want {
					t.Errorf("plan: %s, %v", plan.Static, err)
				}
				c.mustAll([]*Node{n})
				if got := n.Static().String(); got != test.want {
					t.Errorf("it has %s", got)
				}
				said := false
				for _, e := range logs.All() {
					said = said || strings.Contains(e.Message, test.says)
				}
				if !said && test.want == "10.0.1.21" {
					t.Errorf("nothing says %q: %v", test.says, logs.All())
				}
			})
		})
	}
}

// Two nodes that may both take a stranger's address, in a store where both their claims succeed: one of them gets it.
func TestReassignmentRace(t *testing.T) {
	o := cloud.Options{
		ConcurrentCreates: cloud.Race{Probability: 1, Window: 500 * time.Millisecond},
		Latency:           func(*rand.Rand, cloud.Call) time.Duration { return 50 * time.Millisecond },
		StaleSSM:          cloud.Staleness{Probability: 0.9, MaxAge: 3 * time.Second},
	}
	inBubble(t, o, func(t *testing.T, c *cluster) {
		pool := agent.Pools{Master: addrs("10.0.1.20", "10.0.1.21")}
		stranger, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Take(t.Context(), stranger, pool.Master[0]); err != nil {
			t.Fatal(err)
		}
		a, b := c.launch(1, 0, pool)[0], c.launch(1, 0, pool)[0]
		a.Config.AllowReassignment, b.Config.AllowReassignment = true, true
		c.mustAll([]*Node{a, b})
		c.CheckTruth(testPrefix, nil)
		if a.Static() == b.Static() || !a.Static().IsValid() || !b.Static().IsValid() {
			t.Errorf("they have %s and %s", a.Static(), b.Static())
		}
	})
}
