package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

func TestRestoreRepairsDrift(t *testing.T) {
	tests := []struct {
		name  string
		drift func(n *testNode, static netip.Addr)
		want  []string // in the changes
	}{
		{"nothing lost", func(*testNode, netip.Addr) {}, nil},
		{"a DHCP renewal deletes the address", func(n *testNode, a netip.Addr) { n.kernel.RemoveAddress(a) }, []string{"ip addr add 10.0.1.2"}},
		{"the nat table is flushed", func(n *testNode, _ netip.Addr) { n.kernel.FlushNAT() }, []string{"+ -N EMR-STATIC-IP-OUT", "+ -A POSTROUTING"}},
		{"Docker comes in front", func(n *testNode, _ netip.Addr) { n.kernel.InsertRule("POSTROUTING", "-j MASQUERADE") }, []string{`-A POSTROUTING -j EMR-STATIC-IP-OUT ("-j MASQUERADE" `}},
		{"one chain is flushed", func(n *testNode, _ netip.Addr) { n.kernel.DeleteJump("OUTPUT") }, []string{"+ -A OUTPUT"}},
		{"a reboot", func(n *testNode, _ netip.Addr) { n.kernel.Reboot(n.PrimaryIP) }, []string{"ip addr add", "+ -N EMR-STATIC-IP-IN"}},
		{"a former address comes back", func(n *testNode, _ netip.Addr) {
			s := n.state()
			s.Former = netiptest.Addrs("10.0.1.29")
			if err := state.Save(n.env.Path(n.cfg.StateDir), s); err != nil {
				n.t.Fatal(err)
			}
			n.kernel.AddAddress(testLink, netip.MustParsePrefix("10.0.1.29/32"))
		}, []string{"ip addr del 10.0.1.29"}},
	}
	for _, test := range tests {
		for _, silent := range []bool{false, true} {
			name := test.name + ", IMDS answers"
			if silent {
				name = test.name + ", IMDS is silent"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := newTestNode(t, cloud.Options{})
					n.cfg.Scope, n.cfg.Exclude = "external", []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
					static := n.apply().Static
					want, addresses := n.kernel.Rules(), n.kernel.Addresses(testLink)
					n.silent.Store(silent)
					n.cloud.ForgetCalls()
					test.drift(n, static)
					rep := n.restore(ExitOK)
					changes := strings.Join(rep.Changes, "\n")
					for _, w := range test.want {
						if !strings.Contains(changes, w) {
							t.Errorf("changes do not tell of %s:\n%s", w, changes)
						}
					}
					if len(test.want) == 0 && len(rep.Changes) > 0 {
						t.Errorf("changes %q", rep.Changes)
					}
					rules := strings.ReplaceAll(n.kernel.Rules(), "-A POSTROUTING -j MASQUERADE\n", "")
					if got := n.kernel.Addresses(testLink); rules != want || !slices.Equal(got, addresses) {
						t.Errorf("%v\n%s\nwant %v\n%s", got, rules, addresses, want)
					}
					if rep := n.restore(ExitOK); len(rep.Changes) > 0 {
						t.Errorf("again: %q", rep.Changes)
					}
					for _, c := range n.cloud.Calls() {
						if c.Service != "imds" {
							t.Errorf("called AWS: %s", c)
						}
					}
				})
			})
		}
	}
}

// A restore of a node in order asks IMDS for a token and for two things, every tenth minute for
// three, and looks at the kernel once. It changes and reports nothing.
func TestRestoreOfAHealthyNodeIsCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.apply()
		before := n.snapshot()
		most := map[int]int{}
		for range 20 {
			time.Sleep(time.Minute)
			n.cloud.ForgetCalls()
			looks := n.kernel.Looks()
			rep := n.restore(ExitOK)
			if len(rep.Changes) > 0 || len(rep.Warnings) > 0 || len(rep.Notes) > 0 {
				t.Errorf("changes %q, warnings %q, notes %q", rep.Changes, rep.Warnings, rep.Notes)
			}
			if got := n.kernel.Looks() - looks; got != 1 {
				t.Errorf("%d looks at the kernel", got)
			}
			most[len(n.cloud.Calls())]++
		}
		if most[3] != 18 || most[4] != 2 {
			t.Errorf("of 20 restores, by requests to IMDS: %v; want 18 with 3 and 2 with 4", most)
		}
		if after := n.snapshot(); !slices.Equal(after, before) {
			t.Errorf("restore changed the node:\n%s\nwant\n%s", after, before)
		}
	})
}

