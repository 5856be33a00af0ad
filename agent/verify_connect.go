package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// Bounds of --verify. EC2 carries out an assignment some time after it has accepted it, so that the first packets may go nowhere.
const (
	verifyTry    = 4 * time.Second  // one attempt: the first packet is repeated after 1 s and 3 s
	verifyFor    = 20 * time.Second // all attempts at one service
	verifyPause  = time.Second
	verifyLookup = 5 * time.Second // looking a host name up
)

// verdict is how a connection was tried and what became of it.
type verdict struct {
	target Target
	to     netip.AddrPort // that answered, or was tried last; zero where the name was not found
	bound  bool           // the socket was bound to the static IP: ordinary traffic to this destination keeps the primary IP
	took   time.Duration  // of the attempt that came through
	err    error          // nil: it came through
	known  bool           // conntrack was asked for the source that the other side sees
	// direct tells, after a failure of ordinary traffic, whether a socket bound to the static IP comes through.
	direct bool
}

// applyVerified is apply and, on a node that has got its static IP, verify.
func (r *run) applyVerified(ctx context.Context) error {
	if err := r.apply(ctx); err != nil || r.rep.LeftAlone != "" {
		return err
	}
	return r.verify(ctx)
}

// verify connects to each service of --verify, all at once, as the node's ordinary traffic does: from a socket that is bound to nothing, so that
// the rules give the connection its source. To a destination that the rules leave alone it binds the socket to the static IP. The error names every
// service that cannot be reached, with exit code 13; nothing is taken back for it.
func (r *run) verify(ctx context.Context) error {
	if len(r.cfg.Verify) == 0 {
		return nil
	}
	r.log.Info(fmt.Sprintf("verifying: connecting to %s with the static IP %s", targets(r.cfg.Verify), r.rep.Static))
	var problems []error
	for _, v := range r.connectAll(ctx, r.rep.Static, verifyFor) {
		if v.err == nil {
			r.note(v.text(r.rep.Static))
			continue
		}
		problems = append(problems, exit.With(ExitVerify, errors.New(v.text(r.rep.Static)), v.remedy(r.rep.Static)))
	}
	switch {
	case len(problems) == 0:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("verifying %s: %w", targets(r.cfg.Verify), context.Cause(ctx))
	}
	return errors.Join(append(problems, fmt.Errorf("the static IP %s itself is in order: attached and programmed, and it stays so", r.rep.Static))...)
}

// connectAll tries all services at once. static may be the zero Addr: then the node has none, and its primary IP is used.
func (r *run) connectAll(ctx context.Context, static netip.Addr, within time.Duration) []verdict {
	verdicts := make([]verdict, len(r.cfg.Verify))
	var all sync.WaitGroup
	for i, t := range r.cfg.Verify {
		all.Go(func() { verdicts[i] = r.connectTo(ctx, t, static, within) })
	}
	all.Wait()
	return verdicts
}

// connectTo tries one service until it answers, or for as long as within allows, however many addresses it has. After a failure it looks once
// more, for verifyTry at most, whether a bound socket comes through.
func (r *run) connectTo(ctx context.Context, t Target, static netip.Addr, within time.Duration) verdict {
	v := verdict{target: t}
	until := time.Now().Add(within)
	bounded, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for {
		next := verdict{target: t}
		next.err = r.attempt(bounded, &next, static)
		if next.err == nil || bounded.Err() == nil || v.err == nil { // what time cut short says less than what was seen before
			v = next
		}
		if v.err == nil || time.Until(until) <= verifyPause || pause(bounded, verifyPause) != nil {
			break
		}
	}
	if v.err != nil && failingOf(v.err) != failingSource && ctx.Err() == nil && static.IsValid() && v.to.IsValid() && !v.bound {
		v.direct = r.dial(ctx, static, v.to, verifyTry) == nil
	}
	return v
}

// attempt looks the service up and tries its addresses, one after the other, each for its share of the time that is left.
func (r *run) attempt(ctx context.Context, v *verdict, static netip.Addr) error {
	addrs, err := r.lookup(ctx, v.target.Host)
	if err != nil {
		return err
	}
	for i, a := range addrs {
		share := verifyTry
		if until, ok := ctx.Deadline(); ok {
			share = min(share, time.Until(until)/time.Duration(len(addrs)-i))
		}
		v.to = netip.AddrPortFrom(a, v.target.Port)
		from := netip.Addr{}
		if v.bound = static.IsValid() && !r.wanted(static, nil).Translates(a); v.bound {
			from = static
		}
		began := time.Now()
		if err = r.dialAs(ctx, v, static, from, share); err == nil {
			v.took = time.Since(began)
			return nil
		}
	}
	return err
}

// lookup finds the IPv4 addresses of a host, at most four of them.
func (r *run) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, verifyLookup)
	defer cancel()
	addrs, err := r.env.LookupHost(ctx, host)
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

