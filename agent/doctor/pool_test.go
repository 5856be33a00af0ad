package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// claim writes a record, and waits.
func (n *testNode) claim(a netip.Addr, record ssmcoord.Record, wait time.Duration) {
	n.T.Helper()
	n.Claim(n.cfg.Prefix, a, record, wait)
}

func TestDoctorAddresses(t *testing.T) {
	messages := golden.Open(t, "addresses.txt")
	run := func(name string, prepare func(t *testing.T, n *testNode), code exit.Code, not []string, check func(t *testing.T, d Diagnosis)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, _ := newNode(t, cloud.Options{ShutdownTime: cloud.Exactly(time.Second)})
				prepare(t, n)
				d := n.doctor()
				for i := range not {
					not[i] = strings.Replace(not[i], "PRIMARY", n.PrimaryIP.String(), 1)
					for _, f := range d.Findings {
						if f.Check == "reservation" && f.Subject != "" && f.Result != resultOK {
							not[i] = strings.Replace(not[i], "SECOND", f.Subject, 1)
						}
					}
				}
				expectOnly(t, d, code, not...)
				messages.Is(t, strings.TrimSpace(name), said(d, append(notOK(d), "addresses", "scope", "pool core", "address 10.0.1.21", "address 10.0.2.6")...))
				if check != nil {
					check(t, d)
				}
			})
		})
	}
	other := func(t *testing.T, n *testNode, spec cloud.InstanceSpec) *cloud.Node {
		spec.Subnet = n.SubnetID
		o, err := n.Cloud.RunInstance(spec)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	a21 := netip.MustParseAddr("10.0.1.21")
	run("held as primary", func(t *testing.T, n *testNode) { other(t, n, cloud.InstanceSpec{PrimaryIP: a21}) }, exit.OK, []string{"address 10.0.1.21"},
		func(t *testing.T, d Diagnosis) {
			expect(t, d, "address 10.0.1.21", resultWarning)
		})
	run("held as secondary", func(t *testing.T, n *testNode) { other(t, n, cloud.InstanceSpec{Secondary: []netip.Addr{a21}}) }, exit.OK, []string{"address 10.0.1.21"},
		func(t *testing.T, d Diagnosis) {
			expect(t, d, "address 10.0.1.21", resultWarning)
		})
	run("all are held", func(t *testing.T, n *testNode) {
		other(t, n, cloud.InstanceSpec{Secondary: netiptest.Addrs("10.0.1.21 10.0.1.22")})
	}, exit.NoAddress, []string{"address 10.0.1.21", "address 10.0.1.22", "pool core", "run"}, func(t *testing.T, d Diagnosis) {
		expect(t, d, "pool core", resultFailed)
	})
	run("outside, reserved, primary IP", func(t *testing.T, n *testNode) {
		n.cfg.Pools.Core = append(netiptest.Addrs("10.9.2.5 10.0.1.3 10.0.1.255"), n.PrimaryIP, a21)
	}, exit.Usage, []string{"address 10.9.2.5", "address 10.0.1.3", "address 10.0.1.255", "address PRIMARY"}, nil)
	run("in no subnet of the VPC", func(t *testing.T, n *testNode) {
		n.cfg.Pools.Core = append(n.cfg.Pools.Core, netiptest.Addrs("10.0.2.5 10.7.0.5 10.7.0.6")...)
	}, exit.OK, []string{"address 10.0.2.5, 10.7.0.5-10.7.0.6"}, func(t *testing.T, d Diagnosis) {
		expect(t, d, "addresses", resultOK)
		expect(t, d, "address 10.0.2.5, 10.7.0.5-10.7.0.6", resultWarning)
	})
	run("in other subnets", func(t *testing.T, n *testNode) {
		second := n.Cloud.CreateSubnet(n.VPCID, netip.MustParsePrefix("10.0.2.0/24"))
		third := n.Cloud.CreateSubnet(n.VPCID, netip.MustParsePrefix("10.7.0.0/24"))
		n.Cloud.ReserveCIDR(third, netip.MustParsePrefix("10.7.0.0/28"), "explicit")
		n.cfg.Pools.Core = append(n.cfg.Pools.Core, netiptest.Addrs("10.0.2.5 10.0.2.6 10.7.0.5 10.7.0.1")...)
		if _, err := n.Cloud.RunInstance(cloud.InstanceSpec{Subnet: second, Secondary: netiptest.Addrs("10.0.2.5")}); err != nil {
			t.Fatal(err)
		}
	}, exit.OK, []string{"address 10.0.2.5", "reservation SECOND", "address 10.7.0.1"}, func(t *testing.T, d Diagnosis) {
		expect(t, d, "address 10.0.2.5", resultWarning)
		expect(t, d, "address 10.0.2.6", resultOK)
		expect(t, d, "address 10.7.0.5", resultOK)
		expect(t, d, "address 10.7.0.1", resultWarning)
	})
	run("none in this subnet", func(t *testing.T, n *testNode) {
		n.Cloud.CreateSubnet(n.VPCID, netip.MustParsePrefix("10.0.2.0/24"))
		n.cfg.Pools.Core = netiptest.Addrs("10.0.2.5 10.0.2.6")
	}, exit.Usage, []string{"addresses", "reservation SECOND"}, func(t *testing.T, d Diagnosis) {
		expect(t, d, "addresses", resultFailed)
	})
	for scope, want := range map[string]string{"": resultOK, "external": resultFailed} {
		code, not := exit.OK, []string{"reservation"}
		if want == resultFailed {
			code, not = exit.Usage, []string{"scope", "reservation"}
		}
		run("public subnet "+scope, func(t *testing.T, n *testNode) {
			public := n.Cloud.CreateSubnet(n.VPCID, netip.MustParsePrefix("10.0.2.0/24"))
			n.Cloud.MapPublicIP(public)
			n.MoveTo(public)
			n.cfg.Pools = agent.Pools{Core: netiptest.Addrs("10.0.2.21")}
			if scope != "" {
				n.cfg.Scope, n.cfg.Given.Scope = scope, true
			}
		}, code, not, func(t *testing.T, d Diagnosis) {
			expect(t, d, "scope", want)
		})
	}
	run("pool too small", func(t *testing.T, n *testNode) {
		n.cfg.Pools = agent.Pools{Core: netiptest.Addrs("10.0.1.21")}
		n.cfg.Pools.Core = nil
		n.cfg.Pools.Master = netiptest.Addrs("10.0.1.20")
	},
		exit.Usage, []string{"addresses"}, func(t *testing.T, d Diagnosis) {
			expect(t, d, "addresses", resultFailed)
		})
	run("none named", func(t *testing.T, n *testNode) { n.cfg.Pools = agent.Pools{} }, exit.Usage, []string{"addresses"}, nil)
	run("not covered by a reservation", func(t *testing.T, n *testNode) {
		n.cfg.Pools.Core = netiptest.Addrs("10.0.1.40 10.0.1.41 10.0.1.44 10.0.1.21")
	}, exit.OK, []string{"reservation"},
		func(t *testing.T, d Diagnosis) {
			expect(t, d, "reservation", resultWarning)
		})
	run("a reservation of the other type", func(t *testing.T, n *testNode) {
		n.Cloud.ReserveCIDR(n.SubnetID, netip.MustParsePrefix("10.0.1.48/28"), "prefix")
		n.cfg.Pools.Core = netiptest.Addrs("10.0.1.48")
	}, exit.OK, []string{"reservation"}, func(t *testing.T, d Diagnosis) { expect(t, d, "reservation", resultWarning) })
	run("interface full", func(t *testing.T, n *testNode) {
		n.InstanceType = ""
		for i := range byte(14) {
			n.Assign(netip.AddrFrom4([4]byte{10, 0, 1, 200 + i}))
		}
	}, exit.Usage, []string{"room"}, func(t *testing.T, d Diagnosis) {
		expect(t, d, "room", resultFailed)
	})
	gone := ssmcoord.Record{Instance: "i-0aaaaaaaaaaaaaaaa", ENI: "eni-0aaaaaaaaaaaaaaaa", Cluster: "j-GONE", Role: "CORE", Time: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)}
	run("stale record", func(t *testing.T, n *testNode) { n.claim(a21, gone, 3*time.Minute) }, exit.OK, []string{"address 10.0.1.21"}, func(t *testing.T, d Diagnosis) {
		expect(t, d, "address 10.0.1.21", resultWarning)
		expect(t, d, "pool core", resultOK)
	})
	run("a claim too new to judge", func(t *testing.T, n *testNode) { n.claim(a21, gone, 0) }, exit.OK, nil, func(t *testing.T, d Diagnosis) {
		expect(t, d, "address 10.0.1.21", resultOK)
	})
}

