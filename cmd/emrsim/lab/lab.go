// Package lab builds an EMR cluster's network on one Linux machine: nodes, the VPC between them,
// and a data centre behind a firewall. It uses network and mount namespaces without names. A cloud
// model plays AWS; packets, rules, files and processes are real. The lab changes nothing in the
// machine's own network and files, and leaves nothing behind, however the process ends.
package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A Spec describes what to build.
type Spec struct {
	Fabric   Fabric
	Plan     Plan
	Release  string // EMR release label: emr-7.5.0
	Nodes    []NodeSpec
	Admitted []netip.Addr // addresses that the firewall admits: the static IPs
	Iptables Iptables     // empty: as in the release

	IMDSDelay       time.Duration // delay of the metadata service, from the start of the node's first program
	EndpointBlocked bool          // the security group of the VPC endpoint does not admit the nodes

	Progress func(Event) // called for each event, one at a time; may be nil
	Observer Observer    // told what happens to the nodes; may be nil
}

// An Event is a line of progress.
type Event struct {
	Time time.Time
	Node string // empty for the lab itself
	Text string // one line, without control characters
}

// A Lab is a built cluster. Its methods may be used concurrently.
type Lab struct {
	spec     Spec
	router   *router
	server   *fileServer
	firewall *firewall
	endpoint *http.Server
	witness  *whoami
	stop     context.CancelFunc
	follow   sync.WaitGroup // the goroutine that follows EC2

	progress sync.Mutex // held while Progress is called

	mu       sync.Mutex
	nodes    []*Node
	callers  map[netip.Addr]bool // source addresses seen by the API endpoint
	requests int                 // number of downloads so far
	failure  error               // failure of the lab itself in the background
}

// followEvery is the interval at which the router reads EC2's addresses. It also does so at each
// answer of the API, but instances end without one.
const followEvery = 20 * time.Millisecond

// Build builds the cluster. Cancelling the context stops the background work; Close frees
// everything.
func Build(ctx context.Context, spec Spec) (*Lab, error) {
	if spec.Iptables == "" {
		spec.Iptables = IptablesLegacy
		if modern(spec.Release) {
			spec.Iptables = IptablesNFT
		}
	}
	ctx, stop := context.WithCancel(ctx)
	l := &Lab{spec: spec, stop: stop, callers: map[netip.Addr]bool{}}
	if err := l.build(ctx); err != nil {
		l.Close()
		return nil, err
	}
	l.follow.Go(func() { l.followEC2(ctx) })
	return l, nil
}

func (l *Lab) build(ctx context.Context) (err error) {
	plan := l.spec.Plan
	if l.router, err = newRouter(ctx, plan, l.event); err != nil {
		return err
	}
	if l.server, err = newFileServer(ctx); err != nil {
		return err
	}
	if l.firewall, err = newFirewall(ctx, plan, l.router, l.server.namespace, l.spec.Admitted); err != nil {
		return err
	}
	if err = l.server.serve(ctx, plan.Server); err != nil {
		return err
	}
	if l.witness, err = newWhoami(ctx, l.router.namespace, "witness", netip.AddrPortFrom(plan.Witness, nodePort)); err != nil {
		return err
	}
	if !l.spec.EndpointBlocked {
		if err = l.openEndpoint(ctx); err != nil {
			return err
		}
	}
	for _, spec := range l.spec.Nodes {
		if _, err = l.AddNode(ctx, spec); err != nil {
			return err
		}
	}
	return nil
}

// openEndpoint serves the AWS API inside the VPC. Without it nobody has the endpoint's address, and
// packets to it are dropped, as with a security group that does not admit them.
func (l *Lab) openEndpoint(ctx context.Context) error {
	endpoint := l.spec.Plan.Endpoint
	if err := l.router.ip(ctx, "addr add "+endpoint.String()+"/32 dev lo"); err != nil {
		return err
	}
	listener, err := l.router.listen(ctx, netip.AddrPortFrom(endpoint, httpPort).String(), "")
	if err != nil {
		return err
	}
	api := l.spec.Fabric.API()
	l.endpoint = serveHTTP(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if source, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
			l.mu.Lock()
			l.callers[source.Addr()] = true
			l.mu.Unlock()
		}
		api.ServeHTTP(&synced{ResponseWriter: w, sync: func() {
			if err := l.sync(ctx); err != nil && ctx.Err() == nil {
				l.fail(err)
			}
		}}, r)
	}))
	return nil
}

