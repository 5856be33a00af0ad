package doctor

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

// TestEndpointCutOff has EC2's endpoint outside the VPC, and a static IP that leads nowhere. A run
// without a Name tag to change does not notice: doctor does, and so does a run with --verify.
func TestEndpointCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, w := newNode(t, cloud.Options{VerifyInProcess: true})
		const name = "ec2.us-east-1.amazonaws.com"
		w.Names[name] = netiptest.Addrs("198.51.100.9")
		w.Answer = func(_ netip.Addr, to netip.AddrPort) error {
			if to.Addr() == w.Names[name][0] && len(n.Kernel.Uses(n.PrimaryIP)) > 0 {
				return agenttest.ErrNoAnswer
			}
			return nil
		}
		if d := n.doctor(); d.result("tcp ec2") != resultOK {
			t.Errorf("before the rules:\n%s", textOf(t, d))
		}
		n.cfg.NameTag = false
		n.apply()
		time.Sleep(time.Minute)
		d := n.doctor()
		expect(t, d, "tcp ec2", resultFailed)
		golden.Is(t, "cut-off.txt", said(d, "tcp ec2"))
		n.cfg.Verify = targetList(name + ":443")
		if _, err := agent.Apply(t.Context(), n.cfg, n.Env); exit.CodeOf(err) != exit.Verify {
			t.Errorf("--verify: code %d, %v", exit.CodeOf(err), err)
		}
	})
}

// TestScopeThatIsDerivedAnew has a node whose public address is gone. The kernel is as the last run
// left it, and doctor says that the next run changes it.
func TestScopeThatIsDerivedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, w := newNode(t, cloud.Options{VerifyInProcess: true})
		subnet := n.Cloud.CreateSubnet(n.VPCID, netip.MustParsePrefix("10.0.2.0/24"))
		n.Cloud.MapPublicIP(subnet)
		n.MoveTo(subnet)
		w.Primary = n.PrimaryIP
		n.cfg.Pools = agent.Pools{Core: netiptest.Addrs("10.0.2.21")}
		n.apply()
		time.Sleep(time.Minute)
		n.Env.HTTP = roundTripper(func(req *http.Request) (*http.Response, error) {
			if strings.HasSuffix(req.URL.Path, "/public-ipv4s") {
				req.URL.Path = "/latest/meta-data/none"
			}
			return n.RoundTrip(req)
		})
		for _, pools := range []agent.Pools{n.cfg.Pools, {}} {
			n.cfg.Pools = pools
			d := n.doctor()
			expect(t, d, "scope", resultWarning)
			expect(t, d, "static-ip", resultOK)
			golden.Is(t, "derived-scope.txt", said(d, "scope", "static-ip"))
		}
	})
}
