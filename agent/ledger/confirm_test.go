package ledger

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// TestLedgerRepairLeavesWhatOthersWrote lets the address change hands between a repair's write and
// its last look. If the repair's own record is out of date by then, the repair makes it name
// the node that has the address, or removes it. It leaves everybody else's.
func TestLedgerRepairLeavesWhatOthersWrote(t *testing.T) {
	const addr, newer = "10.0.1.20", `{"v":7}`
	for _, test := range []struct {
		name   string
		moves  bool                        // to another node, by EC2
		writes func(w *ledgerWorld) string // the record that somebody writes; empty: none
		code   exit.Code
	}{
		{"another node has it and wrote its record", true, func(w *ledgerWorld) string { return recordOf(w.nodes[2]) }, exit.OK},
		{"another node has claimed it and is about to attach it", false, func(w *ledgerWorld) string { return recordOf(w.nodes[2]) }, exit.OK},
		{"a newer version has written its record", false, func(*ledgerWorld) string { return newer }, exit.OK},
		{"another node has it and no record yet", true, func(*ledgerWorld) string { return "" }, exit.OK},
		{"nobody has it", false, func(*ledgerWorld) string { return "" }, exit.Drifted},
	} {
		for name, o := range map[string]cloud.Options{"prompt": {}, "late": {Seed: 5, StaleSSM: cloud.Staleness{Probability: 1, MaxAge: 5 * time.Second}}} {
			t.Run(test.name+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newLedgerWorld(t, o)
					w.put(w.name(w.subnet, addr), "blank")
					w.assign(w.nodes[1], addr)
					time.Sleep(time.Hour)
					want := ""
					w.onCall("PutParameter", addr, 1, true, func() {
						time.Sleep(time.Second)
						w.unassign(w.nodes[1], addr)
						if test.moves {
							w.assign(w.nodes[2], addr)
						}
						if want = test.writes(w); want != "" {
							w.put(w.name(w.subnet, addr), want)
						}
					})
					l, _ := w.yes(Repair, test.code)
					w.cloud.Fault(nil)
					if test.moves && want == "" {
						w.expectRecord(addr, w.nodes[2])
						return
					}
					if got := w.parameter(w.name(w.subnet, addr)); got != want || len(l.Steps) != 1 {
						t.Errorf("the record is %q, want %q\n%+v", got, want, l.Steps)
					}
				})
			})
		}
	}
}
