package ledger

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/tag"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord/inventory"
)

// TestLedgerRepairCutShort lets a step fail. The repair ends, and still looks again at what it
// wrote. After a signal it does not look again, and says so.
func TestLedgerRepairCutShort(t *testing.T) {
	for _, signal := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newLedgerWorld(t, cloud.Options{})
			for i, addr := range []string{"10.0.1.20", "10.0.1.21"} {
				w.put(w.name(w.subnet, addr), "blank")
				w.assign(w.nodes[1+i], addr)
			}
			time.Sleep(time.Hour)
			ctx, cancel := context.WithCancelCause(t.Context())
			w.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
				switch {
				case c.Key() != "ssm:PutParameter":
				case strings.Contains(c.Params, "10.0.1.20"):
					return cloud.FaultAction{Then: func() { w.unassign(w.nodes[1], "10.0.1.20") }}
				case signal:
					cancel(&exit.SignalError{Signal: syscall.SIGTERM})
				default:
					return cloud.FaultAction{Kind: cloud.FaultFail, Code: "AccessDeniedException", Message: "no", Status: 400}
				}
				return cloud.FaultAction{}
			})
			w.cfg.Yes = true
			l, err := Run(ctx, Repair, w.cfg, w.env)
			if signal {
				if err == nil {
					t.Fatal("a repair that a signal ended returns no error")
				}
				golden.Is(t, "repair-ended-by-signal.txt", err.Error()+"\n")
				return
			}
			if exit.CodeOf(err) != exit.Permission || len(l.Steps) != 1 || l.Steps[0].Outcome != string(inventory.TakenBack) {
				t.Errorf("%v (code %d): %+v", err, exit.CodeOf(err), l.Steps)
			}
			w.expectRecord("10.0.1.20", nil)
		})
	}
}

// TestLedgerRepairTags checks that repair tags the records that it writes.
func TestLedgerRepairTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLedgerWorld(t, cloud.Options{})
		w.put(w.name(w.subnet, "10.0.1.20"), "blank")
		w.assign(w.nodes[1], "10.0.1.20")
		time.Sleep(time.Hour)
		w.cfg.ClaimTags = []tag.Tag{{Key: "team", Value: "data"}}
		w.yes(Repair, exit.OK)
		w.expectRecord("10.0.1.20", w.nodes[1])
		for _, p := range w.cloud.Parameters() {
			if p.Tags["team"] != "data" {
				t.Errorf("%s has the tags %v", p.Name, p.Tags)
			}
		}
	})
}

// TestLedgerOfOne checks the words for a ledger with one address, and that a repair says what it
// waits for: ten seconds without a word look like a program that hangs.
func TestLedgerOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLedgerWorld(t, cloud.Options{})
		core, logged := observer.New(zap.InfoLevel)
		w.env.Log = zap.New(core)
		w.put(w.name(w.subnet, "10.0.1.20"), "blank")
		w.assign(w.nodes[1], "10.0.1.20")
		time.Sleep(time.Hour)
		texts := golden.Open(t, "ledger-of-one.txt")
		_, text := w.run(List, exit.Drifted)
		texts.Is(t, "list before the repair", untimed(text))
		logged.TakeAll()
		w.yes(Repair, exit.OK)
		var log []string
		for _, entry := range logged.All() {
			log = append(log, entry.Message)
		}
		texts.Is(t, "log of the repair", strings.Join(log, "\n"))
		for _, command := range []string{Repair, GC, List} {
			_, text := w.run(command, exit.OK)
			texts.Is(t, command+" after the repair", untimed(text))
		}
	})
}
