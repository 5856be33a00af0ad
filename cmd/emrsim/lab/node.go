package lab

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A Node is an instance of the cluster: a namespace with the instance's links, its own file system
// and its metadata service.
type Node struct {
	NodeSpec
	Link       string // of the primary interface: eth0, ens5
	SecondLink string // of EMR's own interface; empty if there is none

	lab      *Lab
	ns       *namespace
	devices  []string // the router's ends of the node's cables
	services []*whoami

	mu      sync.Mutex
	imds    []*http.Server
	started bool                // Run was called
	asked   map[netip.Addr]bool // source addresses of requests to IMDS
	program string              // path on this machine of the program installed on the node
}

// modern reports whether a release is based on Amazon Linux 2023 (EMR 7 and later), which has other
// interface names and another iptables.
func modern(release string) bool {
	var major int
	_, err := fmt.Sscanf(strings.TrimPrefix(strings.TrimPrefix(release, "emr-"), "spark-"), "%d", &major)
	return err == nil && major >= 7
}

// newNode makes the namespace of an instance, connects its interfaces to the router, and configures
// them as Amazon Linux does at boot.
func (l *Lab) newNode(ctx context.Context, spec NodeSpec) (*Node, error) {
	fs := fileSystem{
		iptables: l.spec.Iptables,
		release:  l.spec.Release,
		hostname: "ip-" + strings.ReplaceAll(spec.Primary.Address.String(), ".", "-"),
		address:  spec.Primary.Address.String(),
		plain:    spec.Role == "",
		files:    spec.Files,
	}
	ns, err := newNamespace(ctx, spec.Name, fs.mount)
	if err != nil {
		return nil, err
	}
	n := &Node{NodeSpec: spec, lab: l, ns: ns, Link: "eth0", asked: map[netip.Addr]bool{}}
	second := "eth1"
	if modern(l.spec.Release) {
		n.Link, second = "ens5", "ens6"
	}
	if spec.Second != nil {
		n.SecondLink = second
	}
	err = ns.do(fs.verifyPrograms)
	if err == nil {
		err = n.boot(ctx)
	}
	if err != nil {
		n.close()
		return nil, fmt.Errorf("building node %s: %w", spec.Name, err)
	}
	return n, nil
}

// boot brings the links up. A second interface gets its own routing table, as with Amazon's network
// scripts.
func (n *Node) boot(ctx context.Context) error {
	plan := n.lab.spec.Plan
	device, err := n.lab.router.plug(ctx, n.ns, n.Link, n.Primary)
	if err != nil {
		return err
	}
	n.devices = append(n.devices, device)
	batch := append([]string{"link set dev " + n.Link + " up"}, n.lease()...)
	reverse := "1" // rp_filter of Amazon Linux 2 and 2023
	if modern(n.lab.spec.Release) {
		reverse = "2"
	}
	if n.Second != nil {
		if device, err = n.lab.router.plug(ctx, n.ns, n.SecondLink, *n.Second); err != nil {
			return err
		}
		n.devices = append(n.devices, device)
		batch = append(batch,
			"link set dev "+n.SecondLink+" up",
			n.addressLine(n.SecondLink, n.Second.Address)+" metric 10001",
			fmt.Sprintf("route add default via %s dev %s table 10001", plan.Gateway, n.SecondLink),
			fmt.Sprintf("rule add from %s lookup 10001 priority 32765", n.Second.Address),
		)
	}
	for _, link := range []string{n.Link, n.SecondLink} {
		if link == "" {
			continue
		}
		if err := n.ns.setting("ipv4/conf/"+link+"/rp_filter", reverse); err != nil {
			return err
		}
		if !n.ns.hasIPv6() {
			continue
		}
		// Without duplicate address detection the addresses are usable at once.
		if err := n.ns.setting("ipv6/conf/"+link+"/accept_dad", "0"); err != nil {
			return err
		}
	}
	if err := n.ns.ip(ctx, batch...); err != nil {
		return err
	}
	if err := n.lab.sync(ctx); err != nil {
		return err
	}
	if err := n.serve(ctx, n.Name, n.Primary.Address); err != nil {
		return err
	}
	if n.Second != nil {
		if err := n.serve(ctx, n.Name+"/second", n.Second.Address); err != nil {
			return err
		}
	}
	if n.lab.spec.IMDSDelay > 0 {
		return nil
	}
	return n.startIMDS(ctx)
}

