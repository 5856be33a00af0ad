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
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// TestAssignmentIsTried checks how a node that has its static IP tries an assignment. Doctor never
// gives the node an address that EC2 has taken away.
func TestAssignmentIsTried(t *testing.T) {
	messages := golden.Open(t, "assignment.txt")
	const name = "permission ec2:AssignPrivateIpAddresses"
	for _, test := range []struct {
		what    string
		prepare func(*testNode)
		result  string
	}{
		{"as it is", func(*testNode) {}, resultOK},
		{"denied", func(n *testNode) { n.Deny("ec2:AssignPrivateIpAddresses") }, resultFailed},
		{"unassigned, IMDS is late", func(n *testNode) { n.Unassign(netip.MustParseAddr("10.0.1.21")) }, resultOK},
		{"EC2 does not show it", func(n *testNode) { n.Deny("ec2:DescribeNetworkInterfaces") }, resultOK},
		{"another run is at work", func(n *testNode) {
			unlock, err := state.Lock(n.T.Context(), n.Env.Path(n.cfg.StateDir))
			if err != nil {
				n.T.Fatal(err)
			}
			n.T.Cleanup(unlock)
		}, resultOK},
	} {
		t.Run(test.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, _ := newNode(t, cloud.Options{VerifyInProcess: true, IMDSDelay: cloud.Exactly(30 * time.Second)})
				n.apply()
				time.Sleep(time.Minute) // IMDS lists the address by now
				test.prepare(n)
				before := n.Cloud.ENIs()
				d := n.doctor()
				expect(t, d, name, test.result)
				messages.Is(t, test.what, said(d, name))
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
