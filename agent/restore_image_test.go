package agent

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// An instance that was started from an image of a node does not write that node's pending record.
func TestPendingRecordOfAnImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.cfg.PutRate = 0.02
		n.apply()
		if n.state().RecordDue.IsZero() {
			t.Fatal("the record is not pending")
		}
		n.editState(func(s map[string]any) { s["instance"], s["record_due"] = "i-0123456789abcdef0", s["written"] })
		rep := n.restore(exit.OK)
		if len(rep.Calls) > 0 || len(n.cloud.Parameters()) > 0 {
			t.Errorf("calls %v, records %v, left alone: %q", rep.Calls, n.cloud.Parameters(), rep.LeftAlone)
		}
		golden.Is(t, "record-of-an-image.txt", n.told(rep.LeftAlone+"\n"))
	})
}

// Programs filter the log of a run by instance, step and address.
func TestLogFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		var b bytes.Buffer
		n.env.Log = NewLogger(&b, "json", false)
		n.apply()
		steps, addressed := map[string]bool{}, 0
		for line := range strings.Lines(b.String()) {
			var entry map[string]string
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if entry["instance"] != n.InstanceID {
				t.Errorf("no instance: %s", line)
			}
			steps[entry["step"]] = true
			if entry["address"] == "10.0.1.21" {
				addressed++
			}
		}
		for _, step := range []string{stepIdentify, stepClaim, stepKernel, stepName} {
			if !steps[step] {
				t.Errorf("no line of the step %s in\n%s", step, &b)
			}
		}
		if addressed < 2 {
			t.Errorf("%d lines have the address\n%s", addressed, &b)
		}
	})
}
