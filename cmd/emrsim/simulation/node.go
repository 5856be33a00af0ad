package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/netcfg/netcfgtest"
)

// Node is an instance on which the agent can be run, killed, and run again. Its files and its
// kernel outlive the agent's process. They end with the instance.
type Node struct {
	*cloud.Node
	Kernel *netcfgtest.Kernel
	Config agent.Config // of every run on this node

	world *World
	root  string // root of its files
	place int    // position among the world's nodes, from 0
	runs  atomic.Int64
	lacks atomic.Bool // an optional call was not answered in time
	gone  atomic.Bool // terminated: its kernel uses no address any more

	programmed atomic.Int64 // time of the last change of its kernel

	mu     sync.Mutex // protects Config while the agent may run
	ending bool       // its instance is being terminated
	life   atomic.Pointer[life]
}

// life is the context of a node from its boot to its reboot or its end.
type life struct {
	context.Context
	end context.CancelCauseFunc
}

// begin boots the node.
func (n *Node) begin(ctx context.Context) {
	ctx, end := context.WithCancelCause(ctx)
	n.life.Store(&life{ctx, end})
}

// settings returns the configuration of the next run.
func (n *Node) settings() agent.Config {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.Config
}

// list sets another list of addresses for the node.
func (n *Node) list(p agent.Pools) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.Config.Pools = p
}

// stop kills every process on the node.
func (n *Node) stop() { n.life.Load().end(errKilled) }

// alive reports whether the node is up.
func (n *Node) alive() bool { return n.life.Load().Err() == nil }

// Kill says where a process ends: at the Point-th point at which it can, counted from 1. Every call
// to AWS or IMDS, every change of the kernel and every write of the state file has two points:
// before and after its effect.
type Kill struct {
	Point int
	// Fail makes only the effect fail, like a reset connection. The process continues.
	Fail bool
}

// errKilled is the error that a killed process gets. A killed process has no more effects.
var errKilled = errors.New("killed by the simulation")

// errFailed is a fault that the process survives.
var errFailed = errors.New("failed by the simulation: connection reset by peer")

// Outcome is how one run of the agent ended.
type Outcome struct {
	Report agent.Report
	Err    error
	Killed bool
	Points int // number of points that the run has passed
}

// process is one run of the agent.
type process struct {
	node   *Node
	kill   Kill
	cancel context.CancelCauseFunc

	mu     sync.Mutex
	points int
	dead   bool
}

// step passes the points before and after one effect.
func (p *process) step(mutates bool, effect func() error) error {
	// What the process has begun beside this is under way by then: a kill meets it always alike.
	time.Sleep(time.Nanosecond)
	if err := p.point(); err != nil {
		return err
	}
	err := effect()
	// A failed call may have taken effect.
	if mutates && p.node.world.Step != nil {
		p.node.world.Step()
	}
	if err != nil {
		return err
	}
	return p.point()
}

func (p *process) point() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errKilled
	}
	p.points++
	if p.points != p.kill.Point {
		return nil
	}
	if p.kill.Fail {
		return errFailed
	}
	p.dead = true
	p.cancel(errKilled)
	return errKilled
}

// RoundTrip makes a call to AWS or IMDS.
func (p *process) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	r, err := readRequest(req)
	if err != nil {
		return nil, err
	}
	time.Sleep(r.stagger())
	err = p.step(r.mutates(), func() (err error) {
		resp, err = p.node.world.Transport(p.node.InstanceID).RoundTrip(r.Request)
		return err
	})
	if err != nil && resp != nil {
		resp.Body.Close()
		resp = nil
	}
	return resp, err
}

// processKernel is the node's kernel as one process uses it.
type processKernel struct {
	*netcfgtest.Kernel
	process *process
}

func (k processKernel) Apply(ctx context.Context, c netcfg.Change) error {
	k.process.node.checkConfirmed(c)
	return k.process.step(true, func() error {
		err := k.Kernel.Apply(ctx, c)
		if err == nil {
			k.process.node.programmed.Store(time.Now().UnixNano())
		}
		return err
	})
}

// checkConfirmed checks that a node programs an address only after EC2 has assigned it to the
// node's interface. The node learns this from the answer to its assignment or from a describe call.
func (n *Node) checkConfirmed(c netcfg.Change) {
	var a netip.Addr
	switch c := c.(type) {
	case netcfg.AddAddress:
		a = c.Prefix.Addr()
	case netcfg.SetRules:
		a, _ = c.Want.Static()
	}
	if !a.IsValid() || n.holds(a) || n.world.moved(a) || n.world.tookLate(n, a) {
		return
	}
	n.world.violate("safety: %s programs %s, which EC2 has on %v", n.InstanceID, a, n.world.Cloud.Holders(n.SubnetID, a))
}

