package doctor

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// TestDoctorAgrees: doctor's exit code is that of the run that follows it, with the same arguments.
func TestDoctorAgrees(t *testing.T) {
	messages := golden.Open(t, "agrees.txt")
	stranger := func(n *testNode, spec cloud.InstanceSpec) {
		spec.Subnet, spec.Name = n.SubnetID, "stranger"
		if _, err := n.Cloud.RunInstance(spec); err != nil {
			n.T.Fatal(err)
		}
	}
	for _, test := range []struct {
		name    string
		prepare func(n *testNode, w *agenttest.Network)
		code    exit.Code
		line    string // that says so
		result  string
	}{
		{"another region's list", func(n *testNode, _ *agenttest.Network) {
			n.cfg.Pools, n.cfg.Region, n.cfg.Role = agent.Pools{Master: netiptest.Addrs("10.0.1.21"), MasterOnly: true}, "eu-west-1", emr.Master
		}, exit.Usage, "region", resultFailed},
		{"another region's list, on a node that is left alone", func(n *testNode, _ *agenttest.Network) {
			n.cfg.Pools, n.cfg.Region = agent.Pools{Master: netiptest.Addrs("10.0.1.21"), MasterOnly: true}, "eu-west-1"
		}, exit.Usage, "region", resultFailed},
		{"nothing is taken from a stranger", func(n *testNode, _ *agenttest.Network) {
			n.cfg.Timeout = 2 * time.Minute
			stranger(n, cloud.InstanceSpec{Secondary: netiptest.Addrs("10.0.1.21")})
			stranger(n, cloud.InstanceSpec{PrimaryIP: netip.MustParseAddr("10.0.1.22")})
		}, exit.NoAddress, "address 10.0.1.21", resultWarning},
		{"nothing is taken from a node of another cluster", func(n *testNode, _ *agenttest.Network) {
			n.cfg.Timeout = 2 * time.Minute
			o, err := n.Cloud.LaunchCluster(cloud.ClusterSpec{Name: "other", Subnet: n.SubnetID, Masters: 1, Cores: 1})
			if err != nil {
				n.T.Fatal(err)
			}
			for i, a := range netiptest.Addrs("10.0.1.21 10.0.1.22") {
				n.as(o.Nodes[i]).Assign(a)
			}
		}, exit.NoAddress, "pool core", resultFailed},
		{"an image's state file, and no list", func(n *testNode, _ *agenttest.Network) {
			n.apply()
			p := n.Env.Path(filepath.Join(agent.DefaultStateDir, state.File))
			text := strings.ReplaceAll(n.Read(filepath.Join(agent.DefaultStateDir, state.File)), n.InstanceID, "i-0123456789abcdef0")
			if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
				n.T.Fatal(err)
			}
			n.cfg = agent.DefaultConfig()
		}, exit.Usage, "addresses", resultFailed},
		{"a list without roles", func(n *testNode, _ *agenttest.Network) {
			n.cfg.Pools = agent.Pools{Any: netiptest.Addrs("10.0.1.21")}
		}, exit.Usage, "role", resultFailed},
		{"no list", func(n *testNode, _ *agenttest.Network) { n.cfg.Pools = agent.Pools{} }, exit.Usage, "addresses", resultFailed},
		{"no list, on a task node", func(n *testNode, _ *agenttest.Network) { n.cfg.Pools, n.cfg.Role = agent.Pools{}, emr.Task }, exit.OK, "addresses", resultOK},
		{"a wrong address and a missing permission", func(n *testNode, _ *agenttest.Network) {
			n.cfg.Pools.Core = netiptest.Addrs("10.0.1.21 10.9.9.9")
			n.Deny("ssm:PutParameter")
		}, exit.Usage, "address 10.9.9.9", resultFailed},
		{"too few addresses and a black hole", func(n *testNode, w *agenttest.Network) {
			n.cfg.Pools.Core = nil
			w.Answer = func(netip.Addr, netip.AddrPort) error { return agenttest.ErrNoAnswer }
			n.silence()
		}, exit.Usage, "addresses", resultFailed},
		{"no room and a missing permission", func(n *testNode, _ *agenttest.Network) {
			for i := range byte(14) {
				n.Assign(netip.AddrFrom4([4]byte{10, 0, 1, 200 + i}))
			}
			n.Deny("ssm:PutParameter")
		}, exit.Usage, "room", resultFailed},
		{"no backend and a missing permission", func(n *testNode, _ *agenttest.Network) {
			n.Env.OpenKernel = func(context.Context, netcfg.Options) (netcfg.Kernel, error) { return nil, netcfg.ErrNoBackend }
			n.Deny("ssm:PutParameter")
		}, exit.Kernel, "nat", resultFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, w := newNode(t, cloud.Options{})
				test.prepare(n, w)
				d := n.doctor()
				_, err := agent.Apply(t.Context(), n.cfg, n.Env)
				if d.ExitCode() != test.code || exit.CodeOf(err) != test.code {
					t.Errorf("doctor ends with %d, the run with %d, want %d\n%s\n%v", d.ExitCode(), exit.CodeOf(err), test.code, textOf(t, d), err)
				}
				expect(t, d, test.line, test.result)
				messages.Is(t, test.name, said(d, test.line))
			})
		})
	}
}

