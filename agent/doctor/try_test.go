package doctor

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// TestAssignmentIsTried checks how a node that has its static IP tries an assignment. Doctor never
// gives the node an address that EC2 has taken away.
func TestAssignmentIsTried(t *testing.T) {
	const name = "permission ec2:AssignPrivateIpAddresses"
	for _, test := range []struct {
		what    string
		prepare func(*testNode)
		result  string
		says    string
	}{
		{"as it is", func(*testNode) {}, resultOK, "allowed: EC2 assigned 10.0.1.21 again, which the node has"},
		{"denied", func(n *testNode) { n.Deny("ec2:AssignPrivateIpAddresses") }, resultFailed, "denied"},
		{"unassigned, IMDS is late", func(n *testNode) { n.Unassign(netip.MustParseAddr("10.0.1.21")) }, resultOK, "not refused for want of a permission"},
		{"EC2 does not show it", func(n *testNode) { n.Deny("ec2:DescribeNetworkInterfaces") }, resultOK, "not refused for want of a permission"},
		{"another run is at work", func(n *testNode) {
			unlock, err := state.Lock(n.T.Context(), n.Env.Path(n.cfg.StateDir))
			if err != nil {
				n.T.Fatal(err)
			}
			n.T.Cleanup(unlock)
		}, resultOK, "not refused for want of a permission"},
	} {
		t.Run(test.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, _ := newNode(t, cloud.Options{VerifyInProcess: true, IMDSDelay: cloud.Exactly(30 * time.Second)})
				n.apply()
				time.Sleep(time.Minute) // IMDS lists the address by now
				test.prepare(n)
				before := n.Cloud.ENIs()
				d := n.doctor()
				expect(t, d, name, test.result, test.says)
				if code := d.ExitCode(); test.result == resultFailed && code != exit.Permission {
					t.Errorf("exit code %d", code)
				}
				after := n.Cloud.ENIs()
				for i := range before {
					if !slices.Equal(before[i].Addresses, after[i].Addresses) {
						t.Errorf("%s: %v before, %v after", before[i].ID, before[i].Addresses, after[i].Addresses)
					}
				}
			})
		})
	}
}
