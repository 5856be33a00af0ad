package agent

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// arbiterWorld are two VPCs with the same address range, as nothing in an account forbids, and the master of a cluster in the first of
// them, which has a second network interface. It is used inside a synctest bubble.
type arbiterWorld struct {
	*ledgerWorld
	master *cloud.Node
	twin   *cloud.Node // an instance of the other VPC
	ec2    *arbiter    // the master's
}

func newArbiterWorld(t *testing.T, o cloud.Options) *arbiterWorld {
	t.Helper()
	w := &arbiterWorld{ledgerWorld: &ledgerWorld{t: t, cloud: cloud.New(o)}}
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
	w.ec2 = newArbiter(w.awsConfig(), id, cluster.ID, Environment{Rand: func() float64 { return 0.5 }})
	w.ec2.Role = RoleMaster
	return w
}

// second is the master's second interface, in the place of the first.
func (w *arbiterWorld) second() *cloud.Node { return &cloud.Node{ENI: w.master.SecondENI.ID} }

// What another VPC's interfaces have under the same numbers is nobody's here.
func TestHoldersAreOfTheSubnet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newArbiterWorld(t, cloud.Options{})
		list := addrList("10.0.1.20 10.0.1.21 10.0.1.22")
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
		w := newArbiterWorld(t, cloud.Options{})
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
					w := newArbiterWorld(t, o)
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

// A release that EC2 refuses fails. The address is still assigned, so that no other node gets it. No
// restore puts it back into the kernel meanwhile, and the next release goes on.
func TestReleaseThatEC2Refuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		static := n.apply().Static
		n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
			if c.Action == "UnassignPrivateIpAddresses" {
				return cloud.FaultAction{Kind: cloud.FaultFail, Code: "OperationNotPermitted", Message: "not now", Status: 400}
			}
			return cloud.FaultAction{}
		})
		if rep, err := Release(t.Context(), n.cfg, n.env); err == nil || !strings.Contains(err.Error(), "unassigning "+static.String()) {
			t.Errorf("%v, %q", err, rep.Changes)
		}
		n.cloud.Fault(nil)
		if got := n.cloud.Parameters(); len(got) != 0 || len(n.cloud.Holders(n.SubnetID, static)) != 1 {
			t.Errorf("on %v, claimed by %v", n.cloud.Holders(n.SubnetID, static), got)
		}
		for _, silent := range []bool{false, true} {
			n.silent.Store(silent)
			if rep := n.restore(ExitOK); len(rep.Changes) > 0 || len(n.uses()) > 0 || n.kernel.Rules() != "" {
				t.Errorf("IMDS silent %t: %q, in use %v\n%s", silent, rep.Changes, n.uses(), n.kernel.Rules())
			}
		}
		n.silent.Store(false)
		if _, err := Release(t.Context(), n.cfg, n.env); err != nil || len(n.cloud.Parameters()) > 0 || len(n.cloud.Holders(n.SubnetID, static)) > 0 {
			t.Errorf("again: %v, on %v, claimed by %v", err, n.cloud.Holders(n.SubnetID, static), n.cloud.Parameters())
		}
	})
}

// EC2 refuses one address in words that are not known here, and shows nobody who has it: the node
// takes the next one, says so, and a rerun keeps it.
func TestRefusedInUnknownWords(t *testing.T) {
	for _, code := range []string{"InvalidIPAddress.InUse", "InsufficientFreeAddressesInSubnet", "InvalidParameterValue"} {
		synctest.Test(t, func(t *testing.T) {
			n := newTestNode(t, cloud.Options{})
			n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
				if c.Action == "AssignPrivateIpAddresses" && strings.Contains(c.Params, "10.0.1.21") {
					return cloud.FaultAction{Kind: cloud.FaultFail, Code: code, Message: "words of tomorrow", Status: 400}
				}
				return cloud.FaultAction{}
			})
			_, stdout, stderr := n.program(t.Context(), "10.0.1.20", "10.0.1.21-22")
			if !strings.Contains(stdout, "static IP  10.0.1.22") || !strings.Contains(stderr, "refused 10.0.1.21: EC2 refused 10.0.1.21: words of tomorrow") {
				t.Errorf("%s: %s\n%s", code, stdout, stderr)
			}
			if rep := n.apply(); rep.Static.String() != "10.0.1.22" || len(rep.Changes) > 0 {
				t.Errorf("%s: then %s, %q", code, rep.Static, rep.Changes)
			}
		})
	}
}
