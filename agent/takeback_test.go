package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// A retry that is killed while it takes its address back is no release: the next retry goes on, and
// restore and status do not speak of one.
func TestTakingBackIsNoRelease(t *testing.T) {
	run := func(at int) (points int, left string, releasing bool) {
		synctest.Test(t, func(t *testing.T) {
			n := newTestNode(t, cloud.Options{}).withSystemd()
			n.failing("10.0.1.20", "10.0.1.21", "10.0.1.22")
			n.deny("ssm:PutParameter")
			n.cfg.Retrying = true
			time.Sleep(time.Minute)
			var err error
			if points, err = n.killAt(at, Apply); at > 0 {
				if _, known, _ := state.Load(n.env.Path(n.cfg.StateDir), ""); known && n.state().Phase == PhaseReleasing {
					releasing = true
					s := n.inspect()
					left := n.restore(ExitOK).LeftAlone
					if !slices.Contains(s.Reasons, left) || strings.Contains(s.Remedy, "release") {
						t.Errorf("killed at %d: %q; %s; a restore: %s", at, s.Reasons, s.Remedy, left)
					}
					golden.Is(t, "taking-back.txt", left+"\n")
				}
				time.Sleep(time.Minute)
				_, err = n.killAt(0, Apply)
			}
			if back := (takenBackError{}); CodeOf(err) != ExitPermission || !errors.As(err, &back) {
				t.Errorf("killed at %d: code %d, %v", at, CodeOf(err), err)
			}
			left = n.left()
		})
		return points, left, releasing
	}
	points, want, _ := run(0)
	any := false
	for at := 1; at <= points && !t.Failed(); at++ {
		_, got, releasing := run(at)
		if any = any || releasing; got != want {
			t.Errorf("killed at %d:\n%s\nundisturbed:\n%s", at, got, want)
		}
	}
	if !any && !t.Failed() {
		t.Error("no run was killed while it took the address back")
	}
}
