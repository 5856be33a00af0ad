package doctor

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// TestTracking checks what doctor says of rules that keep traffic from connection tracking.
func TestTracking(t *testing.T) {
	rule := netcfg.Untracking{Where: "table ip raw chain OUTPUT", Rule: "a notrack rule (handle 3)"}
	certain := rule
	certain.Sure = true
	messages := golden.Open(t, "tracking.txt")
	for _, test := range []struct {
		name   string
		err    error
		rules  []netcfg.Untracking
		result string
		code   exit.Code
	}{
		{"none", nil, nil, "", exit.OK},
		{"certain", nil, []netcfg.Untracking{certain}, resultFailed, exit.Drifted},
		{"perhaps", nil, []netcfg.Untracking{rule}, resultOK, exit.OK},
		{"unreadable", errors.New("reading table raw: no"), nil, resultUnknown, exit.OK},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, _ := newNode(t, cloud.Options{VerifyInProcess: true})
				n.apply()
				time.Sleep(2 * time.Minute)
				n.Kernel.SetUntracked(test.err, test.rules...)
				d := n.doctor()
				if test.result == "" {
					for _, f := range d.Findings {
						if f.Check == "tracking" {
							t.Errorf("%+v", f)
						}
					}
				} else {
					expect(t, d, "tracking", test.result)
					messages.Is(t, test.name, said(d, "tracking"))
				}
				if d.ExitCode() != test.code {
					t.Errorf("exit code %d, want %d", d.ExitCode(), test.code)
				}
			})
		})
	}
}
