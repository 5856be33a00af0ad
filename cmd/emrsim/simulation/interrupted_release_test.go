package simulation

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// inKernel returns the addresses and rules in the node's kernel, one per line.
func (n *Node) inKernel() []string {
	lines := strings.Split(n.Kernel.Rules(), "\n")
	for _, a := range n.Kernel.Uses(n.primaries()...) {
		lines = append(lines, "uses "+a.String())
	}
	return lines
}

// TestRestoreAfterAnInterruptedRelease interrupts a release at every point. The timer runs restore
// until the release is run again. Once the release has removed something from the kernel, restore
// must not put it back, even while IMDS still lists the address or does not answer.
func TestRestoreAfterAnInterruptedRelease(t *testing.T) {
	t.Parallel()
	o := cloud.Options{RemapDelay: cloud.Range{Min: time.Second, Max: 4 * time.Second}, IMDSDelay: cloud.Exactly(30 * time.Second)}
	release := func(t *testing.T, k Kill, silent bool) (out Outcome, began bool, after string) {
		synctest.Test(t, func(t *testing.T) {
			s := newCrashSetup(t, cloud.RoleCore, o)
			defer s.w.Close()
			succeed(t, s.node.Apply(t.Context(), Kill{}))
			time.Sleep(time.Minute)
			before := s.node.inKernel()
			out = s.node.Release(t.Context(), k)
			began = !slices.Equal(s.node.inKernel(), before)
			if silent {
				s.w.Cloud.Fault(func(c cloud.Call) cloud.FaultAction {
					if c.Service == "imds" {
						return cloud.FaultAction{Kind: cloud.FaultReset}
					}
					return cloud.FaultAction{}
				})
			}
			restore := func() {
				had := s.node.inKernel()
				r := s.node.run(t.Context(), Kill{}, agent.Restore)
				if r.Err != nil {
					t.Errorf("%+v: restore: %v", k, r.Err)
				}
				for _, line := range s.node.inKernel() {
					if began && !slices.Contains(had, line) {
						t.Errorf("%+v, IMDS silent %t: restore put back %q: %q", k, silent, line, r.Report.Changes)
					}
				}
			}
			for range 4 { // one more than the checks after which restore withdraws an address
				restore()
				time.Sleep(time.Minute)
			}
			s.w.Cloud.Fault(nil)
			succeed(t, s.node.Release(t.Context(), Kill{}))
			restore()
			time.Sleep(time.Minute)
			after = s.snapshot(t)
			s.w.CheckSafety()
			for _, v := range s.w.violations {
				t.Errorf("%+v, IMDS silent %t: %s", k, silent, v)
			}
		})
		return out, began, after
	}
	whole, _, want := release(t, Kill{}, false)
	if whole.Err != nil {
		t.Fatal(whole.Err)
	}
	begun := 0
	for p := 1; p <= whole.Points && !t.Failed(); p++ {
		for _, k := range []Kill{{Point: p}, {Point: p, Fail: true}} {
			for _, silent := range []bool{false, true} {
				out, began, got := release(t, k, silent)
				if began && out.Killed {
					begun++
				}
				if got != want {
					t.Errorf("%+v, IMDS silent %t: final state\n%s\nundisturbed\n%s", k, silent, got, want)
				}
			}
		}
	}
	t.Logf("%d points, each killed and failed; %d releases were killed half way", whole.Points, begun)
	if begun < 10 && !t.Failed() {
		t.Error("too few releases were killed half way: some effects may not be counted")
	}
}
