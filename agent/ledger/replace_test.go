package ledger

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	cloudiam "github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// tagsDemanded denies every PutParameter without the tag team.
const tagsDemanded = `{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}, {"Effect": "Deny", "Action": "ssm:PutParameter",
	"Resource": "*", "Condition": {"Null": {"aws:RequestTag/team": "true"}}}]}`

// TestLedgerRepairLosesNoRecord lets the address move to another node, which writes its record, at
// each step of a repair with tags. Where a policy demands tags in each PutParameter, the repair has
// to delete a record before it can write it. In the end the record names the node that has the
// address.
func TestLedgerRepairLosesNoRecord(t *testing.T) {
	const addr = "10.0.1.20"
	policy, err := cloudiam.ParsePolicy([]byte(tagsDemanded))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, action, params string
		after                bool
		wait                 time.Duration
		records              bool // the other node writes its record
	}{
		{"nothing moves", "", "", false, 0, false},
		{"before the tags", "AddTagsToResource", "", false, 0, true},
		{"after the tags", "AddTagsToResource", "", true, 0, true},
		{"before the record is overwritten", "PutParameter", "Overwrite=true", false, 0, true},
		{"right before the deletion", "DeleteParameter", "", false, 0, true},
		{"right before the deletion, no record yet", "DeleteParameter", "", false, 0, false},
		{"right after the deletion", "DeleteParameter", "", true, 0, true},
		{"while the repair waits", "DeleteParameter", "", true, 20 * time.Second, true},
		{"while the repair waits, no record yet", "DeleteParameter", "", true, 20 * time.Second, false},
		{"right before the creation", "PutParameter", "Overwrite=false", false, 40 * time.Second, true},
	} {
		for _, demanded := range []bool{true, false} {
			name := test.name + ", tags demanded of new parameters"
			if demanded {
				name = test.name + ", tags always demanded"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					others := true // the other side writes
					o := cloud.Options{Authorize: func(r cloud.AccessRequest) error {
						if others || !demanded {
							return nil
						}
						return cloudiam.Policies{policy}.Authorize(r)
					}}
					w := newLedgerWorld(t, o)
					w.put(w.name(w.subnet, addr), "blank")
					w.assign(w.nodes[1], addr)
					time.Sleep(time.Hour)
					others = false
					holder, moved := w.nodes[1], false
					start := time.Now()
					move := func() {
						if moved {
							return
						}
						moved, others, holder = true, true, w.nodes[2]
						w.unassign(w.nodes[1], addr)
						w.assign(w.nodes[2], addr)
						if test.records {
							w.put(w.name(w.subnet, addr), recordOf(w.nodes[2]))
						}
						others = false
					}
					w.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
						late := test.wait == 40*time.Second && time.Since(start) < ssmcoord.RecreateAfter
						if moved || others || late || c.Action != test.action || !strings.Contains(c.Params, test.params) {
							return cloud.FaultAction{}
						}
						if !test.after {
							move()
							return cloud.FaultAction{}
						}
						return cloud.FaultAction{Then: func() {
							if test.wait > 0 {
								go func() { time.Sleep(test.wait); move() }()
								return
							}
							move()
						}}
					})
					w.cfg.ClaimTags = []ssmcoord.Tag{{Key: "team", Value: "data"}}
					w.cfg.Yes = true
					l, err := Run(t.Context(), Repair, w.cfg, w.env)
					if err != nil {
						t.Error(err)
					}
					w.cloud.Fault(nil)
					w.expectRecord(addr, holder)
					if done := len(l.Steps) == 1 && l.Steps[0].Outcome == "done"; test.action == "" && !done {
						t.Errorf("%+v", l.Steps)
					}
				})
			})
		}
	}
}

// TestLedgerRepairInterrupted ends a repair while a deleted name may not be created again. The
// error says that the record is missing, and how to write it.
func TestLedgerRepairInterrupted(t *testing.T) {
	policy, err := cloudiam.ParsePolicy([]byte(tagsDemanded))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		active := false
		w := newLedgerWorld(t, cloud.Options{Authorize: func(r cloud.AccessRequest) error {
			if !active {
				return nil
			}
			return cloudiam.Policies{policy}.Authorize(r)
		}})
		w.put(w.name(w.subnet, "10.0.1.20"), "blank")
		w.assign(w.nodes[1], "10.0.1.20")
		time.Sleep(time.Hour)
		active = true
		w.cfg.ClaimTags, w.cfg.Yes = []ssmcoord.Tag{{Key: "team", Value: "data"}}, true
		ctx, cancel := context.WithTimeout(t.Context(), ssmcoord.RecreateAfter/2)
		defer cancel()
		_, err := Run(ctx, Repair, w.cfg, w.env)
		for _, want := range []string{"emr-static-ip ledger repair", w.subnet + " 10.0.1.20"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v lacks %q", err, want)
			}
		}
		time.Sleep(ssmcoord.RecreateAfter)
		w.cfg.Pools.Core = netiptest.Addrs("10.0.1.20")
		w.yes(Repair, exit.OK)
		w.expectRecord("10.0.1.20", w.nodes[1])
	})
}