// A run waits for six answers of IMDS, one after the other: to the request for a token, then three
// times for up to four requests at once about the node, then twice for credentials. A restore of a
// node in order waits for three, and every tenth minute for four: its requests go one by one.
func TestRoundTripsToIMDS(t *testing.T) {
	const latency = time.Second
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{Latency: func(_ *rand.Rand, c cloud.Call) time.Duration {
			if c.Service == "imds" {
				return latency
			}
			return 0
		}})
		began := time.Now()
		n.apply()
		if got := time.Since(began); got != 6*latency {
			t.Errorf("the run took %s, want 6 round trips of %s", got, latency)
		}
		time.Sleep(time.Minute)
		took := map[time.Duration]int{}
		for range 2 * vpcEvery {
			began := time.Now()
			n.restore(ExitOK)
			took[time.Since(began)]++
			time.Sleep(time.Minute)
		}
		if took[3*latency] != 18 || took[4*latency] != 2 {
			t.Errorf("of 20 restores, by time: %v; want 18 with 3 round trips of %s and 2 with 4", took, latency)
		}
	})
}

// A CIDR that is added to the VPC later is found by restore within ten minutes.
func TestRestoreFindsNewCIDR(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.apply()
		s := n.state()
		want := s.VPC
		s.VPC = netiptest.Prefixes("10.9.0.0/16") // as if IMDS had said another one then
		if err := state.Save(n.env.Path(n.cfg.StateDir), s); err != nil {
			t.Fatal(err)
		}
		for range vpcEvery {
			time.Sleep(time.Minute)
			n.restore(ExitOK)
		}
		if got := n.state().VPC; !slices.Equal(got, want) {
			t.Errorf("after %d minutes the state file has %v, want %v", vpcEvery, got, want)
		}
	})
}

// The address is withdrawn after five answers of IMDS without it, and not put back while IMDS is
// silent.
func TestRestoreOfAnAddressThatWasMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		static := n.apply().Static
		n.unassign(static)
		n.kernel.FlushNAT()
		for check := 1; check < state.AbsentChecks; check++ {
			for range 3 { // by hand, one after the other: one check
				if rep := n.restore(ExitOK); len(rep.Changes) > 0 || len(rep.Warnings) != 1 || !strings.Contains(rep.Warnings[0], "check") {
					t.Fatalf("check %d: %q %q", check, rep.Changes, rep.Warnings)
				}
				time.Sleep(time.Second)
			}
			n.silent.Store(true) // no evidence, in neither direction, and nothing is forgotten
			if check == 2 {
				n.restore(ExitOK)
				n.kernel.FlushNAT()
			}
			n.silent.Store(false)
			time.Sleep(time.Minute)
			if got := n.uses(); !slices.Equal(got, []netip.Addr{static}) {
				t.Fatalf("after check %d: in use: %v", check, got)
			}
		}
		for range 2 { // and it goes on to say so
			n.restore(ExitWithdrawn)
			if got := n.uses(); len(got) > 0 || n.kernel.Rules() != "" {
				t.Fatalf("in use: %v\n%s", got, n.kernel.Rules())
			}
		}
		n.silent.Store(true)
		n.restore(ExitWithdrawn)
		if got := n.uses(); len(got) > 0 {
			t.Fatalf("put back without evidence: %v", got)
		}
		n.silent.Store(false)
		n.assign(static)
		time.Sleep(time.Minute)
		n.restore(ExitWithdrawn) // IMDS may be late
		time.Sleep(time.Minute)
		n.restore(ExitOK)
		if got := n.uses(); !slices.Equal(got, []netip.Addr{static}) || n.state().Phase != PhaseProgrammed {
			t.Errorf("EC2 gives it again, in use: %v, phase %s", got, n.state().Phase)
		}
	})
}

