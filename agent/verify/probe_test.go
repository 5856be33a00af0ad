package verify_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/verify"
)

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
	for _, test := range []struct {
		name       string
		static     netip.Addr
		translates bool
		answer     func(from netip.Addr) error
		want       string // in the text and the remedy
		kind       verify.Failure
	}{
		{"ordinary traffic", static, true, open, "the static IP 10.0.1.21 reaches db:1 (192.168.0.9) (", ""},
		{"bound socket", static, false, open, "by a socket bound to it", ""},
		{"without a static IP", netip.Addr{}, true, open, "the primary IP reaches", ""},
		{"refused", static, true, refuse, "either nothing listens at db:1", verify.FailureRefused},
		{"only bound", static, true, unbound, "a socket bound to 10.0.1.21 does reach db:1", verify.FailureRefused},
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
						return c, other.Close()
					},
					Translates: func(netip.Addr) bool { return test.translates },
					Static:     test.static,
				}
				r := p.Probe(t.Context(), []verify.Target{{Host: "db", Port: 1}}, 3*time.Second)[0]
				if told := r.String() + "\n" + r.Remedy(); !strings.Contains(told, test.want) {
					t.Errorf("%s\nlacks %s", told, test.want)
				}
				if failed := r.Err != nil; failed != (test.kind != "") || failed && verify.FailureOf(r.Err) != test.kind {
					t.Errorf("error %v, want %q", r.Err, test.kind)
				}
			})
		})
	}
}
