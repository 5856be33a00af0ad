package host

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slowly is an asker: it answers for each network after a while. It never answers for one that
// it does not have.
func slowly(answers map[string]answer, after map[string]time.Duration) asker {
	return func(ctx context.Context, network, name string) ([]netip.Addr, error) {
		a, ok := answers[network]
		if !ok {
			<-ctx.Done()
			return nil, &net.DNSError{Err: "i/o timeout", Name: name, IsTimeout: true}
		}
		time.Sleep(after[network])
		return a.addrs, a.err
	}
}

func TestResolve(t *testing.T) {
	v4, v6 := []netip.Addr{netip.MustParseAddr("10.0.0.10")}, []netip.Addr{netip.MustParseAddr("fd00::10")}
	none := &net.DNSError{Err: "no such host", IsNotFound: true}
	for _, tt := range []struct {
		name    string
		answers map[string]answer
		after   map[string]time.Duration
		want    string // the first address, or part of the error
		took    time.Duration
	}{
		{"both", map[string]answer{"ip4": {addrs: v4}, "ip6": {addrs: v6}}, nil, "10.0.0.10", 0},
		{"the first of two name servers is silent", map[string]answer{"ip4": {addrs: v4}, "ip6": {err: none}},
			map[string]time.Duration{"ip4": 5 * time.Second, "ip6": 5 * time.Second}, "10.0.0.10", 5 * time.Second},
		{"two of three are silent", map[string]answer{"ip4": {addrs: v4}, "ip6": {err: none}},
			map[string]time.Duration{"ip4": 10 * time.Second, "ip6": 10 * time.Second}, "10.0.0.10", 10 * time.Second},
		{"IPv6 is never answered", map[string]answer{"ip4": {addrs: v4}}, nil, "10.0.0.10", lookupGrace},
		{"IPv4 is never answered", map[string]answer{"ip6": {addrs: v6}}, nil, "fd00::10", LookupWait},
		{"IPv6 alone", map[string]answer{"ip4": {err: none}, "ip6": {addrs: v6}}, nil, "fd00::10", 0},
		{"no such name", map[string]answer{"ip4": {err: none}, "ip6": {err: none}}, nil, "no such host", 0},
		{"no IPv4 address, and no answer for IPv6", map[string]answer{"ip4": {err: none}}, nil, "i/o timeout", LookupWait},
		{"all are silent", nil, nil, "i/o timeout", LookupWait},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				addrs, err := resolve(t.Context(), "api.corp.test", slowly(tt.answers, tt.after))
				got := ""
				if err != nil {
					got = err.Error()
				} else {
					got = addrs[0].String()
				}
				if !strings.Contains(got, tt.want) || time.Since(began) != tt.took {
					t.Errorf("got %s after %s, want %s after %s", got, time.Since(began), tt.want, tt.took)
				}
			})
		})
	}
}

// TestDialer: a slow look-up does not use up the time for the connection, and each address has its
// own time.
func TestDialer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		two := []netip.Addr{netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("10.0.0.11")}
		var tried []string
		d := &dialer{
			resolve: slowly(map[string]answer{"ip4": {addrs: two}, "ip6": {}}, map[string]time.Duration{"ip4": 10 * time.Second}),
			connect: func(ctx context.Context, _, address string) (net.Conn, error) {
				if tried = append(tried, address); address == "10.0.0.10:443" {
					time.Sleep(5 * time.Second)
					return nil, errors.New("no answer")
				}
				return nil, ctx.Err() // stands for a connection
			},
		}
		if _, err := d.dial(t.Context(), "tcp", "ssm.us-east-1.amazonaws.com:443"); err != nil {
			t.Error(err)
		}
		if _, err := d.dial(t.Context(), "tcp", "10.0.0.12:443"); err != nil {
			t.Error(err)
		}
		if got := strings.Join(tried, " "); got != "10.0.0.10:443 10.0.0.11:443 10.0.0.12:443" {
			t.Errorf("tried %s", got)
		}
		for _, tt := range []struct{ pause, took time.Duration }{{0, 0}, {keepSlow, 10 * time.Second}} {
			time.Sleep(tt.pause)
			began := time.Now()
			if addrs, err := d.lookup(t.Context(), "ssm.us-east-1.amazonaws.com"); err != nil || len(addrs) != 2 || time.Since(began) != tt.took {
				t.Errorf("%v, %v after %s, want %s", addrs, err, time.Since(began), tt.took)
			}
		}
	})
}