// as is another node of the model, for what is done on its interface.
func (n *testNode) as(o *cloud.Node) *testNode {
	return &testNode{n.As(o), n.cfg}
}

// silence makes EC2 and Parameter Store never answer; IMDS does.
func (n *testNode) silence() {
	n.Cloud.Fault(func(c cloud.Call) cloud.FaultAction {
		if c.Service == "ec2" || c.Service == "ssm" {
			return cloud.FaultAction{Kind: cloud.FaultHang}
		}
		return cloud.FaultAction{}
	})
}

// TestDoctorStaticIP: the node's address as EC2, IMDS and the kernel have it.
func TestDoctorStaticIP(t *testing.T) {
	messages := golden.Open(t, "static-ip.txt")
	a21 := netip.MustParseAddr("10.0.1.21")
	holder := ""
	for _, test := range []struct {
		name    string
		prepare func(n *testNode)
		code    exit.Code
		result  string
	}{
		{"in order", func(*testNode) {}, exit.OK, resultOK},
		{"unassigned", func(n *testNode) { n.Unassign(a21); time.Sleep(time.Minute) }, exit.Withdrawn, resultFailed},
		{"taken by another instance", func(n *testNode) {
			n.Unassign(a21)
			o, err := n.Cloud.RunInstance(cloud.InstanceSpec{Subnet: n.SubnetID, Name: "thief", Secondary: []netip.Addr{a21}})
			if err != nil {
				n.T.Fatal(err)
			}
			holder = o.InstanceID
			time.Sleep(time.Minute)
		}, exit.Withdrawn, resultFailed},
		{"unassigned, EC2 silent", func(n *testNode) { n.Unassign(a21); time.Sleep(time.Minute); n.Deny("ec2:DescribeNetworkInterfaces") }, exit.Permission, resultFailed},
		{"unassigned a moment ago", func(n *testNode) { n.Unassign(a21) }, exit.Withdrawn, resultFailed},
		{"released", func(n *testNode) {
			if _, err := agent.Release(n.T.Context(), n.cfg, n.Env); err != nil {
				n.T.Fatal(err)
			}
		}, exit.OK, resultOK},
		{"EC2 silent", func(n *testNode) { n.Deny("ec2:DescribeNetworkInterfaces") }, exit.Permission, resultOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, _ := newNode(t, cloud.Options{IMDSDelay: cloud.Exactly(20 * time.Second)})
				n.WithSystemd()
				n.apply()
				time.Sleep(2 * time.Minute)
				holder = ""
				test.prepare(n)
				n.cfg = agent.DefaultConfig()
				d := n.doctor()
				if d.ExitCode() != test.code {
					t.Errorf("exit code %d, want %d\n%s", d.ExitCode(), test.code, textOf(t, d))
				}
				expect(t, d, "static-ip", test.result)
				messages.Is(t, test.name, said(d, "static-ip"))
				if holder != "" && !strings.Contains(said(d, "static-ip"), holder) {
					t.Errorf("%s is not named: %s", holder, said(d, "static-ip"))
				}
			})
		})
	}
}
