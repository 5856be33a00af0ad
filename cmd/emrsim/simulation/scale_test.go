package simulation

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

var scale = flag.String("scale", "5,20,50,100,200", "sizes of the launches that TestScale measures, in nodes")

// scaleResult is what one launch of n nodes took.
type scaleResult struct {
	n         int
	took      time.Duration // from the start of the first agent to the end of the last, virtual
	floor     time.Duration
	bound     string // the action that sets the floor
	counts    map[string]cloud.Count
	failed    int
	throttled int
	real      time.Duration
}

// launchScale starts n agents within one second, with a pool of exactly n and AWS's default quotas.
func launchScale(t *testing.T, n int) (r scaleResult) {
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		quotas := cloud.DefaultQuotas()
		w, err := NewWorld(cloud.Options{
			Seed: uint64(n), UniqueTimes: true, Quotas: quotas,
			RemapDelay: cloud.Range{Max: time.Second}, IMDSDelay: cloud.Range{Max: 20 * time.Second},
			Latency: func(r *rand.Rand, _ cloud.Call) time.Duration {
				return 20*time.Millisecond + time.Duration(r.ExpFloat64()*float64(40*time.Millisecond))
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
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
		start := time.Now()
		var wg sync.WaitGroup
		var mu sync.Mutex
		rng := rand.New(rand.NewPCG(uint64(n), 1))
		for _, cn := range cl.Nodes {
			node := w.newNode(cn, cfg, cloud.FilesFull)
			offset := time.Duration(rng.Float64() * float64(time.Second))
			wg.Go(func() {
				time.Sleep(offset)
				o := node.Apply(t.Context(), Kill{})
				mu.Lock()
				defer mu.Unlock()
				if o.Err != nil {
					r.failed++
					t.Errorf("%s: %v", node.InstanceID, o.Err)
				}
			})
		}
		wg.Wait()
		r.took = time.Since(start)
		r.counts = w.Cloud.Counts()
		time.Sleep(time.Minute)
		w.CheckSafety()
		w.CheckTruth(agent.DefaultPrefix, nil)
		for _, v := range w.violations {
			t.Error(v)
		}
		r.n = n
		r.floor, r.bound = floorOf(n, quotas)
		for _, c := range r.counts {
			r.throttled += c.Throttled
		}
	})
	r.real = time.Since(began)
	return r
}

// floorOf is the time below which no tool can claim, attach and name n addresses: one PutParameter, one AssignPrivateIpAddresses
// and one CreateTags for each node.
func floorOf(n int, quotas map[string]cloud.Quota) (floor time.Duration, bound string) {
	for _, action := range []string{"ssm:PutParameter", "ec2:AssignPrivateIpAddresses", "ec2:CreateTags"} {
		q := quotas[action]
		if d := time.Duration(max(0, float64(n)-q.Burst) / q.Rate * float64(time.Second)); d > floor {
			floor, bound = d, action
		}
	}
	return floor, bound
}

// A launch takes little more time than AWS's quotas make it take, and its calls grow with the number of nodes.
func TestScale(t *testing.T) {
	table := tabwriter.NewWriter(os.Stdout, 2, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "nodes\ttime\tfloor\tratio\tPutParameter\tSSM reads\tAssign\tDescribe*\tCreateTags\tcalls/node\tthrottled\treal\t")
	for _, text := range strings.Split(*scale, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 2 {
			t.Fatalf("-scale: %q is no number of nodes", text)
		}
		r := launchScale(t, n)
		sum := func(prefix string) (calls int) {
			for action, c := range r.counts {
				if strings.HasPrefix(action, prefix) {
					calls += c.Calls
				}
			}
			return calls
		}
		puts, reads := sum("ssm:PutParameter"), sum("ssm:Get")
		all := sum("ssm:") + sum("ec2:")
		fmt.Fprintf(table, "%d\t%.1fs\t%.1fs\t%.2f\t%d\t%d\t%d\t%d\t%d\t%.1f\t%d\t%.1fs\t\n", n, r.took.Seconds(), r.floor.Seconds(), r.took.Seconds()/r.floor.Seconds(),
			puts, reads, sum("ec2:Assign"), sum("ec2:Describe"), sum("ec2:CreateTags"), float64(all)/float64(n), r.throttled, r.real.Seconds())
		if n >= 100 && r.took > r.floor*5/4 {
			t.Errorf("%d nodes took %s, more than 1.25 times the floor %s that %s sets", n, r.took, r.floor, r.bound)
		}
		if written := puts - r.counts["ssm:PutParameter"].Throttled; float64(written) > 1.1*float64(n) {
			t.Errorf("%d nodes made %d PutParameter calls beside the throttled ones", n, written)
		}
		if most := map[bool]float64{true: 1.1, false: 1.25}[n <= 500]; float64(puts) > most*float64(n) {
			t.Errorf("%d nodes made %d PutParameter calls, throttled ones included", n, puts)
		}
		if reads > 4*n {
			t.Errorf("%d nodes read the ledger %d times", n, reads)
		}
		if r.failed > 0 {
			t.Errorf("%d of %d nodes failed", r.failed, n)
		}
		if slices.Contains(os.Args, "-test.v=true") {
			for action, c := range r.counts {
				t.Logf("%d nodes: %s %+v", n, action, c)
			}
		}
	}
	table.Flush()
}