// doctor and a run judge the age of a record by the same clock, Parameter Store's: they agree on a
// node whose own clock is minutes behind.
func TestDoctorAndRunHaveOneClock(t *testing.T) {
	for _, test := range []struct {
		age  time.Duration
		code exit.Code
	}{{time.Minute, exit.OK}, {10 * time.Second, exit.NoAddress}} {
		synctest.Test(t, func(t *testing.T) {
			n, _ := newNode(t, cloud.Options{ClockSkew: 4 * time.Minute})
			n.cfg.Pools.Core = n.cfg.Pools.Core[:1]
			n.claim(n.cfg.Pools.Core[0], ssmcoord.Record{Instance: "i-0aaaaaaaaaaaaaaaa", ENI: "eni-0a", Cluster: "j-GONE", Role: "CORE", Time: time.Now()}, test.age)
			d := n.doctor()
			_, err := agent.Plan(t.Context(), n.cfg, n.Env)
			if exit.CodeOf(err) != test.code {
				t.Errorf("a record of a vanished instance, %s old: plan says %v", test.age, err)
			}
			if poolFails := slices.ContainsFunc(d.Findings, func(f Finding) bool { return f.Check == "pool" && f.Subject == "core" && f.Result == resultFailed }); poolFails != (test.code != exit.OK) {
				t.Errorf("a record of a vanished instance, %s old: doctor says\n%s", test.age, textOf(t, d))
			}
		})
	}
}
