package ec2

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
)

// slowIMDS answers as imdsAnswers, each request after the time that latency returns. It counts the
// requests, and those that are under way.
type slowIMDS struct {
	imdsAnswers
	latency                 func(path string) time.Duration
	now, most, tokens, gets atomic.Int32
}

func (s *slowIMDS) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPut {
		s.tokens.Add(1)
	} else {
		s.gets.Add(1)
	}
	s.most.Store(max(s.most.Load(), s.now.Add(1)))
	defer s.now.Add(-1)
	select {
	case <-time.After(s.latency(r.URL.Path)):
		return s.imdsAnswers.RoundTrip(r)
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func (s *slowIMDS) env() host.Environment {
	return host.Environment{HTTP: s, LookupEnv: func(string) (string, bool) { return "", false }, Rand: func() float64 { return 0 }}
}

// Requests of Identity that do not depend on each other are under way at once, at most imdsAtOnce.
// Those of Refresh go one after the other.
func TestRoundTrips(t *testing.T) {
	const latency = 100 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		s := &slowIMDS{imdsAnswers: goodIMDS(), latency: func(string) time.Duration { return latency }}
		began := time.Now()
		id, err := OpenIMDS(s.env()).Identity(t.Context(), s.env(), 0)
		if err != nil {
			t.Fatal(err)
		}
		check := func(began time.Time, trips, gets, most int) {
			t.Helper()
			if got := time.Since(began); got != time.Duration(trips)*latency {
				t.Errorf("%s, want %d round trips of %s", got, trips, latency)
			}
			if s.tokens.Load() != 1 || int(s.gets.Load()) != gets || int(s.most.Load()) != most {
				t.Errorf("%d tokens, %d requests, %d at once; want 1, %d, %d", s.tokens.Load(), s.gets.Load(), s.most.Load(), gets, most)
			}
			s.tokens.Store(0)
			s.gets.Store(0)
			s.most.Store(0)
		}
		check(began, 4, 12, imdsAtOnce)
		for _, vpc := range []bool{false, true} {
			gets := 2
			began = time.Now()
			if vpc {
				gets = 3
			}
			if _, ok := OpenIMDS(s.env()).Refresh(t.Context(), id, vpc); !ok {
				t.Fatal("refused")
			}
			check(began, 1+gets, gets, 1) // for a token first
		}
	})
}

