package verify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

const (
	// attemptTime limits one attempt. TCP repeats the first packet after 1 s and 3 s.
	attemptTime = 4 * time.Second
	// attemptPause lies between two attempts.
	attemptPause = time.Second
	// lookupTime limits looking up a host name, which may ask silent name servers first.
	lookupTime = host.LookupWait
)

// Result is the outcome of the attempts at one target.
type Result struct {
	Target Target
	Err    error         // nil if a connection came about
	Took   time.Duration // by the attempt that succeeded

	static netip.Addr
	to     netip.AddrPort // of the last attempt; zero if the name was not found
	bound  bool           // the socket was bound to the static IP
	known  bool           // conntrack said which source the other side sees
	direct bool           // ordinary traffic fails, but a socket bound to the static IP does not
}

// Prober opens connections as the node's ordinary traffic does: from a socket that is bound to
// nothing, so that the rules choose the source address. If the rules leave a destination alone, the
// Prober binds the socket to the static IP.
type Prober struct {
	// Resolve looks up the addresses of a host.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Dial opens a TCP connection, from the given address if that is valid.
	Dial func(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error)
	// Translates reports whether the rules give connections to an address the static IP.
	Translates func(netip.Addr) bool
	// Translation asks conntrack what becomes of a connection. If nil, the source is not known.
	Translation func(ctx context.Context, c netcfg.Connection) (netcfg.Translation, error)
	// Static is the node's static IP. If it is the zero Addr, the node uses its primary IP.
	Static netip.Addr
	// Primary is the node's primary IP, if known.
	Primary netip.Addr
}

// NewProber returns the Prober of a node. kernel may be nil. want is the wanted state of the
// kernel, which has the static IP.
func NewProber(env host.Environment, kernel netcfg.Kernel, want netcfg.Config) Prober {
	p := Prober{Resolve: env.LookupHost, Dial: env.DialTCP, Translates: want.Translates, Static: want.Static, Primary: want.Primary}
	if kernel != nil {
		p.Translation = kernel.Translation
	}
	return p
}

// Probe tries all targets at once, each for at most the given time.
func (p Prober) Probe(ctx context.Context, targets []Target, within time.Duration) []Result {
	results := make([]Result, len(targets))
	var all sync.WaitGroup
	for i, t := range targets {
		all.Go(func() { results[i] = p.probe(ctx, t, within) })
	}
	all.Wait()
	return results
}

// probe tries one target until it answers or the time is over. A look-up that succeeds is not
// counted: a silent name server may make it slow. If ordinary traffic fails, probe tries a bound
// socket too, for at most attemptTime.
func (p Prober) probe(ctx context.Context, t Target, within time.Duration) Result {
	v := Result{Target: t, static: p.Static}
	until := time.Now().Add(within)
	for {
		next := Result{Target: t, static: p.Static}
		began := time.Now()
		addrs, err := p.lookup(ctx, t.Host)
		if err == nil {
			until = until.Add(time.Since(began))
		}
		bounded, cancel := context.WithDeadline(ctx, until)
		if next.Err = err; err == nil {
			next.Err = p.attempt(bounded, &next, addrs)
		}
		// An attempt that the deadline cut short says less than the one before.
		if next.Err == nil || bounded.Err() == nil || v.Err == nil {
			v = next
		}
		over := v.Err == nil || errors.Is(v.Err, errOwn) || time.Until(until) <= attemptPause || pause.Sleep(bounded, attemptPause) != nil
		cancel()
		if over {
			break
		}
	}
	if v.Err != nil && FailureOf(v.Err) != FailureSource && ctx.Err() == nil && FailureOf(v.Err) != FailureOwn && p.Static.IsValid() && v.to.IsValid() && !v.bound {
		v.direct = p.dial(ctx, p.Static, v.to, attemptTime) == nil
	}
	return v
}

// attempt tries the addresses of the target in turn, each for its share of the time left.
func (p Prober) attempt(ctx context.Context, v *Result, addrs []netip.Addr) (err error) {
	for i, a := range addrs {
		share := attemptTime
		if until, ok := ctx.Deadline(); ok {
			share = min(share, time.Until(until)/time.Duration(len(addrs)-i))
		}
		v.to = netip.AddrPortFrom(a, v.Target.Port)
		from := netip.Addr{}
		if v.bound = p.Static.IsValid() && !p.Translates(a); v.bound {
			from = p.Static
		}
		if a.IsLoopback() {
			err = errOwn // what it would show says nothing about the static IP
			continue
		}
		began := time.Now()
		if err = p.dialAndAsk(ctx, v, from, share); err == nil {
			v.Took = time.Since(began)
			return nil
		}
		// A master whose clients verify it names itself, too: that holds once its service runs.
		if a == p.Static || a == p.Primary {
			err = fmt.Errorf("%w: %w", errOwn, err)
		}
	}
	return err
}

// lookup returns the IPv4 addresses of a host, at most four of them.
func (p Prober) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	addrs, err := p.Resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	var v4 []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() && len(v4) < 4 {
			v4 = append(v4, a)
		}
	}
	if len(v4) == 0 {
		return nil, &net.DNSError{Err: "the name has no IPv4 address", Name: host, IsNotFound: true}
	}
	return v4, nil
}

