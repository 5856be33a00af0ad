package simulation

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

var scale = flag.String("scale", "3,5,10,20,50,100,200", "sizes of the launches that TestScale measures, in nodes")

// scaleResult has the measurements of one launch of n nodes, in virtual time from the first agent's
// start.
type scaleResult struct {
	n          int
	programmed time.Duration // until the last node's kernel has its address and rules
	ended      time.Duration // until the last run has ended
	complete   time.Duration // until every node has its record
	pending    int           // runs that left their record to the timer
	failed     int
	counts     map[string]cloud.Count
	real       time.Duration
}

// scaleLatency returns at least 20 ms for a call to AWS, and about 1 ms for a call to IMDS.
func scaleLatency(r *rand.Rand, c cloud.Call) time.Duration {
	if c.Service == "imds" {
		return time.Duration((0.5 + r.ExpFloat64()/2) * float64(time.Millisecond))
	}
	return 20*time.Millisecond + time.Duration(r.ExpFloat64()*float64(40*time.Millisecond))
}

// launchScale starts n agents within one second, with a pool of exactly n addresses and AWS's
// default quotas. Each node's timer runs restore every minute until the ledger is complete.
func launchScale(t *testing.T, n int) (r scaleResult) {
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		w, err := NewWorld(cloud.Options{
			Seed: uint64(n), UniqueTimes: true, Quotas: cloud.DefaultQuotas(), Latency: scaleLatency,
			RemapDelay: cloud.Range{Max: time.Second}, IMDSDelay: cloud.Range{Max: 20 * time.Second},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		nodes := scaleNodes(t, w, n)
		start := time.Now()
		var complete atomic.Int64
		w.Cloud.Watch(watchLedger(n, &complete))
		var runs, timers sync.WaitGroup
		var mu sync.Mutex
		rng := rand.New(rand.NewPCG(uint64(n), 1))
		for _, node := range nodes {
			offset, phase := time.Duration(rng.Float64()*float64(time.Second)), time.Duration(rng.Float64()*float64(time.Minute))
			runs.Go(func() {
				time.Sleep(offset)
				o := node.Apply(t.Context(), Kill{})
				ended := time.Since(start)
				mu.Lock()
				defer mu.Unlock()
				r.ended = max(r.ended, ended)
				r.programmed = max(r.programmed, time.Unix(0, node.programmed.Load()).Sub(start))
				if strings.Contains(strings.Join(o.Report.Warnings, "\n"), " pending: ") {
					r.pending++
					phase = 0 // the run starts the service
				}
				if o.Err != nil {
					r.failed++
					t.Errorf("%s: %v", node.InstanceID, o.Err)
				}
				timers.Go(func() { everyMinute(t, node, phase, &complete) })
			})
		}
		runs.Wait()
		timers.Wait()
		r.complete = time.Unix(0, complete.Load()).Sub(start)
		r.counts = w.Cloud.Counts()
		time.Sleep(time.Minute)
		w.CheckSafety()
		w.CheckTruth(agent.DefaultPrefix, nil)
		for _, v := range w.violations {
			t.Error(v)
		}
		r.n = n
	})
	r.real = time.Since(began)
	return r
}

// scaleNodes launches one master and n-1 core nodes with systemd.
func scaleNodes(t *testing.T, w *World, n int) (nodes []*Node) {
	vpc := w.Cloud.CreateVPC(netip.MustParsePrefix("10.0.0.0/16"))
	subnet := w.Cloud.CreateSubnet(vpc, netip.MustParsePrefix("10.0.0.0/19"))
	w.Cloud.ReserveCIDR(subnet, netip.MustParsePrefix("10.0.16.0/20"), "explicit")
	cfg := agent.DefaultConfig()
	next := netip.MustParseAddr("10.0.16.0")
	for i := range n {
		if i == 0 {
			cfg.Pools.Master = []netip.Addr{next}
		} else {
			cfg.Pools.Core = append(cfg.Pools.Core, next)
		}
		next = next.Next()
	}
	cl, err := w.Cloud.LaunchCluster(cloud.ClusterSpec{Subnet: subnet, Masters: 1, Cores: n - 1, NameTag: "scale"})
	if err != nil {
		t.Fatal(err)
	}
	for _, cn := range cl.Nodes {
		node := w.newNode(cn, cfg, cloud.FilesFull)
		node.withSystemd()
		nodes = append(nodes, node)
	}
	return nodes
}

