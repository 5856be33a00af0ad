package doctor

import (
	"context"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/verify"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

func TestMain(m *testing.M) { agenttest.Main(m) }

// CommandLine runs the command line with args. The external test package sets it, since package cli
// imports this one.
var CommandLine func(ctx context.Context, args []string, env agent.Environment) exit.Code

// testNode is a node that doctor examines with cfg.
type testNode struct {
	*agenttest.Node
	cfg agent.Config
}

// newNode returns a node in whose subnet names lead to private addresses that can be connected to.
func newNode(t *testing.T, o cloud.Options) (*testNode, *agenttest.Network) {
	t.Helper()
	n := &testNode{agenttest.New(t, o), agent.DefaultConfig()}
	n.cfg.Pools = agent.Pools{Master: netiptest.Addrs("10.0.1.20"), Core: netiptest.Addrs("10.0.1.21 10.0.1.22")}
	w := agenttest.NewNetwork(n.PrimaryIP)
	w.Install(&n.Env)
	n.WithSystemd()
	return n, w
}

// apply gives the node its static IP.
func (n *testNode) apply() agent.Report {
	n.T.Helper()
	rep, err := agent.Apply(n.T.Context(), n.cfg, n.Env)
	if err != nil {
		n.T.Fatal(err)
	}
	return rep
}

// program runs the command line on the node, as a process of it would.
func (n *testNode) program(args ...string) exit.Code {
	return CommandLine(n.T.Context(), args, n.Env)
}

// targetList returns the targets of --verify.
func targetList(texts ...string) (list []verify.Target) {
	for _, text := range texts {
		t, err := verify.ParseTarget(text)
		if err != nil {
			panic(err)
		}
		list = append(list, t)
	}
	return list
}
