package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Time limits of a probe.
const (
	connectWithin  = 1500 * time.Millisecond // enough for one retransmitted SYN, which is sent after a second
	transferWithin = 10 * time.Second
)

// ErrRefused means that no connection was made: something on the way dropped or refused it.
var ErrRefused = errors.New("refused")

// Download fetches the data centre's file from a node, to the last byte. It returns the source
// address that the file server saw, or the zero Addr if no request arrived.
func (l *Lab) Download(ctx context.Context, n *Node) (netip.Addr, error) {
	seen, err := l.download(ctx, n.ns)
	l.observe(func(o Observer) { o.Downloaded(n, seen, err) })
	return seen, err
}

func (l *Lab) download(ctx context.Context, n *namespace) (netip.Addr, error) {
	l.mu.Lock()
	l.requests++
	request := fmt.Sprintf("%s-%d", n.name, l.requests)
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, transferWithin)
	defer cancel()
	err := l.fetch(ctx, n, request)
	source, _ := l.server.source(request)
	return source, err
}

func (l *Lab) fetch(ctx context.Context, n *namespace, request string) error {
	url := fmt.Sprintf("http://%s/file?request=%s", l.spec.Plan.Server, request)
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return connect(ctx, n, netip.Addr{}, address)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("downloading on %s: %w", n.name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, FileSize+1))
	switch {
	case err != nil:
		return fmt.Errorf("downloading on %s: after %d bytes: %w", n.name, len(body), err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("downloading on %s: %s", n.name, resp.Status)
	case !bytes.Equal(body, l.server.file):
		return fmt.Errorf("downloading on %s: got %d bytes that are not the file of %d bytes", n.name, len(body), FileSize)
	}
	return nil
}

// An Answer is the answer of a service to its caller.
type Answer struct {
	Name   string     // name of the service: the node's name, or NODE/second for EMR's own interface
	Source netip.Addr // the caller's address as the service saw it
}

// Call connects a node to a neighbour's primary IP inside the VPC.
func (l *Lab) Call(ctx context.Context, from, to *Node) (Answer, error) {
	return ask(ctx, from.ns, netip.Addr{}, to.Primary.Address)
}

// CallOutside connects a node to a host outside the VPC that is not behind the firewall.
func (l *Lab) CallOutside(ctx context.Context, from *Node) (Answer, error) {
	return ask(ctx, from.ns, netip.Addr{}, l.spec.Plan.Witness)
}

// CallOutsideBySecond is CallOutside through the interface that EMR attached to a master.
func (l *Lab) CallOutsideBySecond(ctx context.Context, from *Node) (Answer, error) {
	if from.Second == nil {
		return Answer{}, fmt.Errorf("calling by the second interface of %s: it has none", from.Name)
	}
	return ask(ctx, from.ns, from.Second.Address, l.spec.Plan.Witness)
}

// CallNode connects the data centre's server to an address in the VPC, for example a node's static
// IP.
func (l *Lab) CallNode(ctx context.Context, to netip.Addr) (Answer, error) {
	return ask(ctx, l.server.namespace, netip.Addr{}, to)
}

// CallSecond connects the outside host to a master's second interface.
func (l *Lab) CallSecond(ctx context.Context, to *Node) (Answer, error) {
	if to.Second == nil {
		return Answer{}, fmt.Errorf("calling the second interface of %s: it has none", to.Name)
	}
	return ask(ctx, l.router.namespace, l.spec.Plan.Witness, to.Second.Address)
}

// ask calls the service at an address and reads its answer.
func ask(ctx context.Context, from *namespace, local, to netip.Addr) (Answer, error) {
	c, err := connect(ctx, from, local, netip.AddrPortFrom(to, nodePort).String())
	if err != nil {
		return Answer{}, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(connectWithin))
	text, err := io.ReadAll(io.LimitReader(c, 200))
	if err != nil {
		return Answer{}, fmt.Errorf("reading the answer of %s: %w", to, err)
	}
	name, source, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	seen, err := netip.ParseAddrPort(source)
	if err != nil {
		return Answer{}, fmt.Errorf("reading the answer of %s: %w", to, err)
	}
	return Answer{Name: name, Source: seen.Addr()}, nil
}

// connect opens a TCP connection. It returns ErrRefused if the network refused it or did not
// answer.
func connect(ctx context.Context, from *namespace, local netip.Addr, to string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	address := ""
	if local.IsValid() {
		address = local.String()
	}
	c, err := from.dial(ctx, address, to)
	if err != nil {
		return nil, fmt.Errorf("%w: connecting %s to %s: %w", ErrRefused, from.name, to, err)
	}
	return c, nil
}

// Dropped returns how many packets with a node's primary IP as source the firewall has dropped.
func (l *Lab) Dropped(ctx context.Context, n *Node) (int, error) {
	counts, err := l.firewall.dropped(ctx)
	if err != nil {
		return 0, err
	}
	return counts[n.Primary.Address], nil
}

// Spoofed returns how many packets the VPC has dropped because EC2 had not assigned their source
// address to the sending interface.
func (l *Lab) Spoofed(ctx context.Context) (int, error) { return l.router.spoofed(ctx) }