// watchLedger returns a hook that stores the time at which the ledger has the records of n
// addresses.
func watchLedger(n int, complete *atomic.Int64) func(cloud.Call) {
	var mu sync.Mutex
	recorded := map[string]bool{}
	return func(c cloud.Call) {
		if c.Action != "PutParameter" || !c.Applied {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if recorded[path.Base(strings.Fields(c.Params)[0])] = true; len(recorded) == n && complete.Load() == 0 {
			complete.Store(c.Time.UnixNano())
		}
	}
}

// restoreUnit is what the unit of the timer runs.
func restoreUnit(ctx context.Context, cfg agent.Config, env agent.Environment) (agent.Report, error) {
	cfg.Timeout = 100 * time.Second
	return agent.Restore(ctx, cfg, env)
}

// everyMinute is a node's timer until the ledger is complete. Each run starts a minute after the
// end of the last one.
func everyMinute(t *testing.T, node *Node, phase time.Duration, complete *atomic.Int64) {
	const atMost = 30 // minutes; the ledger should be complete long before
	for i, d := 0, phase; complete.Load() == 0; i, d = i+1, time.Minute {
		time.Sleep(d)
		if complete.Load() != 0 {
			return
		}
		if o := node.run(t.Context(), Kill{}, restoreUnit); o.Err != nil {
			t.Errorf("restore: %s: %v", node.InstanceID, o.Err)
		}
		if i == atMost {
			t.Errorf("%s: the ledger is not complete after %d minutes", node.InstanceID, atMost)
			return
		}
	}
}

// calls sums up the calls of all actions with a prefix.
func (r scaleResult) calls(prefix string) (calls, throttled int) {
	for action, c := range r.counts {
		if strings.HasPrefix(action, prefix) {
			calls += c.Calls
			throttled += c.Throttled
		}
	}
	return calls, throttled
}

// floors returns the least time in which n nodes can get addresses, and records, with AWS's quotas.
// EC2 admits 100 assignments at once and then 5 a second; Parameter Store admits 3 records a
// second.
func (r scaleResult) floors() (ec2, ledger time.Duration) {
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	return seconds(max(0, float64(r.n-100)/5)), seconds(float64(r.n) / 3)
}

// targets fails the test if a launch took too much time or too many calls.
func (r scaleResult) targets(t *testing.T) {
	t.Helper()
	ec2, ledger := r.floors()
	most := func(what string, took, atMost time.Duration) {
		t.Helper()
		if took > atMost {
			t.Errorf("%d nodes: %s after %s, want at most %s", r.n, what, took.Round(time.Millisecond), atMost)
		}
	}
	switch {
	case r.n <= 10:
		most("all programmed", r.programmed, 1500*time.Millisecond)
		most("all ended", r.ended, 4*time.Second)
	case r.n <= 100:
		most("all programmed", r.programmed, 5*time.Second)
	default:
		most("all programmed", r.programmed, ec2*5/4+3*time.Second)
		if r.n <= 1000 { // beyond, no run may fail under the default --timeout
			most("all ended since then", r.ended-r.programmed, 40*time.Second)
		}
		most("ledger complete", r.complete, ledger*5/4)
	}
	if r.failed > 0 {
		t.Errorf("%d of %d nodes failed", r.failed, r.n)
	}
	puts, throttled := r.calls("ssm:PutParameter")
	if written := puts - throttled; written > r.n+r.n/20 {
		t.Errorf("%d nodes made %d PutParameter calls, throttled ones not included", r.n, written)
	}
	if most := map[bool]int{true: 2, false: 6}[r.n <= 200]; puts > most*r.n {
		t.Errorf("%d nodes made %d PutParameter calls, throttled ones included", r.n, puts)
	}
	for _, prefix := range []string{"ec2:Describe", "ssm:Get"} {
		calls, throttled := r.calls(prefix)
		// A node looks at the members, a thousand a page, and at the prefix lists of the gateway
		// endpoints.
		pages := 1 + (r.n+999)/1000
		if answered := calls - throttled; answered > pages*r.n+r.n/10+2 {
			t.Errorf("%d nodes made %d calls of %s*, throttled ones not included", r.n, answered, prefix)
		}
		// Nodes that start together ask together, and those that are throttled come again.
		// EC2 admits 20 describe calls a second: 2000 of them take 100 seconds.
		// So a node comes again the more often, the more nodes there are.
		if most := map[bool]int{true: 5, false: max(20, r.n/40)}[r.n <= 200]; calls > most*r.n {
			t.Errorf("%d nodes made %d calls of %s*, throttled ones included", r.n, calls, prefix)
		}
	}
}

// TestScale checks that a launch takes little more time than AWS's quotas require, and that the
// number of calls grows with the number of nodes. Traffic flows before the record is written.
func TestScale(t *testing.T) {
	fmt.Println("times are virtual but for the last; calls are answered+throttled, calls/node without throttled ones")
	table := tabwriter.NewWriter(os.Stdout, 2, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "nodes\tprogrammed\tEC2 floor\tended\tpending\tledger\tledger floor\tcalls/node\tputs\treads\tdescribes\tassigns\ttags\treal\t")
	for _, text := range strings.Split(*scale, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 2 {
			t.Fatalf("-scale: %q is not a number of nodes", text)
		}
		r := launchScale(t, n)
		ec2, ledger := r.floors()
		ssm, throttledSSM := r.calls("ssm:")
		compute, throttledEC2 := r.calls("ec2:")
		throttled := throttledSSM + throttledEC2
		split := func(prefix string) string {
			calls, throttled := r.calls(prefix)
			return fmt.Sprintf("%d+%d", calls-throttled, throttled)
		}
		fmt.Fprintf(table, "%d\t%.1fs\t%.1fs\t%.1fs\t%d\t%.1fs\t%.1fs\t%.1f\t%s\t%s\t%s\t%s\t%s\t%.1fs\t\n", n, r.programmed.Seconds(), ec2.Seconds(), r.ended.Seconds(), r.pending,
			r.complete.Seconds(), ledger.Seconds(), float64(ssm+compute-throttled)/float64(n), split("ssm:Put"), split("ssm:Get"), split("ec2:Describe"), split("ec2:Assign"),
			split("ec2:CreateTags"), r.real.Seconds())
		r.targets(t)
		if slices.Contains(os.Args, "-test.v=true") {
			for action, c := range r.counts {
				t.Logf("%d nodes: %s %+v", n, action, c)
			}
		}
	}
	table.Flush()
}
