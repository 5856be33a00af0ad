package agenttest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

// Network is what a node can look up and connect to, without AWS and IMDS.
type Network struct {
	Names map[string][]netip.Addr
	// Answer is asked at each connection. ErrNoAnswer means that nothing ever comes.
	Answer  func(from netip.Addr, to netip.AddrPort) error
	Primary netip.Addr // of the node

	mu     sync.Mutex
	dialed []string
}

// ErrNoAnswer is a value for Network.Answer.
var ErrNoAnswer = errors.New("no answer")

// NewNetwork returns a network in which the endpoints' names lead to private addresses that can be
// connected to.
func NewNetwork(primary netip.Addr) *Network {
	w := &Network{Primary: primary, Names: map[string][]netip.Addr{}, Answer: func(netip.Addr, netip.AddrPort) error { return nil }}
	for _, service := range []string{"ssm", "ec2", "s3"} {
		w.Names[service+".us-east-1.amazonaws.com"] = netiptest.Addrs("10.0.9.10 10.0.9.11")
	}
	return w
}

// Install makes the network the node's.
func (w *Network) Install(e *host.Environment) { e.Resolve, e.Dial = w.resolve, w.dial }

// Dialed returns the connections in order, as "from>to". from is "-" for a socket that is bound to
// nothing.
func (w *Network) Dialed() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.dialed)
}

// Forget makes Dialed begin anew.
func (w *Network) Forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dialed = nil
}

func (w *Network) resolve(_ context.Context, name string) ([]netip.Addr, error) {
	if a, ok := w.Names[name]; ok {
		return a, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, Server: "10.0.0.2:53", IsNotFound: true}
}

func (w *Network) dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	source, local := "-", w.Primary
	if from.IsValid() {
		source, local = from.String(), from
	}
	w.mu.Lock()
	w.dialed = append(w.dialed, source+">"+to.String())
	w.mu.Unlock()
	switch err := w.Answer(from, to); {
	case errors.Is(err, ErrNoAnswer):
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	case err != nil:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	c, other := net.Pipe()
	return &addressed{c, netip.AddrPortFrom(local, 40000), to}, other.Close()
}

// addressed is a connection with addresses.
type addressed struct {
	net.Conn
	local, remote netip.AddrPort
}

func (a *addressed) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(a.local) }
func (a *addressed) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(a.remote) }
