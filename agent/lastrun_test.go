package agent

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/netcfg/netcfgtest"
)

// elsewhere is a kernel seen through a backend that has no rules. The rules are in another one.
type elsewhere struct {
	*netcfgtest.Kernel
}

func (k elsewhere) Observe(ctx context.Context, mac net.HardwareAddr, gone ...netip.Addr) (netcfg.Observed, error) {
	o, err := k.Kernel.Observe(ctx, mac, gone...)
	o.Strays, o.Rules = map[netcfg.Backend]netcfg.RuleSet{netcfg.Nftables: o.Rules}, netcfg.RuleSet{}
	return o, err
}

// A status or a restore that is given another backend or prefix than the last run's says what comes
// of it.
func TestOtherThanTheLastRun(t *testing.T) {
	messages := golden.Open(t, "last-run.txt")
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.cfg.PutRate = 0.01 // so that the record is left to the timer
		n.apply()
		open := n.env.OpenKernel
		n.env.OpenKernel = func(ctx context.Context, o netcfg.Options) (netcfg.Kernel, error) {
			if o.Backend == "iptables" {
				return elsewhere{n.kernel}, nil
			}
			return open(ctx, o)
		}
		status := func(change func(*Config)) (s Status, said string) {
			cfg := DefaultConfig()
			change(&cfg)
			s, err := Inspect(t.Context(), cfg, n.env)
			if err != nil {
				t.Fatal(err)
			}
			return s, n.told(strings.Join(append(s.Notes, s.Remedy), "\n"))
		}
		backend := func(name string) func(*Config) {
			return func(c *Config) { c.Backend, c.Given.Backend = name, true }
		}
		prefix := func(c *Config) { c.Prefix, c.Given.Prefix = "/other", true }
		if s, said := status(backend("auto")); s.Verdict != VerdictInOrder {
			t.Errorf("with the last run's backend: %s", said)
		} else {
			messages.Is(t, "status --nat-backend auto", said)
		}
		s, said := status(backend("iptables"))
		if s.Verdict != VerdictDrifted {
			t.Errorf("with another backend: %s", s.Verdict)
		}
		messages.Is(t, "status --nat-backend iptables", said)
		time.Sleep(time.Until(n.state().RecordDue))
		cfg := DefaultConfig()
		prefix(&cfg)
		backend("nftables")(&cfg)
		rep, err := Restore(t.Context(), cfg, n.env)
		if err != nil {
			t.Fatal(err)
		}
		messages.Is(t, "restore --nat-backend nftables --prefix /other", strings.Join(append(rep.Notes, rep.Warnings...), "\n"))
		if got := n.cloud.Parameters(); len(got) != 1 || !strings.HasPrefix(got[0].Name, DefaultPrefix+"/") {
			t.Errorf("records %v", got)
		}
		s, said = status(prefix)
		if s.Verdict != VerdictInOrder {
			t.Errorf("with another prefix: %s", s.Verdict)
		}
		messages.Is(t, "status --prefix /other", said)
	})
}
