package cloud

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// trace runs a few nodes that compete for addresses and returns the recorded calls.
func trace(seed uint64, o Options) (out []string) {
	o.Seed, o.UniqueTimes, o.Quotas = seed, true, WithSSMBurst(DefaultQuotas(), 5)
	w := New(o)
	s := w.CreateSubnet(w.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), netip.MustParsePrefix("10.0.1.0/24"))
	w.ReserveCIDR(s, netip.MustParsePrefix("10.0.1.16/28"), "explicit")
	cl, err := w.LaunchCluster(ClusterSpec{Subnet: s, Cores: 7})
	if err != nil {
		panic(err)
	}
	w.Fault(RandomFaults(FaultRates{Fail: 0.05, Reset: 0.05, Lose: 0.05, Slow: 0.2, MaxSlow: time.Second}, nil))
	var wg sync.WaitGroup
	for _, n := range cl.Nodes {
		wg.Go(func() {
			c := (&world{Cloud: w}).on(n.InstanceID)
			ctx := context.Background()
			for a := 16; a < 24; {
				address := fmt.Sprintf("10.0.1.%d", a)
				_, err := c.ssm.PutParameter(ctx, putInput("/x/"+address, n.InstanceID))
				if code(err) == "ParameterAlreadyExists" {
					a++
					continue
				}
				if err == nil {
					_, err = c.ec2.AssignPrivateIpAddresses(ctx, assignInput(n.ENI, false, address))
					if err == nil {
						return
					}
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	for _, call := range w.Calls() {
		out = append(out, call.String())
	}
	return out
}

// TestDeterminism checks that a seed always gives the same trace, and another seed another trace.
func TestDeterminism(t *testing.T) {
	run := func(seed uint64, latency bool) (out []string) {
		o := Options{StaleSSM: Staleness{0.3, time.Second}, StaleEC2: Staleness{0.3, time.Second}, RemapDelay: Range{0, time.Second}}
		if latency {
			o.Latency = func(r *rand.Rand, _ Call) time.Duration { return time.Duration(r.IntN(100)) * time.Millisecond }
		}
		synctest.Test(t, func(t *testing.T) { out = trace(seed, o) })
		return out
	}
	for seed := range uint64(10) {
		a, b := run(seed, seed%2 == 0), run(seed, seed%2 == 0)
		if !slices.Equal(a, b) {
			for i := range min(len(a), len(b)) {
				if a[i] != b[i] {
					t.Fatalf("seed %d, call %d:\n%s\n%s", seed, i, a[i], b[i])
				}
			}
			t.Fatalf("seed %d: %d and %d calls", seed, len(a), len(b))
		}
		if slices.Equal(a, run(seed+1000, seed%2 == 0)) {
			t.Errorf("seeds %d and %d give the same trace", seed, seed+1000)
		}
	}
}
