package doctor

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
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

// TestAssignmentWithoutAnswer loses the answer to doctor's attempt, which takes effect at once,
// later, or never. Doctor holds the lock until it cannot take effect any more. An address that EC2
// had taken away is not given back.
func TestAssignmentWithoutAnswer(t *testing.T) {
	const name = "permission ec2:AssignPrivateIpAddresses"
	own := netip.MustParseAddr("10.0.1.21")
	messages := golden.Open(t, "assignment-without-answer.txt")
	for _, test := range []struct {
		what   string
		fault  cloud.FaultAction
		taken  bool // EC2 takes the address away right before the attempt
		result string
	}{
		{"comes late", cloud.FaultAction{Kind: cloud.FaultLate, Late: 20 * time.Second}, false, resultOK},
		{"had its effect", cloud.FaultAction{Kind: cloud.FaultHangAfter}, false, resultUnknown},
		{"comes late, the address was taken away", cloud.FaultAction{Kind: cloud.FaultLate, Late: 20 * time.Second}, true, ""},
		{"never comes, the address was taken away", cloud.FaultAction{Kind: cloud.FaultHang}, true, resultUnknown},
	} {
		t.Run(test.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, _ := newNode(t, cloud.Options{VerifyInProcess: true, IMDSDelay: cloud.Exactly(30 * time.Second)})
				n.apply()
				time.Sleep(time.Minute)
				attempts, locked := 0, time.Duration(0)
				began := time.Now()
				n.Cloud.Fault(func(c cloud.Call) cloud.FaultAction {
					if c.Key() != "ec2:AssignPrivateIpAddresses" || !strings.Contains(c.Params, own.String()) {
						return cloud.FaultAction{}
					}
					if attempts++; attempts > 1 {
						if test.taken { // the repeated attempt does not arrive
							return cloud.FaultAction{Kind: cloud.FaultHang}
						}
						return cloud.FaultAction{}
					}
					began = time.Now()
					if test.taken {
						n.Unassign(own)
					}
					go func() {
						unlock, err := state.Lock(context.WithoutCancel(t.Context()), n.Env.Path(n.cfg.StateDir))
						if err == nil {
							locked = time.Since(began)
							unlock()
						}
					}()
					return test.fault
				})
				d, err := Doctor(t.Context(), n.cfg, n.Env)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				if test.result == "" {
					test.result = resultUnknown
				}
				expect(t, d, name, test.result)
				messages.Is(t, test.what, said(d, name))
				if locked < ssmcoord.DescribeLag {
					t.Errorf("another run got the lock after %s", locked)
				}
				has := false
				for _, e := range n.Cloud.ENIs() {
					has = has || slices.Contains(e.Addresses, own)
				}
				if has == test.taken {
					t.Errorf("the node has the address: %t, taken away %t", has, test.taken)
				}
			})
		})
	}
}

// TestAssignmentWithoutAnswerSoon runs doctor right after a run, when a look at EC2 may still be
// older than the assignment of that run. Such a look does not make doctor unassign the address.
func TestAssignmentWithoutAnswerSoon(t *testing.T) {
	own := netip.MustParseAddr("10.0.1.21")
	synctest.Test(t, func(t *testing.T) {
		n, _ := newNode(t, cloud.Options{VerifyInProcess: true})
		n.apply()
		time.Sleep(2 * time.Second)
		attempts, late, began := 0, false, time.Now()
		n.Cloud.Fault(func(c cloud.Call) cloud.FaultAction {
			if c.Key() != "ec2:AssignPrivateIpAddresses" || !strings.Contains(c.Params, own.String()) {
				return cloud.FaultAction{}
			}
			if attempts++; attempts > 1 {
				return cloud.FaultAction{}
			}
			return cloud.FaultAction{Kind: cloud.FaultLose}
		})
		through := n.Env.HTTP
		n.Env.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
			res, err := through.RoundTrip(r)
			if err != nil || attempts < 2 || time.Since(began) > 8*time.Second || !strings.HasPrefix(r.URL.Host, "ec2.") {
				return res, err
			}
			body, err := io.ReadAll(res.Body)
			if bytes.Contains(body, []byte("<DescribeNetworkInterfacesResponse")) {
				late = true
				body = bytes.ReplaceAll(body, []byte(own.String()+"<"), []byte("10.0.1.99<"))
			}
			res.Body = io.NopCloser(bytes.NewReader(body))
			res.ContentLength = int64(len(body))
			return res, err
		})
		d, err := Doctor(t.Context(), n.cfg, n.Env)
		if err != nil || attempts < 2 || !late {
			t.Fatalf("%v; %d attempts, a late look %t", err, attempts, late)
		}
		if said := said(d, "permission ec2:AssignPrivateIpAddresses"); len(n.Cloud.Holders(n.SubnetID, own)) == 0 {
			t.Errorf("the node has lost %s: %s", own, said)
		}
	})
}