// dialAs is dial, and asks conntrack meanwhile for the source that the other side sees.
func (r *run) dialAs(ctx context.Context, v *verdict, static, from netip.Addr, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c, err := r.env.DialTCP(ctx, from, v.to)
	if err != nil {
		return err
	}
	defer c.Close()
	local, ok1 := c.LocalAddr().(*net.TCPAddr)
	remote, ok2 := c.RemoteAddr().(*net.TCPAddr)
	if !ok1 || !ok2 || r.kernel == nil || !static.IsValid() {
		return nil
	}
	asked := netcfg.Connection{Protocol: syscall.IPPROTO_TCP, Source: unmap(local.AddrPort()), Destination: unmap(remote.AddrPort())}
	t, err := r.kernel.Translation(ctx, asked)
	if err != nil {
		return nil // not known: text says so
	}
	if v.known = true; t.Source.Addr() != static {
		return &sourceError{static: static, seen: t}
	}
	return nil
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// sourceError is a connection that comes about, but not with the static IP.
type sourceError struct {
	static netip.Addr
	seen   netcfg.Translation
}

func (e *sourceError) Error() string {
	if !e.seen.Tracked {
		return fmt.Sprintf("it comes from %s and not from %s: conntrack does not track it, as with a NOTRACK rule", e.seen.Source.Addr(), e.static)
	}
	return fmt.Sprintf("it comes from %s and not from %s, says conntrack", e.seen.Source.Addr(), e.static)
}

// dial opens a TCP connection and closes it again.
func (r *run) dial(ctx context.Context, from netip.Addr, to netip.AddrPort, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c, err := r.env.DialTCP(ctx, from, to)
	if err == nil {
		return c.Close()
	}
	return err
}

// failing is what keeps a connection from coming about, told apart by what has to be looked at.
type failing string

// The ways in which a connection fails.
const (
	failingName    failing = "name"    // the host name was not found
	failingRefused failing = "refused" // something answered with a reset
	failingTimeout failing = "timeout" // nothing answered
	failingRoute   failing = "route"   // no route, here or further on; or a firewall that says so
	failingLocal   failing = "local"   // this node's kernel did not let it out
	failingSource  failing = "source"  // it comes about, and not with the static IP
	failingOther   failing = "other"
)

// failingOf tells the ways apart by the error of a connection or a look-up.
func failingOf(err error) failing {
	dns := (*net.DNSError)(nil)
	source := (*sourceError)(nil)
	switch {
	case errors.As(err, &source):
		return failingSource
	case errors.As(err, &dns):
		return failingName
	case errors.Is(err, syscall.ECONNREFUSED):
		return failingRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return failingRoute
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EADDRNOTAVAIL):
		return failingLocal
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return failingTimeout
	}
	if n := net.Error(nil); errors.As(err, &n) && n.Timeout() {
		return failingTimeout
	}
	return failingOther
}

// text says in one line what became of the connection.
func (v verdict) text(static netip.Addr) string {
	who := "the static IP " + static.String()
	if !static.IsValid() {
		who = "the primary IP"
	}
	service := v.target.String()
	if v.to.IsValid() && v.to.String() != service {
		service += " (" + v.to.Addr().String() + ")"
	}
	if v.bound {
		service += ", by a socket bound to it: the rules leave ordinary traffic to there alone"
	}
	if v.err == nil && static.IsValid() && !v.known {
		return fmt.Sprintf("not verified: a connection to %s comes about (%d ms), but conntrack cannot be asked whether it comes from %s", service, v.took.Milliseconds(), who)
	}
	if v.err == nil {
		return fmt.Sprintf("verified: %s reaches %s (%d ms)", who, service, v.took.Milliseconds())
	}
	why := "fails: " + text.Clean(v.err.Error(), text.MaxQuoted)
	switch failingOf(v.err) {
	case failingName:
		return fmt.Sprintf("verify: the host name of %s is not found: %s", v.target, text.Clean(v.err.Error(), text.MaxLine))
	case failingSource:
		return fmt.Sprintf("verify: a TCP connection to %s comes about, but %s", service, text.Clean(v.err.Error(), text.MaxQuoted))
	case failingTimeout:
		why = "gets no answer"
	case failingRefused:
		why = "is refused: the packets are answered with a reset"
	case failingRoute:
		why = "finds no route: " + text.Clean(lastCause(v.err), text.MaxQuoted)
	case failingLocal:
		why = "is not let out by this node's own kernel: " + text.Clean(lastCause(v.err), text.MaxQuoted)
	}
	return fmt.Sprintf("verify: a TCP connection from %s to %s %s", who, service, why)
}

// lastCause is the innermost error's text.
func lastCause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// remedy is what to look at after a failure.
func (v verdict) remedy(static netip.Addr) string {
	who := address(static)
	if who == "" {
		who = "the primary IP"
	}
	if v.direct {
		return fmt.Sprintf("a socket bound to %s does reach %s, ordinary traffic does not: other rules or routes of this node give it another source; look at iptables -t nat -S POSTROUTING, ip rule and ip route get %s",
			who, v.target, v.to.Addr())
	}
	switch failingOf(v.err) {
	case failingSource:
		return "other rules of this node come first, or keep conntrack from it: emr-static-ip status names them where it can; look for masquerade, snat and notrack in nft list ruleset and iptables-save; --nat-backend auto comes before other translations"
	case failingName:
		return "correct the name in --verify, or the DNS server that knows it (the VPC's DHCP options, a Route 53 resolver rule)"
	case failingRefused:
		return fmt.Sprintf("the way there is open; either nothing listens at %s (is the service up, is the port right?), or a firewall rejects %s with a reset", v.target, who)
	case failingRoute:
		return fmt.Sprintf("look at the route table of the node's subnet (a route to %s by peering, transit gateway or VPN) and at ip route get %[1]s; a firewall that rejects with ICMP looks the same", v.to.Addr())
	case failingLocal:
		return "look at the node's own filter rules (iptables -S OUTPUT, nft list ruleset) and at ip addr"
	case failingTimeout:
		return fmt.Sprintf("look, in the order of the way there, at: the security group of this node (outbound to TCP %d), the network ACL of its subnet, the route table (a route to %s), "+
			"the firewall of the other side (does it admit %s to port %[1]d?), and the other side's route back to %[3]s", v.target.Port, v.to.Addr(), who)
	}
	return "try it by hand on the node: curl -v --max-time 5 telnet://" + v.target.String()
}

func targets(list []Target) string {
	texts := make([]string, len(list))
	for i, t := range list {
		texts[i] = t.String()
	}
	return strings.Join(texts, ", ")
}
