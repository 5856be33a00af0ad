package agent

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// TestDoctorAgrees: doctor's exit code is that of the run that follows it, with the same arguments.
func TestDoctorAgrees(t *testing.T) {
	stranger := func(n *testNode, spec cloud.InstanceSpec) {
		spec.Subnet, spec.Name = n.SubnetID, "stranger"
		if _, err := n.cloud.RunInstance(spec); err != nil {
			n.t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name    string
		prepare func(n *testNode, w *network)
		code    ExitCode
		line    string // that says so
		result  string
		want    []string
	}{
		{"another region's list", func(n *testNode, _ *network) {
			n.cfg.Pools, n.cfg.Region, n.cfg.Role = Pools{Master: addrList("10.0.1.21"), MasterOnly: true}, "eu-west-1", RoleMaster
		}, ExitUsage, "region", resultFailed, []string{"eu-west-1", "us-east-1"}},
		{"another region's list, on a node that is left alone", func(n *testNode, _ *network) {
			n.cfg.Pools, n.cfg.Region = Pools{Master: addrList("10.0.1.21"), MasterOnly: true}, "eu-west-1"
		}, ExitUsage, "region", resultFailed, nil},
		{"nothing is taken from a stranger", func(n *testNode, _ *network) {
			n.cfg.Timeout = 2 * time.Minute
			stranger(n, cloud.InstanceSpec{Secondary: addrList("10.0.1.21")})
			stranger(n, cloud.InstanceSpec{PrimaryIP: netip.MustParseAddr("10.0.1.22")})
		}, ExitNoAddress, "address 10.0.1.21", resultWarning, []string{"in use by i-", "aws ec2 unassign-private-ip-addresses --network-interface-id eni-"}},
		{"nothing is taken from a node of another cluster", func(n *testNode, _ *network) {
			n.cfg.Timeout = 2 * time.Minute
			o, err := n.cloud.LaunchCluster(cloud.ClusterSpec{Name: "other", Subnet: n.SubnetID, Masters: 1, Cores: 1})
			if err != nil {
				n.t.Fatal(err)
			}
			for i, a := range addrList("10.0.1.21 10.0.1.22") {
				n.as(o.Nodes[i]).assign(a)
			}
		}, ExitNoAddress, "pool core", resultFailed, nil},
		{"an image's state file, and no list", func(n *testNode, _ *network) {
			n.apply()
			p := n.env.Path(filepath.Join(DefaultStateDir, state.File))
			text := strings.ReplaceAll(n.read(filepath.Join(DefaultStateDir, state.File)), n.InstanceID, "i-0123456789abcdef0")
			if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
				n.t.Fatal(err)
			}
			n.cfg = DefaultConfig()
		}, ExitUsage, "addresses", resultFailed, []string{"MASTER_IP CORE_IP"}},
		{"no list", func(n *testNode, _ *network) { n.cfg.Pools = Pools{} }, ExitUsage, "addresses", resultFailed, []string{"none are named", "MASTER_IP CORE_IP"}},
		{"no list, on a task node", func(n *testNode, _ *network) { n.cfg.Pools, n.cfg.Role = Pools{}, RoleTask }, ExitOK, "addresses", resultOK, nil},
		{"a wrong address and a missing permission", func(n *testNode, _ *network) {
			n.cfg.Pools.Core = addrList("10.0.1.21 10.9.9.9")
			n.deny("ssm:PutParameter")
		}, ExitUsage, "address 10.9.9.9", resultFailed, nil},
		{"too few addresses and a black hole", func(n *testNode, w *network) {
			n.cfg.Pools.Core = nil
			w.answer = func(netip.Addr, netip.AddrPort) error { return errNoAnswer }
			n.silence()
		}, ExitUsage, "addresses", resultFailed, nil},
		{"no room and a missing permission", func(n *testNode, _ *network) {
			for i := range byte(14) {
				n.assign(netip.AddrFrom4([4]byte{10, 0, 1, 200 + i}))
			}
			n.deny("ssm:PutParameter")
		}, ExitUsage, "room", resultFailed, nil},
		{"no back end and a missing permission", func(n *testNode, _ *network) {
			n.env.OpenKernel = func(context.Context, netcfg.Options) (netcfg.Kernel, error) { return nil, netcfg.ErrNoBackend }
			n.deny("ssm:PutParameter")
		}, ExitKernel, "nat", resultFailed, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, w := newPatient(t, cloud.Options{})
				test.prepare(n, w)
				d := n.doctor()
				_, err := Apply(t.Context(), n.cfg, n.env)
				if d.ExitCode() != test.code || CodeOf(err) != test.code {
					t.Errorf("doctor ends with %d, the run with %d, want %d\n%s\n%v", d.ExitCode(), CodeOf(err), test.code, textOf(t, d), err)
				}
				expect(t, d, test.line, test.result, test.want...)
			})
		})
	}
}

