package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

const testPrefix = agent.DefaultPrefix

var testSubnet = netip.MustParsePrefix("10.0.1.0/24")

func addrs(list ...string) []netip.Addr {
	out := make([]netip.Addr, len(list))
	for i, s := range list {
		out[i] = netip.MustParseAddr(s)
	}
	return out
}

// crashSetup is a world with one node, just before the run that is to be disturbed.
type crashSetup struct {
	w      *World
	node   *Node
	run    func(context.Context, Kill) Outcome
	before func(*testing.T) // earlier events on the node
}

// crashCase is a situation in which a run may be interrupted.
type crashCase struct {
	name  string
	build func(t *testing.T) *crashSetup
}

func newCrashSetup(t *testing.T, role string, o cloud.Options) *crashSetup {
	o.Seed = 7
	o.UniqueTimes = true
	w, err := NewWorld(o)
	if err != nil {
		t.Fatal(err)
	}
	vpc := w.Cloud.CreateVPC(netip.MustParsePrefix("10.0.0.0/16"))
	subnet := w.Cloud.CreateSubnet(vpc, testSubnet)
	// EC2 never assigns the pool's addresses to new instances here.
	w.Cloud.ReserveCIDR(subnet, netip.MustParsePrefix("10.0.1.16/28"), "explicit")
	cl, err := w.Cloud.LaunchCluster(cloud.ClusterSpec{Name: "crash", NameTag: "crash", Subnet: subnet, Masters: 1, Cores: 1, Tasks: 1, SecondENIOnMaster: true})
	if err != nil {
		t.Fatal(err)
	}
	cfg := agent.DefaultConfig()
	cfg.Pools = agent.Pools{Master: addrs("10.0.1.20"), Core: addrs("10.0.1.21", "10.0.1.22"), Task: addrs("10.0.1.23")}
	s := &crashSetup{w: w}
	for _, cn := range cl.Nodes {
		if cn.Role == role {
			s.node = w.newNode(cn, cfg, cloud.FilesFull)
		}
	}
	s.run = s.node.Apply
	w.Step = w.CheckSafety
	return s
}