// lease returns the commands of ip that a DHCP client runs for the primary interface.
func (n *Node) lease() []string {
	gateway := n.lab.spec.Plan.Gateway
	batch := []string{n.addressLine(n.Link, n.Primary.Address)}
	if modern(n.lab.spec.Release) {
		return append(batch, fmt.Sprintf("route replace default via %s dev %s proto dhcp src %s metric 512", gateway, n.Link, n.Primary.Address))
	}
	return append(batch, fmt.Sprintf("route replace default via %s dev %s", gateway, n.Link), fmt.Sprintf("route replace %s dev %s", metadata, n.Link))
}

func (n *Node) addressLine(link string, a netip.Addr) string {
	return fmt.Sprintf("addr add %s/%d brd + dev %s", a, n.lab.spec.Plan.Subnet.Bits(), link)
}

// serve starts a service on the node that listens on one address only.
func (n *Node) serve(ctx context.Context, name string, at netip.Addr) error {
	w, err := newWhoami(ctx, n.ns, name, netip.AddrPortFrom(at, nodePort))
	if err != nil {
		return err
	}
	n.services = append(n.services, w)
	return nil
}

// startIMDS opens the metadata service at 169.254.169.254 outside the node, as in EC2: the node's
// requests leave by a real link, with the source address that the node's rules give them. Each
// cable leads to the service of its own instance.
func (n *Node) startIMDS(ctx context.Context) error {
	h := n.lab.spec.Fabric.IMDS(n.Instance)
	seen := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if source, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
			n.mu.Lock()
			n.asked[source.Addr()] = true
			n.mu.Unlock()
		}
		h.ServeHTTP(w, r)
	})
	for _, device := range n.devices {
		l, err := n.lab.router.listenOn(ctx, device, netip.AddrPortFrom(metadata, httpPort))
		if err != nil {
			return err
		}
		n.mu.Lock()
		n.imds = append(n.imds, serveHTTP(l, seen))
		n.mu.Unlock()
	}
	return nil
}

// IMDSSources returns the source addresses of all requests to the node's metadata service.
func (n *Node) IMDSSources() []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return ordered(n.asked)
}

// wakeIMDS opens a delayed metadata service. The delay starts with the node's first program.
func (n *Node) wakeIMDS(ctx context.Context) {
	n.mu.Lock()
	first := !n.started
	n.started = true
	n.mu.Unlock()
	if delay := n.lab.spec.IMDSDelay; first && delay > 0 {
		go func() {
			select {
			case <-ctx.Done():
			case <-time.After(delay):
				if err := n.startIMDS(ctx); err != nil {
					n.lab.fail(err)
				}
			}
		}()
	}
}

// ReadFile reads a file of the node.
func (n *Node) ReadFile(path string) (content []byte, err error) {
	err = n.ns.do(func() error {
		content, err = os.ReadFile(path)
		return err
	})
	return content, err
}

// WriteFile writes a file of the node that only root can read, and makes its directories.
func (n *Node) WriteFile(path string, content []byte) error {
	return n.ns.do(func() error {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, content, 0o600)
	})
}

// Output runs a program of the machine inside the node as root and returns its stdout. Tests use it
// to look at a node, and to change it as a neighbour would.
func (n *Node) Output(ctx context.Context, program string, args ...string) (string, error) {
	out, err := n.ns.output(ctx, command{path: program, args: args})
	return string(out), err
}

func (n *Node) close() {
	n.halt()
	n.ns.close()
}

// halt ends everything that runs on the node and takes its cables out of the router.
func (n *Node) halt() {
	for _, s := range n.services {
		s.stop()
	}
	n.mu.Lock()
	servers := n.imds
	n.imds = nil
	n.mu.Unlock()
	for _, s := range servers {
		s.Close()
	}
	for _, device := range n.devices {
		n.lab.router.unplug(device)
	}
	n.services, n.devices = nil, nil
	n.ns.kill()
}

// Addresses returns the IPv4 and IPv6 addresses on a link of the node, with prefix lengths, sorted.
func (n *Node) Addresses(ctx context.Context, link string) ([]string, error) {
	return n.ns.addresses(ctx, link)
}

// Kill ends every program on the node at once, as SIGKILL or a power failure does.
func (n *Node) Kill() { n.ns.kill() }
