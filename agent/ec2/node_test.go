package ec2

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// twoVPCs are two VPCs with the same address range, as nothing in an account forbids, and the
// master of a cluster in the first of them, which has a second network interface. It is used inside
// a synctest bubble.
type twoVPCs struct {
	t      *testing.T
	cloud  *cloud.Cloud
	subnet string
	other  string // the subnet of the twin
	master *cloud.Node
	twin   *cloud.Node // an instance of the other VPC
	ec2    *Node       // the master's
}

func newTwoVPCs(t *testing.T, o cloud.Options) *twoVPCs {
	t.Helper()
	w := &twoVPCs{t: t, cloud: cloud.New(o)}
	for _, subnet := range []*string{&w.subnet, &w.other} {
		*subnet = w.cloud.CreateSubnet(w.cloud.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), netip.MustParsePrefix("10.0.1.0/24"))
		w.cloud.ReserveCIDR(*subnet, netip.MustParsePrefix("10.0.1.16/28"), "explicit")
	}
	cluster, err := w.cloud.LaunchCluster(cloud.ClusterSpec{Subnet: w.subnet, Masters: 1, SecondENIOnMaster: true})
	if err != nil {
		t.Fatal(err)
	}
	w.master = cluster.Nodes[0]
	if w.twin, err = w.cloud.RunInstance(cloud.InstanceSpec{Subnet: w.other}); err != nil {
		t.Fatal(err)
	}
	id := Identity{InstanceID: w.master.InstanceID, ENI: w.master.ENI, SubnetID: w.master.SubnetID, PrimaryIP: w.master.PrimaryIP}
	w.ec2 = NewNode(w.awsConfig(), id, cluster.ID, host.Environment{Rand: func() float64 { return 0.5 }})
	w.ec2.Role = emr.Master
	return w
}

// awsConfig returns the configuration of a caller outside the cluster, who prepares the test. Its
// calls outlast every quota, and their waits are not random.
func (w *twoVPCs) awsConfig() aws.Config {
	creds := w.cloud.Credentials("")
	return aws.Config{Region: "us-east-1", HTTPClient: &http.Client{Transport: w.cloud.Transport("")},
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts, o.RateLimiter = 100, ratelimit.None
				o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return time.Second, nil })
			})
		},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil })}
}

// assign gives a node an address, as its agent or an operator would.
func (w *twoVPCs) assign(n *cloud.Node, addr string) {
	w.t.Helper()
	_, err := awsec2.NewFromConfig(w.awsConfig()).AssignPrivateIpAddresses(w.t.Context(), &awsec2.AssignPrivateIpAddressesInput{
		NetworkInterfaceId: aws.String(n.ENI), PrivateIpAddresses: []string{addr}, AllowReassignment: aws.Bool(true)})
	if err != nil {
		w.t.Fatal(err)
	}
}

// second is the master's second interface, in the place of the first.
func (w *twoVPCs) second() *cloud.Node { return &cloud.Node{ENI: w.master.SecondENI.ID} }

// What another VPC's interfaces have under the same numbers is nobody's here.
func TestHoldersAreOfTheSubnet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwoVPCs(t, cloud.Options{})
		list := []netip.Addr{netip.MustParseAddr("10.0.1.20"), netip.MustParseAddr("10.0.1.21"), netip.MustParseAddr("10.0.1.22")}
		w.assign(w.twin, "10.0.1.20")
		w.assign(w.twin, "10.0.1.21")
		w.assign(w.master, "10.0.1.21")
		got, err := w.ec2.Holders(t.Context(), append(list, w.twin.PrimaryIP))
		want := ssmcoord.Holder{ENI: w.master.ENI, Instance: w.master.InstanceID, Cluster: got[list[1]].Cluster}
		if err != nil || len(got) != 1 || got[list[1]] != want {
			t.Errorf("%v, %+v; want %s on %+v alone", err, got, list[1], want)
		}
	})
}

// A member's addresses are those of its primary interface: only there does this program attach any.
func TestSurveyIsOfPrimaryInterfaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwoVPCs(t, cloud.Options{})
		w.assign(w.master, "10.0.1.20")
		w.assign(w.second(), "10.0.1.21")
		members, err := w.ec2.Survey(t.Context())
		want := []netip.Addr{w.master.PrimaryIP, netip.MustParseAddr("10.0.1.20")}
		if err != nil || len(members) != 1 || members[0].Role != "MASTER" || !slices.Equal(members[0].Addresses, want) {
			t.Errorf("%v, %+v; want one master with %v", err, members, want)
		}
	})
}

// An error counts only if EC2 goes on showing the address on the interface.
func TestUnassign(t *testing.T) {
	const addr = "10.0.1.20"
	refused := cloud.FaultAction{Kind: cloud.FaultFail, Code: "OperationNotPermitted", Message: "not now", Status: 400}
	doneAndRefused := refused
	doneAndRefused.Kind = cloud.FaultFailAfter
	denied := cloud.FaultAction{Kind: cloud.FaultFail, Code: "UnauthorizedOperation", Status: 403}
	none := cloud.FaultAction{}
	for _, test := range []struct {
		name     string
		attached bool
		fault    cloud.FaultAction // of the first call
		look     cloud.FaultAction // of every look at the interface
		detached bool
		fails    string
		held     bool // afterwards
	}{
		{"done", true, none, none, true, "", false},
		{"refused", true, refused, none, false, "not now", true},
		{"refused, and not there", false, refused, none, false, "", false},
		{"denied", true, denied, none, false, "UnauthorizedOperation", true},
		{"done, and an error answered", true, doneAndRefused, none, false, "", false},
		{"done, and the answer lost", true, cloud.FaultAction{Kind: cloud.FaultLose}, none, false, "", false},
		{"refused, and nothing can be seen", true, refused, denied, false, "UnauthorizedOperation", true},
		{"done, and nothing can be seen", true, none, denied, true, "", false},
	} {
		for name, o := range map[string]cloud.Options{
			"prompt": {},
			"late":   {Seed: 3, RemapDelay: cloud.Range{Min: time.Second, Max: 4 * time.Second}, StaleEC2: cloud.Staleness{Probability: 0.5, MaxAge: 3 * time.Second}},
		} {
			t.Run(test.name+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newTwoVPCs(t, o)
					if test.attached {
						w.assign(w.master, addr)
					}
					time.Sleep(time.Minute)
					first := true
					w.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
						switch {
						case c.Action == "DescribeNetworkInterfaces":
							return test.look
						case c.Action == "UnassignPrivateIpAddresses" && first:
							first = false
							return test.fault
						}
						return none
					})
					detached, err := w.ec2.Unassign(t.Context(), netip.MustParseAddr(addr))
					if detached != test.detached || (err == nil) != (test.fails == "") || err != nil && !strings.Contains(err.Error(), test.fails) {
						t.Errorf("%t, %v; want %t, %q", detached, err, test.detached, test.fails)
					}
					if err != nil && !strings.Contains(err.Error(), w.master.ENI) {
						t.Errorf("the error does not name the interface: %v", err)
					}
					if h := w.cloud.Holders(w.subnet, netip.MustParseAddr(addr)); (len(h) > 0) != test.held {
						t.Errorf("it is on %v", h)
					}
				})
			})
		}
	}
}
