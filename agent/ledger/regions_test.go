package ledger

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

// account is the account of a ledgerWorld with more regions, each of them a cloud of its own. All
// accept the operator's credentials.
type account struct {
	*ledgerWorld
	regions map[string]*cloud.Cloud
	cutOff  string // a region whose endpoints nobody can connect to
}

func newAccount(t *testing.T, o cloud.Options, others ...string) *account {
	o.AnyCredentials = true
	a := &account{ledgerWorld: newLedgerWorld(t, o), regions: map[string]*cloud.Cloud{}}
	a.regions["us-east-1"] = a.cloud
	for _, name := range others {
		o.Region = name
		c := cloud.New(o)
		a.regions[name] = c
		a.cloud.OtherRegion(name, true)
		subnet := c.CreateSubnet(c.CreateVPC(netip.MustParsePrefix("10.9.0.0/16")), netip.MustParsePrefix("10.9.1.0/24"))
		if err := c.SetParameter(agent.DefaultPrefix+"/"+subnet+"/10.9.1.9", gone("i-0dead9")); err != nil {
			t.Fatal(err)
		}
	}
	a.cfg.Subnet, a.cfg.AllRegions = "", true
	a.env.HTTP = a
	return a
}

// RoundTrip makes a call in the region that the name of the endpoint has: ec2.eu-west-1....
func (a *account) RoundTrip(req *http.Request) (*http.Response, error) {
	name := strings.Split(req.URL.Hostname(), ".")[1]
	if name == a.cutOff {
		time.Sleep(5 * time.Second)
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("i/o timeout")}
	}
	if c := a.regions[name]; c != nil {
		return c.Transport("").RoundTrip(req)
	}
	a.t.Errorf("asked %s", req.URL)
	return nil, errors.New("no such region")
}

// TestLedgerAllRegions lists regions with and without records, one that is not enabled, one that is
// denied, and one that cannot be reached.
func TestLedgerAllRegions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		denied := ""
		a := newAccount(t, cloud.Options{Seed: 31, Quotas: cloud.DefaultQuotas(), Authorize: func(r cloud.AccessRequest) error {
			if strings.Contains(strings.Join(r.Resources, " "), ":"+denied+":") {
				return errors.New("by the test")
			}
			return nil
		}}, "eu-west-1", "ap-south-1", "sa-east-1", "ca-west-1")
		a.cloud.OtherRegion("me-south-1", false)
		a.put(a.name(a.subnet, "10.0.1.10"), recordOf(a.nodes[0]))
		a.assign(a.nodes[0], "10.0.1.10")
		a.regions["sa-east-1"].DeleteParameter(a.regions["sa-east-1"].Parameters()[0].Name)
		time.Sleep(time.Hour)
		denied, a.cutOff = "ap-south-1", "ca-west-1"
		began := time.Now()
		l, text := a.run(List, exit.OK)
		states := map[string]string{}
		for _, r := range l.Regions {
			states[r.Region] = r.State
		}
		for region, want := range map[string]string{"us-east-1": regionListed, "eu-west-1": regionListed, "sa-east-1": regionListed,
			"me-south-1": regionNotEnabled, "ap-south-1": regionDenied, "ca-west-1": regionFailed} {
			if states[region] != want {
				t.Errorf("%s is %q, want %q", region, states[region], want)
			}
		}
		if len(l.Addresses) != 2 || l.Region != "" || l.Counts["stale"] != 1 || l.Counts["in use"] != 1 || l.Addresses[0].Region == l.Addresses[1].Region {
			t.Errorf("%+v", l)
		}
		if took := time.Since(began); took > regionTimeout+10*time.Second {
			t.Errorf("took %s", took)
		}
		golden.Is(t, "all-regions.txt", text)
	})
}

// All regions are an error only if none can be listed.
func TestLedgerNoRegion(t *testing.T) {
	messages := golden.Open(t, "no-region.txt")
	for _, test := range []struct {
		name   string
		denied string
		setup  func(a *account)
		code   exit.Code
	}{
		{"the list of regions is denied", "ec2:DescribeRegions", nil, exit.Permission},
		{"every region is denied", "ssm:GetParametersByPath", nil, exit.Permission},
		{"addresses are named", "", func(a *account) { a.cfg.Pools.Core = netiptest.Addrs("10.0.1.10") }, exit.Usage},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, cloud.Options{Seed: 32, Authorize: func(r cloud.AccessRequest) error {
					if r.Action == test.denied {
						return errors.New("by the test")
					}
					return nil
				}}, "eu-west-1")
				if test.setup != nil {
					test.setup(a)
				}
				_, err := Run(t.Context(), List, a.cfg, a.env)
				if err == nil || exit.CodeOf(err) != test.code {
					t.Fatalf("code %d, %v, want %d", exit.CodeOf(err), err, test.code)
				}
				messages.Is(t, test.name, err.Error()+"\n"+strings.Join(exit.Remedies(err), "\n"))
			})
		})
	}
}

// TestManyRegions lists thirty regions, a few at a time.
func TestManyRegions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for _, area := range []string{"eu", "ap", "me", "af", "ca", "sa"} {
			for _, n := range []string{"1", "2", "3", "4", "5"} {
				names = append(names, area+"-west-"+n)
			}
		}
		a := newAccount(t, cloud.Options{Seed: 33, Quotas: cloud.DefaultQuotas()}, names...)
		time.Sleep(time.Hour)
		l, _ := a.run(List, exit.OK)
		if len(l.Regions) != 31 || len(l.Addresses) != 30 || l.Work.Throttled != 0 || l.Work.Calls["ssm:GetParametersByPath"] != 31 {
			t.Errorf("%d regions, %d addresses, %v", len(l.Regions), len(l.Addresses), l.Work.Calls)
		}
	})
}