func crashCases() []crashCase {
	var cases []crashCase
	add := func(name string, build func(t *testing.T) *crashSetup) { cases = append(cases, crashCase{name, build}) }
	for _, role := range []string{cloud.RoleMaster, cloud.RoleCore, cloud.RoleTask} {
		add("first run/"+role, func(t *testing.T) *crashSetup { return newCrashSetup(t, role, cloud.Options{}) })
		add("rerun/"+role, func(t *testing.T) *crashSetup {
			s := newCrashSetup(t, role, cloud.Options{})
			s.before = func(t *testing.T) { succeed(t, s.node.Apply(t.Context(), Kill{})) }
			return s
		})
		add("rerun without arguments/"+role, func(t *testing.T) *crashSetup {
			s := newCrashSetup(t, role, cloud.Options{})
			s.before = func(t *testing.T) {
				succeed(t, s.node.Apply(t.Context(), Kill{}))
				s.node.Config.Pools = agent.Pools{}
			}
			return s
		})
		add("release/"+role, func(t *testing.T) *crashSetup {
			s := newCrashSetup(t, role, cloud.Options{})
			s.before = func(t *testing.T) { succeed(t, s.node.Apply(t.Context(), Kill{})) }
			s.run = s.node.Release
			return s
		})
		add("take-over/"+role, func(t *testing.T) *crashSetup {
			s := newCrashSetup(t, role, cloud.Options{})
			s.before = func(t *testing.T) {
				for _, a := range s.node.Config.Pools.For(agent.Role(role)) {
					s.putDeadRecord(t, a)
				}
				time.Sleep(unseenGrace)
			}
			return s
		})
	}
	add("first run, slow and late EC2/CORE", func(t *testing.T) *crashSetup {
		return newCrashSetup(t, cloud.RoleCore, cloud.Options{RemapDelay: cloud.Range{Min: 2 * time.Second, Max: 6 * time.Second}, AssignSameENI: cloud.OutcomeError})
	})
	add("take-over, slow and late EC2/CORE", func(t *testing.T) *crashSetup {
		s := newCrashSetup(t, cloud.RoleCore, cloud.Options{RemapDelay: cloud.Range{Min: 2 * time.Second, Max: 6 * time.Second}, AssignSameENI: cloud.OutcomeError})
		s.before = func(t *testing.T) {
			for _, a := range s.node.Config.Pools.Core {
				s.putDeadRecord(t, a)
			}
			time.Sleep(unseenGrace)
		}
		return s
	})
	add("the list has changed/CORE", func(t *testing.T) *crashSetup {
		s := newCrashSetup(t, cloud.RoleCore, cloud.Options{})
		s.before = func(t *testing.T) {
			succeed(t, s.node.Apply(t.Context(), Kill{}))
			s.node.Config.Pools.Core = addrs("10.0.1.24", "10.0.1.25")
		}
		return s
	})
	// A cloud in which everything takes effect late.
	late := cloud.Options{
		RemapDelay: cloud.Range{Min: time.Second, Max: 4 * time.Second}, IMDSDelay: cloud.Exactly(30 * time.Second), AssignSameENI: cloud.OutcomeError,
		StaleSSM: cloud.Staleness{Probability: 0.3, MaxAge: 2 * time.Second}, StaleEC2: cloud.Staleness{Probability: 0.3, MaxAge: 4 * time.Second},
	}
	add("release, late/CORE", func(t *testing.T) *crashSetup {
		s := newCrashSetup(t, cloud.RoleCore, late)
		s.before = func(t *testing.T) { succeed(t, s.node.Apply(t.Context(), Kill{})) }
		s.run = s.node.Release
		return s
	})
	add("applied again after a release, late/CORE", func(t *testing.T) *crashSetup {
		s := newCrashSetup(t, cloud.RoleCore, late)
		s.before = func(t *testing.T) {
			succeed(t, s.node.Apply(t.Context(), Kill{}))
			succeed(t, s.node.Release(t.Context(), Kill{}))
		}
		return s
	})
	add("the list has changed, late/CORE", func(t *testing.T) *crashSetup {
		s := newCrashSetup(t, cloud.RoleCore, late)
		s.before = func(t *testing.T) {
			succeed(t, s.node.Apply(t.Context(), Kill{}))
			s.node.Config.Pools.Core = addrs("10.0.1.24", "10.0.1.25")
		}
		return s
	})
	add("EC2 took the address away, late/CORE", func(t *testing.T) *crashSetup {
		s := newCrashSetup(t, cloud.RoleCore, late)
		s.before = func(t *testing.T) {
			succeed(t, s.node.Apply(t.Context(), Kill{}))
			time.Sleep(time.Minute)
			s.w.Step = nil
			s.moveToStranger(t, s.node.Static())
			time.Sleep(10 * time.Second) // long enough for describe calls, but not for IMDS
		}
		return s
	})
	for _, end := range []string{"apply", "release"} {
		add("after a failure that was suppressed/"+end, func(t *testing.T) *crashSetup {
			s := newCrashSetup(t, cloud.RoleCore, cloud.Options{})
			s.before = func(t *testing.T) {
				succeed(t, s.node.Apply(t.Context(), Kill{}))
				s.node.Suppress(t.Context(), agent.Failed{Code: agent.ExitPermission, Err: errors.New("denied")})
				if s.node.ErrorTag() == "" {
					t.Fatal("the instance has no error tag")
				}
			}
			if end == "release" {
				s.run = s.node.Release
			}
			return s
		})
	}
	for _, run := range []string{"restore", "rerun", "another list", "release"} {
		add("a record is left to the timer/"+run, func(t *testing.T) *crashSetup {
			s := newCrashSetup(t, cloud.RoleCore, cloud.Options{})
			s.node.withSystemd()
			s.node.Config.PutRate = 0.02 // the node's turn is more than a minute away
			s.before = func(t *testing.T) {
				succeed(t, s.node.Apply(t.Context(), Kill{}))
				if !s.node.pending() || len(s.w.Cloud.Parameters()) > 0 {
					t.Fatalf("no record is pending: %v", s.w.Cloud.Parameters())
				}
				s.node.Config.PutRate = 3
				if run == "another list" {
					s.node.Config.Pools.Core = addrs("10.0.1.24", "10.0.1.25")
				}
			}
			switch run {
			case "restore":
				s.run = func(ctx context.Context, k Kill) Outcome {
					time.Sleep(5 * time.Minute) // long enough for the node's turn
					return s.node.run(ctx, k, agent.Restore)
				}
			case "release":
				s.run = s.node.Release
			}
			return s
		})
	}
	// The kernel's rules are all that names the address.
	for _, run := range []string{"apply", "another list", "release"} {
		for _, moved := range []bool{false, true} {
			name := "the state file was lost/" + run
			if moved {
				name = "the state file was lost, and EC2 took the address away/" + run
			}
			add(name, func(t *testing.T) *crashSetup {
				s := newCrashSetup(t, cloud.RoleCore, cloud.Options{})
				s.before = func(t *testing.T) {
					succeed(t, s.node.Apply(t.Context(), Kill{}))
					if err := os.Remove(filepath.Join(s.node.root, agent.DefaultStateDir, "state.json")); err != nil {
						t.Fatal(err)
					}
					if moved {
						s.w.Step = nil // CheckSafety would report the move itself
						s.moveToStranger(t, s.node.Kernel.Uses(s.node.primaries()...)[0])
						time.Sleep(time.Minute)
					}
					if run == "another list" {
						s.node.Config.Pools.Core = addrs("10.0.1.24", "10.0.1.25")
					}
				}
				if run == "release" {
					s.run = s.node.Release
				}
				return s
			})
		}
	}
	add("the ledger was lost/CORE", func(t *testing.T) *crashSetup {
		s := newCrashSetup(t, cloud.RoleCore, cloud.Options{})
		s.before = func(t *testing.T) {
			succeed(t, s.node.Apply(t.Context(), Kill{}))
			s.deleteRecord(t, s.node.Static())
		}
		return s
	})
	add("EC2 took the address away/CORE", func(t *testing.T) *crashSetup {
		s := newCrashSetup(t, cloud.RoleCore, cloud.Options{})
		s.before = func(t *testing.T) {
			succeed(t, s.node.Apply(t.Context(), Kill{}))
			s.w.Step = nil // CheckSafety would report the move itself
			s.moveToStranger(t, s.node.Static())
		}
		return s
	})
	add("a stranger is faster/CORE", func(t *testing.T) *crashSetup {
		s := newCrashSetup(t, cloud.RoleCore, cloud.Options{})
		s.before = func(t *testing.T) {
			taken := false
			s.w.Cloud.Fault(func(c cloud.Call) cloud.FaultAction {
				if c.Action == "AssignPrivateIpAddresses" && c.Caller == s.node.InstanceID && !taken {
					taken = true
					a := s.node.Config.Pools.Core[0]
					if !strings.Contains(c.Params, a.String()) {
						a = s.node.Config.Pools.Core[1]
					}
					s.moveToStranger(t, a)
				}
				return cloud.FaultAction{}
			})
		}
		return s
	})
	return cases
}

