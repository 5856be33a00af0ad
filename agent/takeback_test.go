package agent

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
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
					told := strings.Join(append(s.Reasons, n.restore(ExitOK).LeftAlone), "\n")
					if strings.Contains(told, "release was started") || strings.Contains(s.Remedy, "release") || !strings.Contains(told, "a run was interrupted while it took 10.0.1.21 back") {
						t.Errorf("killed at %d: %s; %s", at, told, s.Remedy)
					}
				}
				time.Sleep(time.Minute)
				_, err = n.killAt(0, Apply)
			}
			if CodeOf(err) != ExitPermission || !strings.Contains(err.Error(), "was taken back") {
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
