package simulation

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// cluster is a world with a subnet in which tests launch clusters by hand.
type cluster struct {
	*World
	t      *testing.T
	subnet string
}

// inBubble runs a scenario in virtual time. At the end it fails the test for each violation.
func inBubble(t *testing.T, o cloud.Options, scenario func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if o.UniqueTimes = true; o.Seed == 0 {
			o.Seed = 11
		}
		w, err := NewWorld(o)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		c := &cluster{World: w, t: t}
		c.subnet = w.Cloud.CreateSubnet(w.Cloud.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), testSubnet)
		w.Cloud.ReserveCIDR(c.subnet, netip.MustParsePrefix("10.0.1.16/28"), "explicit")
		w.Step = w.CheckSafety
		scenario(t, c)
		w.CheckSafety()
		for _, v := range w.violations {
			t.Error(v)
		}
	})
}

func (c *cluster) launch(masters, cores int, pools agent.Pools) []*Node {
	c.t.Helper()
	return c.launchIn(c.subnet, masters, cores, pools)
}

func (c *cluster) launchIn(subnet string, masters, cores int, pools agent.Pools) []*Node {
	c.t.Helper()
	cl, err := c.Cloud.LaunchCluster(cloud.ClusterSpec{Subnet: subnet, Masters: masters, Cores: cores, NameTag: "x"})
	if err != nil {
		c.t.Fatal(err)
	}
	cfg := agent.DefaultConfig()
	cfg.Pools = pools
	var nodes []*Node
	for _, cn := range cl.Nodes {
		nodes = append(nodes, c.newNode(cn, cfg, cloud.FilesFull))
	}
	return nodes
}

// all runs the agent on all nodes at once and returns the errors in the nodes' order.
func (c *cluster) all(nodes []*Node) []error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * time.Microsecond)
			errs[i] = n.Apply(c.t.Context(), Kill{}).Err
		})
	}
	wg.Wait()
	return errs
}

func (c *cluster) mustAll(nodes []*Node) {
	c.t.Helper()
	if err := errors.Join(c.all(nodes)...); err != nil {
		c.t.Fatal(err)
	}
}

// retire ends the instances of nodes at once.
func (c *cluster) retire(nodes ...*Node) {
	for _, n := range nodes {
		n.gone.Store(true)
		c.Cloud.TerminateNow(n.InstanceID)
	}
}

// listen returns the agents' log lines.
func (c *cluster) listen() *observer.ObservedLogs {
	core, logs := observer.New(zapcore.InfoLevel)
	c.Log = zap.New(core)
	return logs
}

func exitCode(err error) agent.ExitCode { return agent.CodeOf(err) }

func remedy(err error) string {
	if e := (*agent.Error)(nil); errors.As(err, &e) {
		return e.Remedy
	}
	return ""
}

var smallPools = agent.Pools{Master: addrs("10.0.1.20"), Core: addrs("10.0.1.21", "10.0.1.22")}

// parameter returns the name of an address's parameter in the cluster's ledger.
func (c *cluster) parameter(a netip.Addr) string { return Parameter(testPrefix, c.subnet, a) }

// record returns the record of an address, and false if there is none.
func (c *cluster) record(a netip.Addr) (ssmcoord.Record, bool) {
	c.t.Helper()
	for _, p := range c.Cloud.Parameters() {
		if p.Name == c.parameter(a) {
			r, err := c.parse(p.Value)
			if err != nil {
				c.t.Fatal(err)
			}
			return r, true
		}
	}
	return ssmcoord.Record{}, false
}

// unseenGrace is longer than a record of an instance that EC2 does not list is respected.
const unseenGrace = 4 * time.Minute

// deadRecord is the record of an instance that never existed.
var deadRecord = ssmcoord.Record{Instance: "i-0dead", ENI: "eni-0dead", Cluster: "j-OLD", Role: "CORE"}
