package agent

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/netcfg/netcfgtest"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

func TestMain(m *testing.M) { agenttest.Main(m) }

// testNode is a core node of a cluster in the cloud model, with a kernel in memory and a directory
// as its file system. It is used inside a synctest bubble.
type testNode struct {
	*cloud.Node
	t      *testing.T
	cloud  *cloud.Cloud
	kernel *netcfgtest.Kernel
	env    Environment
	cfg    Config
	silent *atomic.Bool    // IMDS and AWS do not answer
	calls  []string        // of systemctl
	active map[string]bool // timers that systemctl calls active
	failed string          // the systemctl verb that fails
}

const testLink = agenttest.Link

func newTestNode(t *testing.T, o cloud.Options) *testNode {
	t.Helper()
	n := testNodeOf(agenttest.New(t, o))
	n.cfg.Pools = Pools{Master: netiptest.Addrs("10.0.1.20"), Core: netiptest.Addrs("10.0.1.21 10.0.1.22")}
	return n
}

// testNodeOf returns a node of agenttest with what the tests of this package need.
func testNodeOf(m *agenttest.Node) *testNode {
	n := &testNode{Node: m.Node, t: m.T, cloud: m.Cloud, kernel: m.Kernel, env: m.Env, silent: &m.Silent, active: m.Active}
	n.cfg = DefaultConfig()
	n.env.Systemctl = n.systemctl
	return n
}

func (n *testNode) systemctl(ctx context.Context, args ...string) error {
	n.calls = append(n.calls, strings.Join(args, " "))
	if args[0] == n.failed {
		return errors.New("failed by the test")
	}
	m := n.on()
	m.Active = n.active
	return m.Systemctl(ctx, args...)
}

// RoundTrip sends a request of the node to the model.
func (n *testNode) RoundTrip(req *http.Request) (*http.Response, error) {
	return n.cloud.Transport(n.InstanceID).RoundTrip(req)
}

// on returns the node as the package agenttest knows it.
func (n *testNode) on() *agenttest.Node {
	return &agenttest.Node{Node: n.Node, T: n.t, Cloud: n.cloud, Env: n.env}
}

func (n *testNode) write(path, content string) { n.on().Write(path, content) }

// apply gives the node its static IP.
func (n *testNode) apply() Report {
	n.t.Helper()
	rep, err := Apply(n.t.Context(), n.cfg, n.env)
	if err != nil {
		n.t.Fatal(err)
	}
	return rep
}

// restore runs a restore that has to end with the code and, where it is not ExitOK, names it.
func (n *testNode) restore(code ExitCode) Report {
	n.t.Helper()
	cfg := DefaultConfig()
	cfg.StateDir = n.cfg.StateDir
	rep, err := Restore(n.t.Context(), cfg, n.env)
	if CodeOf(err) != code {
		n.t.Fatalf("restore: %v (code %d), want code %d", err, CodeOf(err), code)
	}
	return rep
}

// state is the node's state file.
func (n *testNode) state() State {
	n.t.Helper()
	s, ok, err := state.Load(n.env.Path(n.cfg.StateDir), "")
	if err != nil || !ok {
		n.t.Fatalf("state file: %v, %v", ok, err)
	}
	return s
}

// uses are the addresses in use beside the primary IP.
func (n *testNode) uses() []netip.Addr { return n.kernel.Uses(n.PrimaryIP) }

// unassign takes an address from the node's interface, as an operator would.
func (n *testNode) unassign(a netip.Addr) { n.on().Unassign(a) }

func (n *testNode) assign(a netip.Addr) { n.on().Assign(a) }

// snapshot is what the node's file system holds below its root.
func (n *testNode) snapshot() []string { return n.on().Snapshot() }

// as is another node of the model, for what is done on its interface.
func (n *testNode) as(o *cloud.Node) *testNode {
	return &testNode{Node: o, t: n.t, cloud: n.cloud, cfg: n.cfg, env: n.on().As(o).Env}
}

// claim writes a record, and waits.
func (n *testNode) claim(a netip.Addr, record ssmcoord.Record, wait time.Duration) {
	n.on().Claim(n.cfg.Prefix, a, record, wait)
}