// as is another node of the model, for what is done on its interface.
func (n *testNode) as(o *cloud.Node) *testNode {
	return &testNode{Node: o, t: n.t, cloud: n.cloud, cfg: n.cfg, env: Environment{LookupEnv: n.env.LookupEnv, Rand: n.env.Rand, Root: n.t.TempDir()}}
}

// silence makes EC2 and Parameter Store never answer; IMDS does.
func (n *testNode) silence() {
	n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
		if c.Service == "ec2" || c.Service == "ssm" {
			return cloud.FaultAction{Kind: cloud.FaultHang}
		}
		return cloud.FaultAction{}
	})
}

// TestDoctorStaticIP: the node's address as EC2, IMDS and the kernel have it.
func TestDoctorStaticIP(t *testing.T) {
	a21 := netip.MustParseAddr("10.0.1.21")
	holder := ""
	for _, test := range []struct {
		name    string
		prepare func(n *testNode)
		code    ExitCode
		result  string
		want    []string
	}{
		{"in order", func(*testNode) {}, ExitOK, resultOK, []string{"10.0.1.21 and its rules are programmed", "EC2 and IMDS give it to this node"}},
		{"unassigned", func(n *testNode) { n.unassign(a21); time.Sleep(time.Minute) }, ExitWithdrawn, resultFailed,
			[]string{"EC2 does not give 10.0.1.21 to this node any more", "on no network interface", "still programmed", "CloudTrail"}},
		{"taken by another instance", func(n *testNode) {
			n.unassign(a21)
			o, err := n.cloud.RunInstance(cloud.InstanceSpec{Subnet: n.SubnetID, Name: "thief", Secondary: []netip.Addr{a21}})
			if err != nil {
				n.t.Fatal(err)
			}
			holder = o.InstanceID
			time.Sleep(time.Minute)
		}, ExitWithdrawn, resultFailed, []string{"EC2 does not give 10.0.1.21 to this node any more", "in use by HOLDER"}},
		{"unassigned, EC2 silent", func(n *testNode) { n.unassign(a21); time.Sleep(time.Minute); n.deny("ec2:DescribeNetworkInterfaces") }, ExitPermission, resultFailed,
			[]string{"IMDS does not list 10.0.1.21", "EC2 cannot be asked"}},
		{"unassigned a moment ago", func(n *testNode) { n.unassign(a21) }, ExitWithdrawn, resultFailed, []string{"EC2 does not give 10.0.1.21"}},
		{"released", func(n *testNode) {
			if _, err := Release(n.t.Context(), n.cfg, n.env); err != nil {
				n.t.Fatal(err)
			}
		}, ExitOK, resultOK, []string{"it was released"}},
		{"EC2 silent", func(n *testNode) { n.deny("ec2:DescribeNetworkInterfaces") }, ExitPermission, resultOK, []string{"IMDS lists it", "EC2 cannot be asked"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, _ := newPatient(t, cloud.Options{IMDSDelay: cloud.Exactly(20 * time.Second)})
				n.withSystemd()
				n.apply()
				time.Sleep(2 * time.Minute)
				test.prepare(n)
				n.cfg = DefaultConfig()
				d := n.doctor()
				if d.ExitCode() != test.code {
					t.Errorf("exit code %d, want %d\n%s", d.ExitCode(), test.code, textOf(t, d))
				}
				for i, want := range test.want {
					test.want[i] = strings.Replace(want, "HOLDER", holder, 1)
				}
				expect(t, d, "static-ip", test.result, test.want...)
			})
		})
	}
}