func succeed(t *testing.T, o Outcome) {
	t.Helper()
	if o.Err != nil {
		t.Fatalf("an undisturbed run failed: %v", o.Err)
	}
}

// crashPoint disturbs runs at the given points and then runs the agent once more. It compares the
// resulting state with want, the state after an undisturbed run.
func crashPoint(t *testing.T, c crashCase, kills []Kill, want string) (points int, got string) {
	synctest.Test(t, func(t *testing.T) {
		s := c.build(t)
		defer s.w.Close()
		if s.before != nil {
			s.before(t)
		}
		for _, k := range kills {
			o := s.run(t.Context(), k)
			points = o.Points
			if k.Point == 0 {
				succeed(t, o)
			}
			if o.Err != nil && !o.Killed && !k.Fail {
				t.Errorf("killed at %+v: the run failed by itself: %v", k, o.Err)
			}
			if k.Fail && o.Err != nil && !strings.Contains(o.Err.Error(), errFailed.Error()) {
				t.Errorf("disturbed at %+v: %v", k, o.Err)
			}
		}
		if want != "" {
			o := s.run(t.Context(), Kill{})
			if o.Err != nil {
				t.Errorf("after %+v an undisturbed run failed: %v", kills, o.Err)
			}
		}
		time.Sleep(time.Minute) // long enough for EC2 and IMDS to show everything
		got = s.snapshot(t)
		again := s.run(t.Context(), Kill{})
		if again.Err != nil || len(again.Report.Changes) != 0 {
			t.Errorf("after %+v another run changed %q: %v", kills, again.Report.Changes, again.Err)
		}
		if after := s.snapshot(t); after != got {
			t.Errorf("after %+v another run left\n%s\nbefore it was\n%s", kills, after, got)
		}
		s.w.CheckSafety()
		for _, v := range s.w.violations {
			t.Errorf("after %+v: %s", kills, v)
		}
		if want != "" && got != want {
			t.Errorf("after %+v:\n%s\nundisturbed:\n%s", kills, got, want)
		}
	})
	return points, got
}

