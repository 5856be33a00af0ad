package simulation

import (
	"math/rand/v2"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// options returns the options of this scenario's cloud, with its imperfections.
func options(rng *rand.Rand, seed uint64) (o cloud.Options) {
	ms := func(lo, hi int) time.Duration { return time.Duration(lo+rng.IntN(hi-lo+1)) * time.Millisecond }
	latency := ms(5, 300)
	o = cloud.Options{
		Seed:         seed,
		UniqueTimes:  true,
		ShutdownTime: cloud.Exactly(shutdown),
		BootTime:     cloud.Range{Max: ms(0, 30000)},
		Latency: func(r *rand.Rand, _ cloud.Call) time.Duration {
			return latency/4 + time.Duration(r.ExpFloat64()*float64(latency))
		},
	}
	switch rng.IntN(4) {
	case 0:
		o.Quotas = cloud.WithSSMBurst(cloud.DefaultQuotas(), 0)
	default:
		o.Quotas = cloud.DefaultQuotas()
	}
	if rng.IntN(2) == 0 {
		o.StaleSSM = cloud.Staleness{Probability: rng.Float64() * 0.5, MaxAge: ms(100, 3000)}
	}
	if rng.IntN(2) == 0 {
		o.StaleEC2 = cloud.Staleness{Probability: rng.Float64() * 0.9, MaxAge: ms(100, 5000)}
	}
	if rng.IntN(2) == 0 {
		o.RemapDelay = cloud.Range{Max: ms(100, 5000)}
		o.IMDSDelay = cloud.Range{Max: ms(100, 30000)}
	}
	if rng.IntN(3) == 0 {
		o.IMDSBoot = cloud.Range{Max: ms(0, 20000)}
		o.IMDSBootMode = cloud.BootMode(rng.IntN(4))
	}
	if rng.IntN(2) == 0 {
		o.AssignSameENI = cloud.OutcomeError
	}
	if rng.IntN(4) == 0 {
		o.ConcurrentUpdates = cloud.Race{Probability: 0.5, Window: ms(10, 500)}
	}
	if rng.IntN(8) == 0 {
		o.ConcurrentCreates = cloud.Race{Probability: 0.7, Window: ms(10, 500)}
	}
	switch rng.IntN(12) {
	case 0:
		o.Recreate.Refuse = rng.Float64()
	case 1:
		o.Recreate.Lose = rng.Float64() * 0.5
	}
	return o
}

// faults returns a fault hook. There are no more faults after a while, or once the events are over.
func (l *Launch) faults() func(cloud.Call) cloud.FaultAction {
	rates := cloud.FaultRates{
		Fail: l.rng.Float64() * 0.1, Reset: l.rng.Float64() * 0.1, Lose: l.rng.Float64() * 0.1, Hang: l.rng.Float64() * 0.02,
		Slow: l.rng.Float64() * 0.1, MaxSlow: 15 * time.Second,
	}
	rates.Break = rates.Lose / 3
	random := cloud.RandomFaults(rates, func(c cloud.Call) bool { return c.Caller != "" })
	return func(c cloud.Call) cloud.FaultAction {
		if l.calm.Load() {
			return cloud.FaultAction{}
		}
		return random(c)
	}
}
