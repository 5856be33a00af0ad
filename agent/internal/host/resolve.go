package host

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// LookupWait limits one look-up of a host name. Go's resolver waits 5 s for each name server,
	// if resolv.conf has no option timeout. So two silent ones of three make a look-up slow, and
	// do not make it fail.
	LookupWait = 20 * time.Second
	// lookupGrace is how long a look-up that has IPv4 addresses waits for IPv6 addresses. Some name
	// servers never answer a question for these.
	lookupGrace = time.Second
	// LookupSlow is how long a look-up takes at least if a name server was asked in vain.
	LookupSlow = 2 * time.Second
)

// asker looks up the addresses of a host in a network, ip4 or ip6.
type asker func(ctx context.Context, network, name string) ([]netip.Addr, error)

// answer is what an asker found.
type answer struct {
	addrs []netip.Addr
	err   error
}

// resolve asks for IPv4 and IPv6 addresses at the same time, and returns IPv4 addresses first.
// Addresses of one kind are a success, whatever becomes of the other kind.
func resolve(ctx context.Context, name string, ask asker) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, LookupWait)
	defer cancel()
	begin := func(network string) <-chan answer {
		c := make(chan answer, 1)
		go func() {
			addrs, err := ask(ctx, network, name)
			c <- answer{addrs, err}
		}()
		return c
	}
	v4, v6 := begin("ip4"), begin("ip6")
	four := <-v4
	var grace <-chan time.Time
	if len(four.addrs) > 0 {
		timer := time.NewTimer(lookupGrace)
		defer timer.Stop()
		grace = timer.C
	}
	var six answer
	select {
	case six = <-v6:
	case <-grace:
	}
	addrs := append(four.addrs, six.addrs...)
	if len(addrs) > 0 {
		return addrs, nil
	}
	// "No such name" is believed only if both say so.
	if dns := (*net.DNSError)(nil); errors.As(four.err, &dns) && dns.IsNotFound && six.err != nil {
		return nil, six.err
	}
	return nil, four.err
}

// Dialer returns a function that connects to a host and port. The limit holds for each address of
// the host; looking the host up has a limit of its own. So a silent name server cannot use up the
// time for the connection.
func Dialer(limit time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: limit, KeepAlive: 30 * time.Second}
	return (&dialer{resolve: net.DefaultResolver.LookupNetIP, connect: d.DialContext}).dial
}

// keepSlow is how long the addresses of a slow look-up are used again. Otherwise each connection
// of a run would wait for the silent name server.
const keepSlow = time.Minute

type dialer struct {
	resolve asker
	connect func(ctx context.Context, network, address string) (net.Conn, error)

	mu   sync.Mutex
	slow map[string]slowAnswer // by host name
}

type slowAnswer struct {
	addrs []netip.Addr
	until time.Time
}

// lookup is resolve with the memory of slow look-ups.
func (d *dialer) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	began := time.Now()
	d.mu.Lock()
	known := d.slow[name]
	d.mu.Unlock()
	if began.Before(known.until) {
		return known.addrs, nil
	}
	addrs, err := resolve(ctx, name, d.resolve)
	if now := time.Now(); err == nil && now.Sub(began) >= LookupSlow {
		d.mu.Lock()
		if d.slow == nil {
			d.slow = map[string]slowAnswer{}
		}
		d.slow[name] = slowAnswer{addrs, now.Add(keepSlow)}
		d.mu.Unlock()
	}
	return addrs, err
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return d.connect(ctx, network, address)
	}
	addrs, err := d.lookup(ctx, name)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	var first error
	for _, a := range addrs {
		c, err := d.connect(ctx, network, net.JoinHostPort(a.Unmap().String(), port))
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}
