package agent

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/verify"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

func targetList(texts ...string) (list []Target) {
	for _, text := range texts {
		t, err := verify.ParseTarget(text)
		if err != nil {
			panic(err)
		}
		list = append(list, t)
	}
	return list
}

func TestVerify(t *testing.T) {
	always := func(err error) func(netip.Addr, netip.AddrPort) error {
		return func(netip.Addr, netip.AddrPort) error { return err }
	}
	messages := golden.Open(t, "verify.txt")
	for _, test := range []struct {
		name   string
		verify []Target
		change func(*Config)
		answer func(from netip.Addr, to netip.AddrPort) error

		dialed []string      // the first ones
		within time.Duration // at most; and where it fails at least 15 s: routes follow an attachment later
		code   ExitCode
		before []netcfg.NATChain // of others, that come first
	}{
		{"as ordinary traffic goes", targetList("192.168.50.10:80"), nil, always(nil), []string{"->192.168.50.10:80"}, time.Second, ExitOK, nil},
		{"by name", targetList("nn.example.com:8020"), nil, always(nil), []string{"->192.168.50.11:8020"}, time.Second, ExitOK, nil},
		{"inside the VPC the socket is bound", targetList("10.0.9.9:80"), nil, always(nil), []string{"10.0.1.21>10.0.9.9:80"}, time.Second, ExitOK, nil},
		{"scope all", targetList("10.0.9.9:80"), func(c *Config) { c.Scope, c.Given.Scope = "all", true }, always(nil), []string{"->10.0.9.9:80"}, time.Second, ExitOK, nil},
		{"outside --only-cidr", targetList("192.168.50.10:80"), func(c *Config) { c.Only = []netip.Prefix{netip.MustParsePrefix("172.16.0.0/12")} }, always(nil), []string{"10.0.1.21>192.168.50.10:80"}, time.Second, ExitOK, nil},
		{"in --exclude-cidr", targetList("192.168.50.10:80"), func(c *Config) { c.Exclude = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")} }, always(nil), []string{"10.0.1.21>192.168.50.10:80"}, time.Second, ExitOK, nil},
		{"black hole", targetList("192.168.50.10:80"), nil, always(agenttest.ErrNoAnswer), nil, 25 * time.Second, ExitVerify, nil},
		{"refused", targetList("192.168.50.10:80"), nil, always(syscall.ECONNREFUSED), nil, 25 * time.Second, ExitVerify, nil},
		{"no route", targetList("192.168.50.10:80"), nil, always(syscall.EHOSTUNREACH), nil, 25 * time.Second, ExitVerify, nil},
		{"the node's own filter", targetList("192.168.50.10:80"), nil, always(syscall.EPERM), nil, 25 * time.Second, ExitVerify, nil},
		{"unknown name", targetList("no.example.com:80"), nil, always(nil), nil, 25 * time.Second, ExitVerify, nil},
		{"only a bound socket comes through", targetList("192.168.50.10:80"), nil, func(from netip.Addr, _ netip.AddrPort) error {
			if from.IsValid() {
				return nil
			}
			return agenttest.ErrNoAnswer
		}, nil, 25 * time.Second, ExitVerify, nil},
		{"two, of which one fails", targetList("192.168.50.10:80", "192.168.50.12:80"), nil, func(_ netip.Addr, to netip.AddrPort) error {
			if to.Addr() == netip.MustParseAddr("192.168.50.12") {
				return agenttest.ErrNoAnswer
			}
			return nil
		}, nil, 25 * time.Second, ExitVerify, nil},
		// A connection that succeeds proves nothing: the other side may see the primary IP.
		{"another program's chain comes first", targetList("192.168.50.10:80"), nil, always(nil), nil, 25 * time.Second, ExitVerify, []netcfg.NATChain{{Table: "ip nat", Chain: "POSTROUTING", Priority: 100}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{})
				w := &agenttest.Network{Names: map[string][]netip.Addr{"nn.example.com": netiptest.Addrs("192.168.50.11")}, Answer: test.answer, Primary: n.PrimaryIP}
				n.kernel.Overtake(test.before...)
				w.Install(&n.env)
				n.cfg.Verify = test.verify
				if test.change != nil {
					test.change(&n.cfg)
				}
				rep, err := Apply(t.Context(), n.cfg, n.env)
				if CodeOf(err) != test.code {
					t.Fatalf("%v (code %d), want code %d", err, CodeOf(err), test.code)
				}
				messages.Is(t, test.name, ending(rep, err))
				if len(w.Dialed()) < len(test.dialed) || !slices.Equal(w.Dialed()[:len(test.dialed)], test.dialed) {
					t.Errorf("connected %q, want %q", w.Dialed(), test.dialed)
				}
				if rep.Duration > test.within || err != nil && rep.Duration < 15*time.Second {
					t.Errorf("took %v, want at most %v", rep.Duration, test.within)
				}
				// Whatever became of it, the node is as it was asked to be.
				if uses := n.uses(); !slices.Equal(uses, netiptest.Addrs("10.0.1.21")) || n.state().Phase != PhaseProgrammed {
					t.Errorf("in use %v, phase %s", uses, n.state().Phase)
				}
			})
		})
	}
}

