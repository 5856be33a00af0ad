package host

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	dnsPort        = 53
	maxNameServers = 3               // as the C library
	nameServerWait = 2 * time.Second // for one answer; servers are asked side by side
	resolvConf     = "/etc/resolv.conf"
)

// NameServers returns the first name servers of /etc/resolv.conf, those that resolvers use.
func (e Environment) NameServers() (list []netip.Addr) {
	b, err := os.ReadFile(e.Path(resolvConf))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" || len(list) == maxNameServers {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			list = append(list, a)
		}
	}
	return list
}

// SilentNameServers asks each name server for a name, and returns those that do not answer at all.
// An answer that there is no such name, or that the server fails, is an answer.
func (e Environment) SilentNameServers(ctx context.Context, name string) (silent []netip.Addr, asked int) {
	ask := e.NameServerAnswers
	if ask == nil {
		ask = dnsOn(dnsPort)
	}
	servers := e.NameServers()
	return silentOf(ctx, servers, ask, name), len(servers)
}

// dnsOn returns a function that asks a name server on a port.
func dnsOn(port int) func(context.Context, netip.Addr, string) bool {
	return func(ctx context.Context, server netip.Addr, name string) bool {
		return answersDNS(ctx, net.JoinHostPort(server.String(), strconv.Itoa(port)), name)
	}
}

func silentOf(ctx context.Context, servers []netip.Addr, ask func(context.Context, netip.Addr, string) bool, name string) (silent []netip.Addr) {
	ctx, cancel := context.WithTimeout(ctx, nameServerWait)
	defer cancel()
	answers := make([]bool, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		all.Go(func() { answers[i] = ask(ctx, s, name) })
	}
	all.Wait()
	for i, s := range servers {
		if !answers[i] {
			silent = append(silent, s)
		}
	}
	return silent
}

// answersDNS reports whether a name server answers a question for a name, whatever it says.
func answersDNS(ctx context.Context, server, name string) bool {
	var answered atomic.Bool
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, server)
		if err != nil {
			return nil, err
		}
		if packets, ok := c.(*net.UDPConn); ok { // the resolver looks for the method ReadFrom
			return &heardPackets{packets, &answered}, nil
		}
		return &heard{c, &answered}, nil
	}}
	_, err := r.LookupNetIP(ctx, "ip4", strings.TrimSuffix(name, ".")+".")
	return err == nil || answered.Load()
}

// heard notes that something was read.
type heard struct {
	net.Conn
	answered *atomic.Bool
}

func (c *heard) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.answered.Store(true)
	}
	return n, err
}

// heardPackets is heard for UDP.
type heardPackets struct {
	*net.UDPConn
	answered *atomic.Bool
}

func (c *heardPackets) Read(b []byte) (int, error) {
	n, err := c.UDPConn.Read(b)
	if n > 0 {
		c.answered.Store(true)
	}
	return n, err
}