// brokenKernel fails where something is to be changed.
type brokenKernel struct{ netcfg.Kernel }

func (brokenKernel) Apply(context.Context, netcfg.Change) error {
	return errors.New("failed by the test")
}

// A restore that ends between its note in the state file and the kernel is finished by the next
// one, also where IMDS is silent by then.
func TestRestoreThatIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		static := n.apply().Static
		n.unassign(static)
		for range state.AbsentChecks - 1 {
			n.restore(ExitOK)
			time.Sleep(time.Minute)
		}
		open := n.env.OpenKernel
		n.env.OpenKernel = func(context.Context, netcfg.Options) (netcfg.Kernel, error) { return brokenKernel{n.kernel}, nil }
		n.restore(ExitKernel)
		if len(n.uses()) == 0 {
			t.Fatal("the kernel did not fail")
		}
		n.env.OpenKernel = open
		n.silent.Store(true)
		n.restore(ExitWithdrawn)
		if got := n.uses(); len(got) > 0 {
			t.Errorf("in use: %v", got)
		}
	})
}

func TestRestoreCountsInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		static := n.apply().Static
		for range 3 {
			n.unassign(static)
			for range state.AbsentChecks - 1 {
				n.restore(ExitOK)
				time.Sleep(time.Minute)
			}
			n.assign(static)
			n.restore(ExitOK)
			if host.Exists(filepath.Join(n.env.Path(n.cfg.StateDir), state.AbsenceFile)) {
				t.Error("a listing does not end the count")
			}
		}
		n.unassign(static)
		for boot := range 3 {
			n.write(n.env.Path("/proc/sys/kernel/random/boot_id"), strings.Repeat("x", boot+1))
			for range state.AbsentChecks - 1 {
				n.restore(ExitOK)
				time.Sleep(time.Minute)
			}
		}
	})
}

// Another run takes the address out of the kernel; from then on a restore must not put it back.
func TestRestoreAfterApplyFoundTheAddressMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		static := n.apply().Static
		time.Sleep(time.Minute) // from then on a look at EC2 is not late about it
		n.unassign(static)
		broken := n.cfg
		broken.Pools, broken.Timeout = Pools{}, 30*time.Second
		n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
			if c.Action == "AssignPrivateIpAddresses" || c.Action == "PutParameter" {
				return cloud.FaultAction{Kind: cloud.FaultHang}
			}
			return cloud.FaultAction{}
		})
		if _, err := Apply(t.Context(), broken, n.env); err == nil {
			t.Fatal("done")
		}
		n.cloud.Fault(nil)
		n.silent.Store(true)
		if _, err := Restore(t.Context(), DefaultConfig(), n.env); CodeOf(err) != ExitOK && CodeOf(err) != ExitWithdrawn {
			t.Error(err)
		}
		if got := n.uses(); len(got) > 0 {
			t.Errorf("%v is in use (phase %s)", got, n.state().Phase)
		}
	})
}