// Apply runs the agent as a bootstrap action does.
func (n *Node) Apply(ctx context.Context, kill Kill) Outcome { return n.run(ctx, kill, agent.Apply) }

// Release runs the agent as a shutdown action does.
func (n *Node) Release(ctx context.Context, kill Kill) Outcome {
	return n.run(ctx, kill, agent.Release)
}

// Plan returns what Apply would do.
func (n *Node) Plan(ctx context.Context) (agent.Report, error) {
	o := n.run(ctx, Kill{}, agent.Plan)
	return o.Report, o.Err
}

func (n *Node) run(ctx context.Context, kill Kill, work func(context.Context, agent.Config, agent.Environment) (agent.Report, error)) Outcome {
	number := n.runs.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &process{node: n, kill: kill, cancel: cancel}
	jitter := stream(n.world.Seed, hash(n.InstanceID)+uint64(number))
	env := agent.Environment{
		Root:       n.root,
		HTTP:       p,
		Rand:       jitter,
		Executable: func() (string, error) { return n.world.program, nil },
		Systemctl:  n.systemctl,
		LookupEnv:  func(string) (string, bool) { return "", false },
		OpenKernel: func(context.Context, netcfg.Options) (netcfg.Kernel, error) { return processKernel{n.Kernel, p}, nil },
		SaveState: func(dir string, content []byte) error {
			return p.step(false, func() error { return state.Write(dir, content) })
		},
		Log: n.world.log(n, number),
	}
	rep, err := work(ctx, n.settings(), env)
	for _, w := range rep.Warnings {
		if strings.Contains(w, "has not answered") {
			n.lacks.Store(true)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return Outcome{Report: rep, Err: err, Killed: p.dead, Points: p.points}
}

// Suppress does what the program does after a failed run with --on-error continue.
func (n *Node) Suppress(ctx context.Context, f agent.Failed) {
	work := func(ctx context.Context, cfg agent.Config, env agent.Environment) (agent.Report, error) {
		agent.Suppress(ctx, cfg, env, f)
		return agent.Report{}, nil
	}
	n.run(ctx, Kill{}, work)
}

// ErrorTag returns the instance's tag that reports a suppressed failure.
func (n *Node) ErrorTag() string {
	for _, i := range n.world.Cloud.Instances() {
		if i.InstanceID == n.InstanceID {
			return i.Tags["emr-static-ip:error"]
		}
	}
	return ""
}

// Static returns the address that the node's kernel uses, or the zero address if it uses none.
func (n *Node) Static() netip.Addr {
	if n.gone.Load() {
		return netip.Addr{}
	}
	used := n.Kernel.Uses(n.primaries()...)
	if len(used) == 0 {
		return netip.Addr{}
	}
	return used[0]
}

func (n *Node) primaries() []netip.Addr {
	list := []netip.Addr{n.PrimaryIP}
	if n.SecondENI != nil {
		list = append(list, n.SecondENI.PrimaryIP)
	}
	return list
}

// newNode makes a node with its files and its kernel.
func (w *World) newNode(cn *cloud.Node, cfg agent.Config, style cloud.FileStyle) *Node {
	n := &Node{Node: cn, Config: cfg, world: w, root: filepath.Join(w.dir, cn.InstanceID)}
	links := []netcfg.Link{netcfgtest.Link("ens5", 2, cn.MAC, netip.PrefixFrom(cn.PrimaryIP, cn.Subnet.Bits()))}
	if cn.SecondENI != nil {
		links = append(links, netcfgtest.Link("ens6", 3, cn.SecondENI.MAC, netip.PrefixFrom(cn.SecondENI.PrimaryIP, cn.Subnet.Bits())))
	}
	n.Kernel = netcfgtest.New(links...)
	for path, content := range cn.EMRFiles(style) {
		if !strings.HasPrefix(path, "mnt/") {
			continue // has the same files again
		}
		full := filepath.Join(n.root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			panic(fmt.Sprintf("making a simulated node's files: %v", err))
		}
		if err := os.WriteFile(full, content, 0o644); err != nil {
			panic(fmt.Sprintf("making a simulated node's files: %v", err))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n.place = len(w.nodes)
	w.nodes = append(w.nodes, n)
	return n
}

// streamFor returns a random stream for the node's next life.
func (l *Launch) streamFor(n *Node) *rand.Rand {
	return rand.New(rand.NewPCG(l.w.Seed, hash(n.InstanceID)+uint64(n.runs.Load())+1))
}

// living returns the nodes whose instances are not terminated.
func (w *World) living() []*Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.nodes), func(n *Node) bool { return n.gone.Load() })
}

// stream returns a source of random numbers in [0,1) that is safe for concurrent use.
func stream(seed, number uint64) func() float64 {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, number))
	return func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return r.Float64()
	}
}

func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}
