package verify_test

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/verify"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

const primary = "10.0.1.99:999"

// conn is a connection over TCP as far as its addresses say.
type conn struct{ net.Conn }

func (conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(primary)) }
func (conn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.168.0.9:1"))
}

func TestProbe(t *testing.T) {
	static := netip.MustParseAddr("10.0.1.21")
	open := func(netip.Addr) error { return nil }
	refuse := func(netip.Addr) error { return syscall.ECONNREFUSED }
	unbound := func(from netip.Addr) error {
		if from.IsValid() {
			return nil
		}
		return syscall.ECONNREFUSED
	}
	messages := golden.Open(t, "probe.txt")
	for _, test := range []struct {
		name       string
		static     netip.Addr
		translates bool
		answer     func(from netip.Addr) error
		source     string // that conntrack tells; empty: it cannot be asked
		unanswered bool

		kind verify.Failure
	}{
		{"ordinary traffic", static, true, open, "10.0.1.21:999", false, ""},
		{"bound socket", static, false, open, "10.0.1.21:999", false, ""},
		{"without a static IP", netip.Addr{}, true, open, "", false, ""},
		{"refused", static, true, refuse, "", false, verify.FailureRefused},
		{"only bound", static, true, unbound, "", false, verify.FailureRefused},
		{"conntrack cannot be asked", static, true, open, "", false, ""},
		{"somebody else's translation", static, true, open, "172.17.0.1:999", false, verify.FailureSource},
		{"changed behind conntrack", static, true, open, "10.0.1.21:999", true, verify.FailureSource},
		{"not tracked", static, true, open, primary, false, verify.FailureSource},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := verify.Prober{
					Resolve: func(context.Context, string) ([]netip.Addr, error) {
						return []netip.Addr{netip.MustParseAddr("192.168.0.9")}, nil
					},
					Dial: func(_ context.Context, from netip.Addr, _ netip.AddrPort) (net.Conn, error) {
						if err := test.answer(from); err != nil {
							return nil, err
						}
						c, other := net.Pipe()
						return conn{c}, other.Close()
					},
					Translates: func(netip.Addr) bool { return test.translates },
					Static:     test.static,
				}
				if test.source != "" {
					p.Translation = func(context.Context, netcfg.Connection) (netcfg.Translation, error) {
						return netcfg.Translation{Source: netip.MustParseAddrPort(test.source), Tracked: test.source != primary, Unanswered: test.unanswered}, nil
					}
				}
				r := p.Probe(t.Context(), []verify.Target{{Host: "db", Port: 1}}, 3*time.Second)[0]
				messages.Is(t, test.name, r.String()+"\n"+r.Remedy())
				if failed := r.Err != nil; failed != (test.kind != "") || failed && verify.FailureOf(r.Err) != test.kind {
					t.Errorf("error %v, want %q", r.Err, test.kind)
				}
			})
		})
	}
}

// TestOwn: a connection from the node to itself says nothing about the way to others. One to the
// loopback network is not tried. One to the node's own address may succeed: a list of services that
// serves all nodes can name one of them.
func TestOwn(t *testing.T) {
	static, primary := netip.MustParseAddr("10.0.1.21"), netip.MustParseAddr("10.0.1.99")
	messages := golden.Open(t, "own.txt")
	for _, tt := range []struct {
		name, to string
		err      error
		dials    bool
		kind     verify.Failure
	}{
		{"localhost", "127.0.0.1", nil, false, verify.FailureOwn},
		{"a name of loopback", "127.0.1.1", nil, false, verify.FailureOwn},
		{"primary, refused", "10.0.1.99", syscall.ECONNREFUSED, true, verify.FailureOwn},
		{"static, refused", "10.0.1.21", syscall.ECONNREFUSED, true, verify.FailureOwn},
		{"static, open", "10.0.1.21", nil, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dialed := false
				p := verify.Prober{
					Resolve: func(context.Context, string) ([]netip.Addr, error) {
						return []netip.Addr{netip.MustParseAddr(tt.to)}, nil
					},
					Dial: func(context.Context, netip.Addr, netip.AddrPort) (net.Conn, error) {
						if dialed = true; tt.err != nil {
							return nil, tt.err
						}
						c, other := net.Pipe()
						return conn{c}, other.Close()
					},
					Translates: func(netip.Addr) bool { return false },
					Static:     static, Primary: primary,
				}
				r := p.Probe(t.Context(), []verify.Target{{Host: "me", Port: 1}}, 3*time.Second)[0]
				messages.Is(t, tt.name, r.String()+"\n"+r.Remedy())
				if failed := r.Err != nil; failed != (tt.kind != "") || failed && verify.FailureOf(r.Err) != tt.kind || dialed != tt.dials {
					t.Errorf("error %v, want %q; dialed %v", r.Err, tt.kind, dialed)
				}
			})
		})
	}
}

// TestSlowLookup: a look-up that asks a silent name server first does not use up the time for the
// connection, and one that nobody answers says nothing about the name.
func TestSlowLookup(t *testing.T) {
	messages := golden.Open(t, "slow-lookup.txt")
	for _, tt := range []struct {
		name string
		err  error
		kind verify.Failure
	}{
		{"slow", nil, ""},
		{"silent", &net.DNSError{Err: "i/o timeout", Name: "db", IsTimeout: true}, verify.FailureResolver},
		{"failing", &net.DNSError{Err: "server misbehaving", Name: "db", IsTemporary: true}, verify.FailureResolver},
		{"unknown", &net.DNSError{Err: "no such host", Name: "db", IsNotFound: true}, verify.FailureName},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := verify.Prober{
					Resolve: func(context.Context, string) ([]netip.Addr, error) {
						time.Sleep(10 * time.Second)
						return []netip.Addr{netip.MustParseAddr("192.168.0.9")}, tt.err
					},
					Dial: func(context.Context, netip.Addr, netip.AddrPort) (net.Conn, error) {
						c, other := net.Pipe()
						return conn{c}, other.Close()
					},
					Translates: func(netip.Addr) bool { return true },
					Static:     netip.MustParseAddr("10.0.1.21"),
				}
				target, err := verify.ParseTarget("db:1")
				if err != nil {
					t.Fatal(err)
				}
				got := p.Probe(t.Context(), []verify.Target{target}, 5*time.Second)[0]
				kind := verify.Failure("")
				if got.Err != nil {
					kind = verify.FailureOf(got.Err)
				}
				if kind != tt.kind {
					t.Errorf("%q, want %q", kind, tt.kind)
				}
				messages.Is(t, tt.name, got.String()+"\n"+got.Remedy())
			})
		})
	}
}