// Refresh opens one connection. It begins no request after one that failed. It does not wait longer
// for an IMDS that hangs than requests at once would.
func TestRefreshIsLight(t *testing.T) {
	var opened atomic.Int32
	answers := goodIMDS()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := answers.RoundTrip(r)
		if err != nil {
			t.Error(err)
			return
		}
		maps.Copy(w.Header(), answer.Header)
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	env := host.Environment{LookupEnv: func(name string) (string, bool) { return server.URL, name == imdsEndpoint }}
	mac, err := net.ParseMAC(testMAC)
	if err != nil {
		t.Fatal(err)
	}
	known := Identity{InstanceID: answers.values["instance-id"], MAC: mac}
	if id, ok := OpenIMDS(env).Refresh(t.Context(), known, true); !ok || len(id.Addresses) != 2 || len(id.VPC) != 2 {
		t.Errorf("%v, %v", id, ok)
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	nic := "network/interfaces/macs/" + testMAC + "/"
	for hangs, gets := range map[string]int32{"instance-id": 1, nic + "local-ipv4s": 2, nic + "vpc-ipv4-cidr-blocks": 3} {
		synctest.Test(t, func(t *testing.T) {
			s := &slowIMDS{imdsAnswers: goodIMDS(), latency: func(path string) time.Duration {
				switch {
				case strings.HasSuffix(path, hangs):
					return time.Hour
				case strings.HasSuffix(path, "/api/token"):
					return 0
				default:
					return IMDSAttempt * 9 / 10
				}
			}}
			began := time.Now()
			if _, ok := OpenIMDS(s.env()).Refresh(t.Context(), known, true); ok {
				t.Error("accepted")
			}
			if took := time.Since(began); took > 2*IMDSAttempt || s.gets.Load() != gets {
				t.Errorf("%s hangs: %s, %d requests, want at most %s and %d", hangs, took, s.gets.Load(), 2*IMDSAttempt, gets)
			}
		})
	}
}

// Refresh takes what IMDS says in the place of what was known. It refuses answers about another
// instance, and those that it cannot read.
func TestRefreshIsNew(t *testing.T) {
	mac, err := net.ParseMAC(testMAC)
	if err != nil {
		t.Fatal(err)
	}
	nic := "network/interfaces/macs/" + testMAC + "/"
	known := Identity{InstanceID: "i-0a1b2c3d4e5f60001", MAC: mac, Addresses: []netip.Addr{netip.MustParseAddr("10.0.1.9")}, VPC: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}}
	for _, tt := range []struct {
		path, value string
		vpc, ok     bool
		want        string
	}{
		{"", "", true, true, "[10.0.1.5 10.0.1.20] [10.0.0.0/16 10.7.0.0/16]"},
		{"", "", false, true, "[10.0.1.5 10.0.1.20] [10.9.0.0/16]"},
		{"instance-id", "i-0a1b2c3d4e5f60002", true, false, "[10.0.1.9] [10.9.0.0/16]"},
		{nic + "local-ipv4s", "10.0.1.5\n10.0.1", true, false, "[10.0.1.9] [10.9.0.0/16]"},
		{nic + "local-ipv4s", " ", true, false, "[10.0.1.9] [10.9.0.0/16]"},
		{nic + "vpc-ipv4-cidr-blocks", "10.0.0.0", true, false, "[10.0.1.9] [10.9.0.0/16]"},
	} {
		s := &slowIMDS{imdsAnswers: goodIMDS(), latency: func(string) time.Duration { return 0 }}
		s.values[tt.path] = tt.value
		id, ok := OpenIMDS(s.env()).Refresh(t.Context(), known, tt.vpc)
		if got := fmt.Sprint(id.Addresses, id.VPC); got != tt.want || ok != tt.ok {
			t.Errorf("%s is %q: %s, %t; want %s, %t", tt.path, tt.value, got, ok, tt.want, tt.ok)
		}
	}
}

// The token expires at any moment, also between requests that go at once. A request that gets a new
// one lets the others wait.
func TestTokenExpires(t *testing.T) {
	for after := time.Duration(0); after < 3*time.Second; after += 100 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			s := &slowIMDS{imdsAnswers: goodIMDS(), latency: func(string) time.Duration { return 700 * time.Millisecond }}
			m := OpenIMDS(s.env())
			if _, err := m.get(t.Context(), "mac"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(298*time.Second + after) // the token of the test lives for 300 s
			if _, err := m.Identity(t.Context(), s.env(), 0); err != nil {
				t.Fatal(err)
			}
			if got := s.tokens.Load(); got > 2 {
				t.Errorf("%d tokens", got)
			}
		})
	}
}

// Of several paths that fail, the error is about the first, whichever answer comes first. What IMDS
// has answered is not asked again.
func TestFirstErrorOfRequestsAtOnce(t *testing.T) {
	nic := "network/interfaces/macs/" + testMAC + "/"
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			latencies := map[string]time.Duration{}
			s := &slowIMDS{imdsAnswers: goodIMDS(), latency: func(path string) time.Duration { return latencies[path] }}
			for path := range s.values {
				latencies["/latest/meta-data/"+path] = time.Duration(random.IntN(1000)) * time.Millisecond
			}
			delete(s.values, nic+"subnet-id")
			s.at, s.status = nic+"subnet-ipv4-cidr-block", http.StatusInternalServerError
			m := OpenIMDS(s.env())
			known := map[string]string{}
			_, err := m.identity(t.Context(), known)
			if !HasStatus(err, http.StatusNotFound) || !strings.Contains(err.Error(), nic+"subnet-id") {
				t.Errorf("seed %d: %v", seed, err)
			}
			s.values, s.at = goodIMDS().values, ""
			before := int(s.gets.Load())
			got := len(known)
			if _, err := m.identity(t.Context(), known); err != nil {
				t.Fatal(err)
			}
			if asked := int(s.gets.Load()) - before; asked != 12-got || got < 6 {
				t.Errorf("seed %d: %d answers, then %d more requests", seed, got, asked)
			}
		})
	}
}