// dialAndAsk opens a TCP connection, asks conntrack for the source that the other side sees, and
// closes the connection again.
func (p Prober) dialAndAsk(ctx context.Context, v *Result, from netip.Addr, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c, err := p.Dial(ctx, from, v.to)
	if err != nil {
		return err
	}
	defer c.Close()
	local, ok1 := c.LocalAddr().(*net.TCPAddr)
	remote, ok2 := c.RemoteAddr().(*net.TCPAddr)
	if !ok1 || !ok2 || p.Translation == nil || !p.Static.IsValid() {
		return nil
	}
	t, err := p.Translation(ctx, netcfg.Connection{Protocol: syscall.IPPROTO_TCP, Source: unmap(local.AddrPort()), Destination: unmap(remote.AddrPort())})
	if err != nil {
		return nil // the source is not known: String says so
	}
	if v.known = true; t.Source.Addr() != p.Static || t.Tracked && t.Unanswered {
		return &sourceError{static: p.Static, seen: t}
	}
	return nil
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// dial opens a TCP connection and closes it again.
func (p Prober) dial(ctx context.Context, from netip.Addr, to netip.AddrPort, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c, err := p.Dial(ctx, from, to)
	if err == nil {
		return c.Close()
	}
	return err
}

// String returns the outcome in one line.
func (v Result) String() string {
	who := "the static IP " + v.static.String()
	if !v.static.IsValid() {
		who = "the primary IP"
	}
	service := v.Target.String()
	if v.to.IsValid() && v.to.String() != service {
		service += " (" + v.to.Addr().String() + ")"
	}
	if FailureOf(v.Err) == FailureOwn {
		return fmt.Sprintf("verify: %s is this node itself: a connection to itself does not show that %s reaches others", service, who)
	}
	if v.bound {
		service += ", by a socket bound to it: ordinary traffic to there keeps the primary IP"
	}
	if v.Err == nil && v.static.IsValid() && !v.known {
		return fmt.Sprintf("not verified: a connection to %s succeeds (%d ms), but conntrack cannot be asked whether it comes from %s", service, v.Took.Milliseconds(), who)
	}
	if v.Err == nil && !v.static.IsValid() { // verified is said of the static IP alone
		return fmt.Sprintf("%s reaches %s (%d ms)", who, service, v.Took.Milliseconds())
	}
	if v.Err == nil {
		return fmt.Sprintf("verified: %s reaches %s (%d ms)", who, service, v.Took.Milliseconds())
	}
	why := "fails: " + text.Clean(v.Err.Error(), text.MaxQuoted)
	switch FailureOf(v.Err) {
	case FailureName:
		return fmt.Sprintf("verify: the host name of %s is not found: %s", v.Target, text.Clean(v.Err.Error(), text.MaxLine))
	case FailureResolver:
		return fmt.Sprintf("verify: no name server answers for the host name of %s: %s", v.Target, text.Clean(v.Err.Error(), text.MaxLine))
	case FailureSource:
		return fmt.Sprintf("verify: a TCP connection to %s succeeds, but %s", service, text.Clean(v.Err.Error(), text.MaxLine))
	case FailureTimeout:
		why = "gets no answer"
	case FailureRefused:
		why = "is refused (TCP reset, or ICMP port unreachable)"
	case FailureRoute:
		why = "finds no route: " + text.Clean(Cause(v.Err), text.MaxQuoted)
	case FailureLocal:
		why = "is blocked by this node's own kernel: " + text.Clean(Cause(v.Err), text.MaxQuoted)
	}
	return fmt.Sprintf("verify: a TCP connection from %s to %s %s", who, service, why)
}

// Remedy returns what to look at after a failure.
func (v Result) Remedy() string {
	who := "the primary IP"
	if v.static.IsValid() {
		who = v.static.String()
	}
	if v.direct {
		return fmt.Sprintf("a socket bound to %s does reach %s, ordinary traffic does not: other rules or routes of this node give it another source; look at nft list ruleset, iptables-save, ip rule and ip route get %s",
			who, v.Target, v.to.Addr())
	}
	switch FailureOf(v.Err) {
	case FailureSource:
		return "other rules of this node come first, or keep conntrack from it: emr-static-ip status names them where it can; look for masquerade, snat and notrack in nft list ruleset and iptables-save; --nat-backend auto comes before other translations"
	case FailureName:
		return "correct the name in --verify, or the DNS server that knows it (the VPC's DHCP options, a Route 53 resolver rule)"
	case FailureResolver:
		return "the name may be right: look at the name servers in /etc/resolv.conf (the VPC's DHCP options, enableDnsSupport), and at network ACLs for port 53"
	case FailureRefused:
		return fmt.Sprintf("either nothing listens at %s (is the service up, is the port right?), or a firewall rejects %s: one on the way, or the filter rules of this node itself (iptables -S OUTPUT, nft list ruleset)", v.Target, who)
	case FailureOwn:
		return "name a service of another host with --verify, in a network that is to see the static IP"
	case FailureRoute:
		return fmt.Sprintf("look at the route table of the node's subnet (a route to %s by peering, transit gateway or VPN) and at ip route get %[1]s; a firewall that rejects with ICMP looks the same", v.to.Addr())
	case FailureLocal:
		return "look at the node's own filter rules (iptables -S OUTPUT, nft list ruleset) and at ip addr"
	case FailureTimeout:
		return fmt.Sprintf("look, in the order of the way there, at: the security group of this node (outbound to TCP %d), the network ACL of its subnet, the route table (a route to %s), "+
			"the firewall of the other side (does it admit %s to port %[1]d?), and the other side's route back to %[3]s", v.Target.Port, v.to.Addr(), who)
	}
	return "try it by hand on the node: curl -v --max-time 5 telnet://" + v.Target.String()
}