// TestVerifyIsPatient checks that --verify repeats a connection: EC2 may deliver packets for a new
// address only some time after the assignment.
func TestVerifyIsPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		began := time.Now()
		w := &agenttest.Network{Primary: n.PrimaryIP, Answer: func(netip.Addr, netip.AddrPort) error {
			if time.Since(began) < 12*time.Second {
				return agenttest.ErrNoAnswer
			}
			return nil
		}}
		w.Install(&n.env)
		n.cfg.Verify = targetList("192.168.50.10:80")
		rep := n.apply()
		if rep.Duration < 10*time.Second || !strings.Contains(strings.Join(rep.Notes, "\n"), "verified:") {
			t.Errorf("%v, %q", rep.Duration, rep.Notes)
		}
		// A rerun repeats it and changes nothing; a restore does not; a plan says so and connects
		// to nothing.
		n.cfg = DefaultConfig()
		w.Forget()
		if rep := n.apply(); len(rep.Changes) > 0 || len(w.Dialed()) != 1 {
			t.Errorf("changes %q, connections %q", rep.Changes, w.Dialed())
		}
		w.Forget()
		n.restore(ExitOK)
		rep, err := Plan(t.Context(), n.cfg, n.env)
		if err != nil || !slices.ContainsFunc(rep.Notes, func(note string) bool { return strings.Contains(note, "192.168.50.10:80") }) {
			t.Errorf("%v, %q", err, rep.Notes)
		}
		if len(w.Dialed()) > 0 {
			t.Errorf("restore or plan connected to %q", w.Dialed())
		}
	})
}

// anyOfFour matches the address that a check names last, which depends on when the others answer.
var anyOfFour = regexp.MustCompile(`\b192\.168\.50\.1[1-4]\b`)

// TestVerifyManyAddresses checks a name with several addresses. If none answers, the check takes no
// longer than for one. The last address is tried too.
func TestVerifyManyAddresses(t *testing.T) {
	messages := golden.Open(t, "verify-many.txt")
	for _, test := range []struct {
		name    string
		answers string // the address that does
		with    error
		within  time.Duration
		code    ExitCode
	}{
		{"none answers", "", nil, 26 * time.Second, ExitVerify},
		{"the last one does", "192.168.50.14", nil, 17 * time.Second, ExitOK},
		{"the first one refuses", "192.168.50.11", syscall.ECONNREFUSED, 26 * time.Second, ExitVerify},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{})
				w := agenttest.NewNetwork(n.PrimaryIP)
				w.Install(&n.env)
				w.Names["nn.example.com"] = netiptest.Addrs("192.168.50.11 192.168.50.12 192.168.50.13 192.168.50.14")
				w.Answer = func(_ netip.Addr, to netip.AddrPort) error {
					if to.Port() == 8020 && to.Addr().String() != test.answers {
						return agenttest.ErrNoAnswer
					}
					return test.with
				}
				n.apply()
				n.cfg.Verify = targetList("nn.example.com:8020")
				rep, err := Apply(t.Context(), n.cfg, n.env)
				if CodeOf(err) != test.code {
					t.Errorf("code %d, want %d: %v", CodeOf(err), test.code, err)
				}
				messages.Is(t, test.name, anyOfFour.ReplaceAllString(n.told(ending(rep, err)), "192.168.50.1N"))
				if rep.Duration > test.within {
					t.Errorf("took %v, want at most %v", rep.Duration, test.within)
				}
			})
		})
	}
}

// TestVerifyEndsWithTheRun: --timeout bounds it too, and then it is the time that is over.
func TestVerifyEndsWithTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		w := &agenttest.Network{Primary: n.PrimaryIP, Answer: func(netip.Addr, netip.AddrPort) error { return agenttest.ErrNoAnswer }}
		w.Install(&n.env)
		n.cfg.Verify, n.cfg.Timeout = targetList("192.168.50.10:80"), 6*time.Second
		rep, err := Apply(t.Context(), n.cfg, n.env)
		if CodeOf(err) != ExitDeadline || rep.Duration > 7*time.Second || !strings.Contains(err.Error(), "verifying 192.168.50.10:80") {
			t.Errorf("after %v: %v (code %d)", rep.Duration, err, CodeOf(err))
		}
	})
}
