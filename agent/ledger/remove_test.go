package ledger

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

// TestLedgerRemove removes the record of an address in every condition, first without --yes.
func TestLedgerRemove(t *testing.T) {
	messages := golden.Open(t, "remove.txt")
	const addr = "10.0.1.20"
	for _, test := range []struct {
		name    string
		setup   func(w *ledgerWorld)
		fresh   bool // the record was written a moment ago
		code    exit.Code
		removed bool
	}{
		{"its owner is gone", func(w *ledgerWorld) { w.put(w.name(w.subnet, addr), gone("i-0dead1")) }, false, exit.OK, true},
		{"its owner exists, and no interface carries it", func(w *ledgerWorld) { w.put(w.name(w.subnet, addr), recordOf(w.nodes[1])) }, false, exit.OK, true},
		{"unreadable, and no interface carries it", func(w *ledgerWorld) { w.put(w.name(w.subnet, addr), "blank") }, false, exit.OK, true},
		{"its owner has it", func(w *ledgerWorld) { w.put(w.name(w.subnet, addr), recordOf(w.nodes[1])); w.assign(w.nodes[1], addr) }, false, exit.Drifted, false},
		{"its owner has it and is stopped", func(w *ledgerWorld) {
			w.put(w.name(w.subnet, addr), recordOf(w.nodes[1]))
			w.assign(w.nodes[1], addr)
			w.cloud.Stop(w.nodes[1].InstanceID)
		}, false, exit.Drifted, false},
		{"another node has it", func(w *ledgerWorld) { w.put(w.name(w.subnet, addr), gone("i-0dead1")); w.assign(w.nodes[1], addr) }, false, exit.Drifted, false},
		{"a stranger has it", func(w *ledgerWorld) {
			w.put(w.name(w.subnet, addr), gone("i-0dead1"))
			w.stranger(cloud.InstanceSpec{Secondary: []netip.Addr{netip.MustParseAddr(addr)}})
		}, false, exit.Drifted, false},
		{"a stranger has it as its primary address", func(w *ledgerWorld) {
			w.put(w.name(w.subnet, addr), gone("i-0dead1"))
			w.stranger(cloud.InstanceSpec{PrimaryIP: netip.MustParseAddr(addr)})
		}, false, exit.Drifted, false},
		{"of a newer release", func(w *ledgerWorld) { w.put(w.name(w.subnet, addr), `{"v":7}`) }, false, exit.Drifted, false},
		{"written a moment ago", func(w *ledgerWorld) { w.put(w.name(w.subnet, addr), recordOf(w.nodes[1])) }, true, exit.Drifted, false},
		{"no record, and nobody has it", func(*ledgerWorld) {}, false, exit.OK, false},
		{"no record, and a node has it", func(w *ledgerWorld) { w.assign(w.nodes[1], addr) }, false, exit.OK, false},
		{"no record, and a stranger has it", func(w *ledgerWorld) {
			w.stranger(cloud.InstanceSpec{Secondary: []netip.Addr{netip.MustParseAddr(addr)}})
		}, false, exit.OK, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newLedgerWorld(t, cloud.Options{Seed: 21})
				test.setup(w)
				w.put(w.name(w.subnet, "10.0.1.21"), gone("i-0dead2")) // stale, and not named
				if !test.fresh {
					time.Sleep(time.Hour)
				}
				w.cfg.Pools.Master = netiptest.Addrs(addr)
				before := w.parameter(w.name(w.subnet, addr))
				_, dry := w.run(Remove, test.code)
				if got := w.parameter(w.name(w.subnet, addr)); got != before {
					t.Errorf("changed without --yes: %q, was %q", got, before)
				}
				l, text := w.yes(Remove, test.code)
				if got := w.parameter(w.name(w.subnet, addr)); (got == "") != (test.removed || before == "") || (l.Changed == 1) != test.removed {
					t.Errorf("the record is %q, %d changed\n%s", got, l.Changed, text)
				}
				if w.parameter(w.name(w.subnet, "10.0.1.21")) == "" {
					t.Error("another address's record is gone")
				}
				messages.Is(t, test.name, untimed(dry+"-- with --yes\n"+text))
			})
		})
	}
}

// TestLedgerRemoveRaces lets a node take the address between the two looks, or before the deletion.
func TestLedgerRemoveRaces(t *testing.T) {
	const addr = "10.0.1.20"
	for _, action := range []string{"DescribeNetworkInterfaces", "GetParameters"} {
		synctest.Test(t, func(t *testing.T) {
			w := newLedgerWorld(t, cloud.Options{Seed: 22})
			w.put(w.name(w.subnet, addr), gone("i-0dead1"))
			time.Sleep(time.Hour)
			w.cfg.Pools.Master = netiptest.Addrs(addr)
			w.onCall(action, addr, 1, false, func() {
				w.assign(w.nodes[1], addr)
				w.put(w.name(w.subnet, addr), recordOf(w.nodes[1]))
			})
			l, text := w.yes(Remove, exit.Drifted)
			w.cloud.Fault(nil)
			if l.Changed != 0 || len(l.Steps) != 1 || l.Steps[0].Outcome != "left" {
				t.Errorf("%s: %+v\n%s", action, l.Steps, text)
			}
			w.expectRecord(addr, w.nodes[1])
		})
	}
}