// pairs is how many times two runs in a row are disturbed in each case.
const pairs = 12

// TestCrashPoints kills a run at every point, or lets the call there fail, and runs the agent
// again. The result must be the same as without the disturbance. The same must hold if the second
// run is disturbed, too.
func TestCrashPoints(t *testing.T) {
	var points, twice atomic.Int64
	t.Run("cases", func(t *testing.T) {
		for n, c := range crashCases() {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				of, want := crashPoint(t, c, []Kill{{}}, "")
				for p := 1; p <= of && !t.Failed(); p++ {
					for _, fail := range []bool{false, true} {
						crashPoint(t, c, []Kill{{Point: p, Fail: fail}}, want)
						points.Add(1)
					}
				}
				r := rand.New(rand.NewPCG(uint64(n), 2))
				for range pairs {
					if t.Failed() {
						break
					}
					crashPoint(t, c, []Kill{{Point: 1 + r.IntN(of)}, {Point: 1 + r.IntN(of), Fail: r.IntN(4) == 0}}, want)
					twice.Add(1)
				}
				t.Logf("%d points, each killed and failed", of)
			})
		}
	})
	t.Logf("%d crash points covered, and %d pairs", points.Load(), twice.Load())
	if points.Load() < 2000 && !t.Failed() {
		t.Errorf("only %d crash points, want at least 2000: some calls may not be counted", points.Load())
	}
}

// putDeadRecord writes the record of an instance that no longer exists.
func (s *crashSetup) putDeadRecord(t *testing.T, a netip.Addr) {
	t.Helper()
	if err := s.w.PutRecord(t.Context(), Parameter(testPrefix, s.node.SubnetID, a), deadRecord); err != nil {
		t.Fatal(err)
	}
}

func (s *crashSetup) deleteRecord(t *testing.T, a netip.Addr) {
	t.Helper()
	if err := s.w.Delete(t.Context(), Parameter(testPrefix, s.node.SubnetID, a)); err != nil {
		t.Fatal(err)
	}
}

func (s *crashSetup) moveToStranger(t *testing.T, a netip.Addr) {
	t.Helper()
	stranger, err := s.w.Cloud.RunInstance(cloud.InstanceSpec{Subnet: s.node.SubnetID})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.w.Take(t.Context(), stranger, a); err != nil {
		t.Fatal(err)
	}
}

// snapshot returns the state that a run leaves: ledger, EC2, kernel, shutdown action and state
// file, without times.
func (s *crashSetup) snapshot(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, p := range s.w.Cloud.Parameters() {
		r, err := ssmcoord.ParseRecord(p.Value)
		r.Time = time.Time{}
		fmt.Fprintln(&b, p.Name, r, err)
	}
	for _, e := range s.w.Cloud.ENIs() {
		fmt.Fprintln(&b, e.ID, e.Addresses)
	}
	for _, i := range s.w.Cloud.Instances() {
		fmt.Fprintln(&b, i.InstanceID, i.Tags["Name"], i.Tags["emr-static-ip:error"])
	}
	used := s.node.Kernel.Uses()
	slices.SortFunc(used, netip.Addr.Compare)
	fmt.Fprintln(&b, used)
	b.WriteString(s.node.Kernel.Rules())
	scripts, err := filepath.Glob(filepath.Join(s.node.root, "mnt/var/lib/instance-controller/public/shutdown-actions/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		fmt.Fprintf(&b, "%s\n%s%v\n", filepath.Base(script), text, err)
	}
	data, err := os.ReadFile(filepath.Join(s.node.root, agent.DefaultStateDir, "state.json"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.node.root, agent.DefaultStateDir, "failed.json")); err == nil {
		fmt.Fprintln(&b, "a record of the last error")
	}
	for line := range strings.Lines(string(data)) {
		if !strings.Contains(line, `"written"`) && !strings.Contains(line, `"gateways_at"`) {
			b.WriteString(line)
		}
	}
	return b.String()
}
