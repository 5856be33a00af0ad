package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/record"
)

// A Rehearsal is a launch of one cluster in virtual time: whole agents in one process, with kernels
// in memory. There are no packets.
type Rehearsal struct {
	Title, Command string
	Arguments      []string
	Account        cloud.Options
	Cluster        cloud.ClusterSpec // without Subnet
	VPC, Subnet    netip.Prefix
	Config         agent.Config // of each run
	Files          cloud.FileStyle
}

// Run rehearses inside a bubble: see [InBubble]. All nodes start within one second; a timer of each
// runs restore every minute until the last record is written.
func (r Rehearsal) Run(ctx context.Context) (*record.Recording, error) {
	r.Account.UniqueTimes = true
	w, err := NewWorld(r.Account)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	subnet := w.Cloud.CreateSubnet(w.Cloud.CreateVPC(r.VPC), r.Subnet)
	pools := r.Config.Pools
	static := slices.Concat(pools.Master, pools.Core, pools.Task)
	for _, a := range static {
		if r.Subnet.Contains(a) {
			w.Cloud.ReserveCIDR(subnet, netip.PrefixFrom(a, 32), "explicit")
		}
	}
	r.Cluster.Subnet = subnet
	launched, err := w.Cloud.LaunchCluster(r.Cluster)
	if err != nil {
		return nil, err
	}
	rec := record.New(r.Title, r.Command, r.Arguments, time.Now)
	rec.Set(func(c *record.Recording) {
		c.Virtual, c.Tool = true, agent.Version()
		c.Topology = record.Topology{VPCs: []record.VPC{{CIDRs: []netip.Prefix{r.VPC}, Subnets: []record.Subnet{{ID: subnet, CIDR: r.Subnet}}}}, Admitted: static}
	})
	rec.Phase("all nodes at once")
	names, count := map[string]string{}, map[string]int{}
	var nodes []*Node
	for _, cn := range launched.Nodes {
		count[cn.Role]++
		name := fmt.Sprintf("%s-%d", strings.ToLower(cn.Role), count[cn.Role])
		if cn.Role == cloud.RoleMaster && r.Cluster.Masters <= 1 {
			name = "master"
		}
		names[cn.InstanceID] = name
		n := w.newNode(cn, r.Config, r.Files)
		n.withSystemd()
		nodes = append(nodes, n)
		rec.Join(record.Node{Name: name, Role: cn.Role, Instance: cn.InstanceID, Cluster: launched.ID, Subnet: subnet, Interface: "ens5", Primary: cn.PrimaryIP})
	}
	w.Log = zap.New(recordCore{rec: rec, names: names})
	rng := rand.New(rand.NewPCG(r.Account.Seed, 2))
	var all sync.WaitGroup
	for _, n := range nodes {
		offset, phase := time.Duration(rng.Float64()*float64(time.Second)), time.Duration(rng.Float64()*float64(time.Minute))
		all.Go(func() {
			time.Sleep(offset)
			n.rehearse(ctx, rec, names[n.InstanceID], r.Arguments, phase)
		})
	}
	all.Wait()
	r.check(w, nodes, names, rec)
	return rec.Finish(w.Cloud.Calls()), ctx.Err()
}

// rehearse runs the agent on a node, and its timer while a record is pending.
func (n *Node) rehearse(ctx context.Context, rec *record.Recorder, name string, arguments []string, phase time.Duration) {
	rec.Begin(name, arguments)
	o := n.Apply(ctx, Kill{})
	var report strings.Builder
	_ = o.Report.Render(&report, "text") // a Builder does not fail
	rec.End(name, int(agent.CodeOf(o.Err)), report.String(), "")
	if o.Err != nil {
		remedy := ""
		if e := (*agent.Error)(nil); errors.As(o.Err, &e) {
			remedy = e.Remedy
		}
		rec.Problem(name, fmt.Sprintf("emr-static-ip ended with exit code %d: %v", agent.CodeOf(o.Err), o.Err), remedy)
		return
	}
	const atMost = 30 // minutes
	for range atMost {
		if !n.pending() {
			return
		}
		time.Sleep(phase)
		phase = time.Minute
		rec.Begin(name, []string{"restore", "(the timer)"})
		o := n.run(ctx, Kill{}, func(ctx context.Context, cfg agent.Config, env agent.Environment) (agent.Report, error) {
			cfg.Timeout = 100 * time.Second // as the unit has it
			return agent.Restore(ctx, cfg, env)
		})
		rec.End(name, int(agent.CodeOf(o.Err)), "", "")
		if o.Err != nil {
			rec.Problem(name, fmt.Sprintf("restore: %v", o.Err), "")
		}
	}
	rec.Problem(name, fmt.Sprintf("the record is still pending after %d minutes", atMost), "")
}

// check says which nodes lack an address, and what the simulation finds wrong.
func (r Rehearsal) check(w *World, nodes []*Node, names map[string]string, rec *record.Recorder) {
	holders := map[netip.Addr]string{}
	for _, n := range nodes {
		name, static, pool := names[n.InstanceID], n.Static(), r.Config.Pools.For(agent.Role(n.Role))
		rec.Change(name, func(node *record.Node) { node.Static = static })
		failed := false
		rec.Set(func(c *record.Recording) {
			failed = slices.ContainsFunc(c.Problems, func(p record.Problem) bool { return slices.Contains(p.Nodes, name) })
		})
		switch {
		case failed:
		case len(pool) > 0 && !slices.Contains(pool, static):
			rec.Problem(name, "the node has no address of its list", "")
		case static.IsValid() && holders[static] != "":
			rec.Problem(name, fmt.Sprintf("%s uses %s, too", holders[static], static), "")
		}
		holders[static] = name
	}
	w.CheckSafety()
	for _, v := range w.violations {
		rec.Problem("", v, "")
	}
}

// recordCore gives the lines of the agents' logs to a recorder.
type recordCore struct {
	rec   *record.Recorder
	names map[string]string // by instance
	node  string
}

func (c recordCore) Enabled(l zapcore.Level) bool { return l >= zapcore.InfoLevel }
func (c recordCore) Sync() error                  { return nil }

func (c recordCore) With(fields []zapcore.Field) zapcore.Core {
	for _, f := range fields {
		if f.Key == "node" && c.node == "" {
			c.node = c.names[f.String]
		}
	}
	return c
}

func (c recordCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c recordCore) Write(e zapcore.Entry, _ []zapcore.Field) error {
	c.rec.Event(c.node, e.Time.UTC().Format("2006-01-02T15:04:05.000Z")+" "+e.Level.CapitalString()+" "+e.Message)
	return nil
}