func TestRestoreLeavesAlone(t *testing.T) {
	messages := golden.Open(t, "left-alone.txt")
	phase := func(p Phase) func(n *testNode) {
		return func(n *testNode) {
			n.apply()
			n.kernel.FlushNAT()
			s := n.state()
			s.Phase = p
			if err := state.Save(n.env.Path(n.cfg.StateDir), s); err != nil {
				n.t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name   string
		before func(n *testNode)
		silent bool
	}{
		{"never configured", func(*testNode) {}, false},
		{"released", func(n *testNode) {
			n.apply()
			if _, err := Release(n.t.Context(), n.cfg, n.env); err != nil {
				n.t.Fatal(err)
			}
		}, false},
		{"claiming, IMDS silent", phase(PhaseClaiming), true},
		{"of another instance", func(n *testNode) {
			n.apply()
			s := n.state()
			s.InstanceID = "i-0123456789abcdef0"
			if err := state.Save(n.env.Path(n.cfg.StateDir), s); err != nil {
				n.t.Fatal(err)
			}
			n.kernel.FlushNAT()
		}, false},
		{"another run is at work", func(n *testNode) {
			n.apply()
			n.kernel.FlushNAT()
			unlock, err := state.Lock(n.t.Context(), n.env.Path(n.cfg.StateDir))
			if err != nil {
				n.t.Fatal(err)
			}
			n.t.Cleanup(unlock)
		}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{})
				test.before(n)
				n.silent.Store(test.silent)
				files, rules, addresses := n.snapshot(), n.kernel.Rules(), n.kernel.Addresses(testLink)
				rep := n.restore(ExitOK)
				messages.Is(t, test.name, n.told(rep.LeftAlone))
				if len(rep.Changes) > 0 {
					t.Errorf("left alone: %q, changes %q", rep.LeftAlone, rep.Changes)
				}
				if after := n.snapshot(); !slices.Equal(after, files) || n.kernel.Rules() != rules || !slices.Equal(n.kernel.Addresses(testLink), addresses) {
					t.Errorf("something was changed:\n%s\nwas\n%s", after, files)
				}
			})
		})
	}
}

// A restore removes what an interrupted release left in the kernel: no later run would check the
// address.
func TestRestoreAfterAReleaseWasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.apply()
		s := n.state()
		s.Phase = PhaseReleasing
		if err := state.Save(n.env.Path(n.cfg.StateDir), s); err != nil {
			t.Fatal(err)
		}
		for _, changes := range []bool{true, false} {
			rep := n.restore(ExitOK)
			if rep.LeftAlone == "" || len(rep.Changes) > 0 != changes {
				t.Errorf("left alone: %q, changes %q", rep.LeftAlone, rep.Changes)
			}
			if len(n.uses()) > 0 || n.state().Phase != PhaseReleasing {
				t.Errorf("in use: %v, phase %s", n.uses(), n.state().Phase)
			}
		}
	})
}

func TestRestoreOfAnOldStateFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.apply()
		s := n.state()
		if want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("10.7.0.0/16")}; !slices.Equal(s.VPC, want) {
			t.Errorf("apply writes the VPC %v, want %v", s.VPC, want)
		}
		s.VPC = nil
		if err := state.Save(n.env.Path(n.cfg.StateDir), s); err != nil {
			t.Fatal(err)
		}
		n.kernel.FlushNAT()
		n.silent.Store(true)
		n.restore(ExitUnreachable)
		if n.kernel.Rules() != "" {
			t.Error("rules without the VPC's CIDRs")
		}
		n.silent.Store(false)
		if rep := n.restore(ExitOK); len(rep.Changes) != 1 || len(n.state().VPC) != 2 {
			t.Errorf("changes %q, VPC %v", rep.Changes, n.state().VPC)
		}
	})
}

// The interface comes late, as at boot.
func TestRestoreWaitsForTheInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		static := n.apply().Static
		n.kernel.Reboot()
		go func() {
			time.Sleep(7 * time.Second)
			n.kernel.AddAddress(testLink, netip.PrefixFrom(n.PrimaryIP, 24))
		}()
		n.restore(ExitOK)
		if got := n.uses(); !slices.Equal(got, []netip.Addr{static}) {
			t.Errorf("in use: %v", got)
		}
		n.kernel.Reboot()
		began := time.Now()
		n.restore(ExitKernel)
		if d := time.Since(began); d > linkWait+5*time.Second {
			t.Errorf("waited %v", d)
		}
	})
}
