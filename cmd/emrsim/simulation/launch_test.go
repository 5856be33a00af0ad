package simulation

import (
	"crypto/rand"
	"encoding/binary"
	"flag"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

var (
	seeds = flag.Int("seeds", 200, "how many fresh launches TestLaunches simulates, beside the fixed ones")
	seed  = flag.Uint64("seed", 0, "replay the launch of this seed, with the agents' logs")
)

// fixedSeeds is the number of seeds that are always run, so that test runs are comparable.
const fixedSeeds = 100

// shards is the number of launches at the same time, one for each processor of a small machine.
const shards = 2

// TestLaunches checks many launches with all kinds of failures for violations.
func TestLaunches(t *testing.T) {
	if *seed != 0 {
		replay(t, *seed, nil)
		return
	}
	var base [8]byte
	if _, err := rand.Read(base[:]); err != nil {
		t.Fatal(err)
	}
	fresh := binary.BigEndian.Uint64(base[:]) >> 1
	began := time.Now()
	var total [shards]Stats
	var failed atomic.Int32
	t.Run("shards", func(t *testing.T) {
		for shard := range shards {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				for i := shard; i < fixedSeeds+*seeds && failed.Load() < 5; i += shards {
					s := uint64(i + 1)
					if i >= fixedSeeds {
						s = fresh + uint64(i)
					}
					violations, stats := launchOnce(t, s, Mutation{}, nil)
					total[shard].Add(stats)
					if len(violations) > 0 {
						failed.Add(1)
						t.Errorf("seed %d:\n  %s\nreplay: go test ./cmd/emrsim/simulation -run TestLaunches -v -args -seed %d", s, strings.Join(violations, "\n  "), s)
					}
				}
			})
		}
	})
	all := total[0]
	for _, s := range total[1:] {
		all.Add(s)
	}
	t.Logf("%d launches in %s: %s", fixedSeeds+*seeds, time.Since(began).Round(time.Millisecond), all)
}

// launchOnce runs one launch in its own bubble.
func launchOnce(t *testing.T, s uint64, m Mutation, configure func(*World)) (violations []string, stats Stats) {
	synctest.Test(t, func(t *testing.T) {
		var err error
		if violations, stats, err = RunLaunch(t.Context(), s, m, configure); err != nil {
			t.Errorf("seed %d: %v", s, err)
		}
	})
	return violations, stats
}

// replay logs everything that happens in one launch.
func replay(t *testing.T, s uint64, configure func(*World)) {
	core, logs := observer.New(zapcore.InfoLevel)
	var w *World
	violations, stats := launchOnce(t, s, Mutation{}, func(world *World) {
		if w, world.Log = world, zap.New(core); configure != nil {
			configure(w)
		}
	})
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	for _, e := range logs.All() {
		lines = append(lines, line{e.Time, fmt.Sprintf("%v %s", e.ContextMap(), e.Message)})
	}
	for _, c := range w.Cloud.Calls() {
		if c.Service != "imds" {
			lines = append(lines, line{c.Time, c.String()})
		}
	}
	for i := 1; i < len(lines); i++ {
		for j := i; j > 0 && lines[j].at.Before(lines[j-1].at); j-- {
			lines[j], lines[j-1] = lines[j-1], lines[j]
		}
	}
	for _, l := range lines {
		t.Logf("%s %s", l.at.Format("15:04:05.000000"), l.text)
	}
	t.Logf("seed %d: %s", s, stats)
	for _, v := range violations {
		t.Error(v)
	}
}

// TestReplayIsExact checks that a seed always gives the same calls at the same times. Otherwise a
// replay would be useless.
func TestReplayIsExact(t *testing.T) {
	t.Parallel()
	trace := func(s uint64) string {
		var w *World
		launchOnce(t, s, Mutation{}, func(world *World) { w, world.Late = world, s%8 == 0 })
		return traceOf(w)
	}
	for s := uint64(1); s <= 40; s++ {
		a, b := trace(s), trace(s)
		if a != b {
			t.Errorf("seed %d gives two different traces; first difference: %s", s, firstDifference(a, b))
		}
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d:\n%s\n%s", i, x[i], y[i])
		}
	}
	return "the end"
}

// TestLaunchesWithLedgerCommands is TestLaunches with operators who remove stale records and repair
// broken ones. At worst a node may have to write its record again.
func TestLaunchesWithLedgerCommands(t *testing.T) {
	t.Parallel()
	total := someLaunches(t, func(w *World) { w.Operators = true }, func(*World) {})
	t.Logf("operators changed %d records, of which %d nodes had to write theirs again", total.Cleaned, total.PutRight)
	if total.Cleaned == 0 && *seed == 0 {
		t.Error("the operators found nothing to do, so the test shows nothing")
	}
}

// TestLaunchesWithLateEffects is TestLaunches with changes that take effect after their callers
// have given up. No two nodes may use the same address, and none may be left without one. At worst
// a node may have to be run again.
func TestLaunchesWithLateEffects(t *testing.T) {
	t.Parallel()
	late, applied := 0, 0
	total := someLaunches(t, func(w *World) { w.Late = true }, func(w *World) {
		for _, c := range w.Cloud.Calls() {
			if c.Fault == cloud.FaultLate {
				late++
				if c.Applied {
					applied++
				}
			}
		}
	})
	t.Logf("%d calls were late, %d of them changed something; %d nodes had something to put right afterwards", late, applied, total.PutRight)
	if applied == 0 && *seed == 0 {
		t.Error("no late call changed anything, so the test shows nothing")
	}
}

// someLaunches is TestLaunches for a special kind of launches, with fewer seeds. after is called
// with the world of each launch.
func someLaunches(t *testing.T, configure, after func(*World)) (total Stats) {
	if *seed != 0 {
		replay(t, *seed, configure)
		return total
	}
	const fixed = 30
	var base [8]byte
	if _, err := rand.Read(base[:]); err != nil {
		t.Fatal(err)
	}
	fresh := binary.BigEndian.Uint64(base[:]) >> 1
	began, failed := time.Now(), 0
	for i := range uint64(fixed + *seeds/6) {
		s := i + 1
		if i >= fixed {
			s = fresh + i
		}
		var w *World
		violations, stats := launchOnce(t, s, Mutation{}, func(world *World) { w = world; configure(w) })
		after(w)
		total.Add(stats)
		if len(violations) == 0 {
			continue
		}
		t.Errorf("seed %d:\n  %s\nreplay: go test ./cmd/emrsim/simulation -run %s -v -args -seed %d", s, strings.Join(violations, "\n  "), t.Name(), s)
		if failed++; failed == 5 {
			return total
		}
	}
	t.Logf("%d launches in %s: %s", fixed+*seeds/6, time.Since(began).Round(time.Millisecond), total)
	return total
}
