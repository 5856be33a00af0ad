package ledger

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	cloudiam "github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
	"github.com/emr-static-ip/emr-static-ip/internal/tag"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// tagsDemanded denies every PutParameter without the tag team.
const tagsDemanded = `{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}, {"Effect": "Deny", "Action": "ssm:PutParameter",
	"Resource": "*", "Condition": {"Null": {"aws:RequestTag/team": "true"}}}]}`

// TestLedgerRepairLosesNoRecord lets the address move to another node, which writes its record, at
// each step of a repair with tags. In the end the record names the node that has the address. Where
// a policy demands tags in each PutParameter, overwriting is denied: the repair deletes nothing and
// says what does it.
func TestLedgerRepairLosesNoRecord(t *testing.T) {
	const addr = "10.0.1.20"
	policy, err := cloudiam.ParsePolicy([]byte(tagsDemanded))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, action, params string
		after                bool
	}{
		{"nothing moves", "", "", false},
		{"before the tags", "AddTagsToResource", "", false},
		{"after the tags", "AddTagsToResource", "", true},
		{"before the record is overwritten", "PutParameter", "Overwrite=true", false},
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
					move := func() {
						if moved {
							return
						}
						moved, others, holder = true, true, w.nodes[2]
						w.unassign(w.nodes[1], addr)
						w.assign(w.nodes[2], addr)
						w.put(w.name(w.subnet, addr), recordOf(w.nodes[2]))
						others = false
					}
					w.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
						if moved || others || c.Action != test.action || !strings.Contains(c.Params, test.params) {
							return cloud.FaultAction{}
						}
						if !test.after {
							move()
							return cloud.FaultAction{}
						}
						return cloud.FaultAction{Then: move}
					})
					w.cfg.ClaimTags = []tag.Tag{{Key: "team", Value: "data"}}
					w.cfg.Yes = true
					l, err := Run(t.Context(), Repair, w.cfg, w.env)
					w.cloud.Fault(nil)
					if demanded {
						denied := (*ssmcoord.OverwriteError)(nil)
						if exit.CodeOf(err) != exit.Permission || !errors.As(err, &denied) || len(exit.Remedies(err)) != 1 {
							t.Errorf("error %v, exit code %d", err, exit.CodeOf(err))
						}
						if want := "blank"; test.action == "" && w.parameter(w.name(w.subnet, addr)) != want {
							t.Errorf("the record is %q, want %q", w.parameter(w.name(w.subnet, addr)), want)
						}
					} else if err != nil {
						t.Error(err)
					}
					if moved || !demanded {
						w.expectRecord(addr, holder)
					}
					if done := len(l.Steps) == 1 && l.Steps[0].Outcome == "done"; test.action == "" && done == demanded {
						t.Errorf("%+v", l.Steps)
					}
				})
			})
		}
	}
}