// synced is a response that updates the router before its first byte. When a caller reads that it
// has an address, it can use the address.
type synced struct {
	http.ResponseWriter
	sync  func()
	begun bool
}

func (s *synced) begin() {
	if !s.begun {
		s.begun = true
		s.sync()
	}
}

func (s *synced) WriteHeader(status int) {
	s.begin()
	s.ResponseWriter.WriteHeader(status)
}

func (s *synced) Write(p []byte) (int, error) {
	s.begin()
	return s.ResponseWriter.Write(p)
}

// Unwrap lets the model cut the connection.
func (s *synced) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// AddNode builds one more node, at the launch or later.
func (l *Lab) AddNode(ctx context.Context, spec NodeSpec) (*Node, error) {
	n, err := l.newNode(ctx, spec)
	if err != nil {
		return nil, err
	}
	if err := l.firewall.watch(ctx, spec.Primary.Address); err != nil {
		n.close()
		return nil, err
	}
	l.mu.Lock()
	l.nodes = append(l.nodes, n)
	l.mu.Unlock()
	l.observe(func(o Observer) { o.Joined(l, n) })
	return n, nil
}

// RemoveNode removes a node and everything that runs on it, as the end of an instance does.
func (l *Lab) RemoveNode(n *Node) {
	l.mu.Lock()
	l.nodes = slices.DeleteFunc(l.nodes, func(other *Node) bool { return other == n })
	l.mu.Unlock()
	l.observe(func(o Observer) { o.Left(n) })
	n.close()
}

// Nodes returns the nodes in the order in which they were built.
func (l *Lab) Nodes() []*Node {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.nodes)
}

// Plan returns the addresses of the lab.
func (l *Lab) Plan() Plan { return l.spec.Plan }

// Iptables returns the variant of iptables on the nodes.
func (l *Lab) Iptables() Iptables { return l.spec.Iptables }

// Secondary returns the secondary addresses that EC2 has assigned to the node's primary interface.
func (l *Lab) Secondary(n *Node) []netip.Addr {
	for _, i := range l.spec.Fabric.Interfaces() {
		if i.ID == n.Primary.ENI {
			return slices.DeleteFunc(slices.Clone(i.Addresses), func(a netip.Addr) bool { return a == n.Primary.Address })
		}
	}
	return nil
}

// APISources returns the source addresses of all calls to the AWS API endpoint.
func (l *Lab) APISources() []netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return ordered(l.callers)
}

// Err returns the failure of the lab itself, as opposed to failures on nodes.
func (l *Lab) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

// Close ends every process on the nodes and frees all namespaces.
func (l *Lab) Close() {
	l.stop()
	l.follow.Wait()
	for _, n := range l.Nodes() {
		l.RemoveNode(n)
	}
	if l.endpoint != nil {
		l.endpoint.Close()
	}
	if l.witness != nil {
		l.witness.stop()
	}
	if l.firewall != nil {
		l.firewall.close()
	}
	if l.server != nil {
		l.server.stop()
	}
	if l.router != nil {
		l.router.close()
	}
}

// followEC2 keeps the router's routes equal to EC2's addresses.
func (l *Lab) followEC2(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := l.sync(ctx); err != nil && ctx.Err() == nil {
				l.fail(err)
				return
			}
		}
	}
}

func (l *Lab) sync(ctx context.Context) error { return l.router.sync(ctx, l.spec.Fabric) }

// fail records and shows a failure of the lab itself.
func (l *Lab) fail(err error) {
	l.mu.Lock()
	l.failure = errors.Join(l.failure, err)
	l.mu.Unlock()
	l.event("", fmt.Sprintf("lab: %v", err))
}

// event reports a line of progress.
func (l *Lab) event(node, text string) {
	if l.spec.Progress == nil {
		return
	}
	l.progress.Lock()
	defer l.progress.Unlock()
	l.spec.Progress(Event{Time: time.Now(), Node: node, Text: printable(text)})
}
