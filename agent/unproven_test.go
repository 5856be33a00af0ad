package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

var errKilled = errors.New("killed by the test")

// killer ends a run before one of its effects. From then on nothing of the run has an effect, as
// after kill -9. To end it after an effect is to end it before the next one.
type killer struct {
	at, count int
	dead      bool
	kill      context.CancelFunc
}

func (k *killer) effect(do func() error) error {
	if k.dead {
		return errKilled
	}
	if k.count++; k.count == k.at {
		k.dead = true
		k.kill()
		return errKilled
	}
	return do()
}

// killedKernel is the node's kernel under a killer.
type killedKernel struct {
	netcfg.Kernel
	killer *killer
}

func (k killedKernel) Observe(ctx context.Context, mac net.HardwareAddr, gone ...netip.Addr) (netcfg.Observed, error) {
	if k.killer.dead {
		return netcfg.Observed{}, errKilled
	}
	return k.Kernel.Observe(ctx, mac, gone...)
}

func (k killedKernel) Apply(ctx context.Context, c netcfg.Change) error {
	return k.killer.effect(func() error { return k.Kernel.Apply(ctx, c) })
}

// killAt does something on the node and ends it at its effect number at; 0: not at all. It returns
// how many effects there were.
func (n *testNode) killAt(at int, do operation) (int, error) {
	n.t.Helper()
	ctx, cancel := context.WithCancel(n.t.Context())
	defer cancel()
	k := &killer{at: at, kill: cancel}
	env := n.env
	env.SaveState = func(dir string, content []byte) error {
		return k.effect(func() error { return state.Write(dir, content) })
	}
	env.OpenKernel = func(context.Context, netcfg.Options) (netcfg.Kernel, error) { return killedKernel{n.kernel, k}, nil }
	env.HTTP = roundTrip(func(req *http.Request) (res *http.Response, err error) {
		if k.dead {
			return nil, errKilled
		}
		action := req.Header.Get("X-Amz-Target")
		if action == "" && req.Method == http.MethodPost {
			action = "ec2"
		}
		if action == "" || strings.Contains(action, ".Get") {
			return n.env.HTTP.RoundTrip(req)
		}
		err = k.effect(func() (err error) {
			res, err = n.env.HTTP.RoundTrip(req)
			return err
		})
		if err != nil {
			res = nil
		}
		return res, err
	})
	_, err := do(ctx, n.cfg, env)
	if k.dead != (at > 0 && k.count >= at) {
		n.t.Errorf("effect %d of %d: dead %t", at, k.count, k.dead)
	}
	return k.count, err
}

// killedEverywhere compares what a run leaves that is killed at each of its effects, and repeated,
// with what an undisturbed one leaves. run takes the number of the effect; 0: it is not killed. It
// returns how many effects there were, and what is left.
func killedEverywhere(t *testing.T, run func(at int) (points int, left string)) {
	t.Helper()
	points, want := run(0)
	for at := 1; at <= points && !t.Failed(); at++ {
		if _, got := run(at); got != want {
			t.Errorf("killed at %d:\n%s\nundisturbed:\n%s", at, got, want)
		}
	}
	t.Logf("%d points", points)
}

// left is what a run has left outside the state file and in it, without times.
func (n *testNode) left() string {
	var b strings.Builder
	for _, p := range n.cloud.Parameters() {
		fmt.Fprintln(&b, "record", p.Name)
	}
	for _, e := range n.cloud.ENIs() {
		if e.ID == n.ENI {
			fmt.Fprintln(&b, "EC2", e.Addresses)
		}
	}
	fmt.Fprintln(&b, "kernel", n.uses(), n.kernel.Rules())
	s := n.state()
	fmt.Fprintln(&b, "state", s.Phase, s.Static, s.Former, s.Intents, s.Unproven, s.Before, s.RecordDue.IsZero())
	return b.String()
}

// launchedWithMany makes the node's turn to write its record so late that the timer writes it.
func (n *testNode) launchedWithMany() {
	n.withSystemd()
	n.cfg.PutRate = 0.01
}

// A run whose endpoint the rules cut off takes back what it did. Killed at any point and run again,
// it ends in the same way.
func TestCutOffAndKilled(t *testing.T) {
	for name, test := range map[string]struct {
		only, unless string
		before       func(*testNode)
		keeps        []netip.Addr
	}{
		"first run, ssm": {only: "ssm."},
		"first run, ec2": {only: "ec2."},
		"first run, all": {},
		"another list, ssm": {only: "ssm.", unless: "10.0.1.21", keeps: []netip.Addr{reviewA21}, before: func(n *testNode) {
			n.apply()
			n.cfg.Pools.Core = []netip.Addr{reviewA22}
		}},
		"another list, ec2": {only: "ec2.", unless: "10.0.1.21", keeps: []netip.Addr{reviewA21}, before: func(n *testNode) {
			n.apply()
			n.cfg.Pools.Core = []netip.Addr{reviewA22}
		}},
		"another list, all": {unless: "10.0.1.21", keeps: []netip.Addr{reviewA21}, before: func(n *testNode) {
			n.apply()
			n.cfg.Pools.Core = []netip.Addr{reviewA22}
		}},
		"first run, ssm, record pending": {only: "ssm.", before: (*testNode).launchedWithMany},
		"another list, ssm, record pending": {only: "ssm.", unless: "10.0.1.21", keeps: []netip.Addr{reviewA21}, before: func(n *testNode) {
			n.apply()
			n.cfg.Pools.Core = []netip.Addr{reviewA22}
			n.launchedWithMany()
		}},
		"after a release, ssm": {only: "ssm.", before: func(n *testNode) {
			n.apply()
			if _, err := Release(n.t.Context(), n.cfg, n.env); err != nil {
				n.t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			run := func(at int) (points int, left string) {
				synctest.Test(t, func(t *testing.T) {
					n := newTestNode(t, cloud.Options{})
					if test.before != nil {
						test.before(n)
						time.Sleep(5 * time.Minute)
					}
					n.env.HTTP = &dropping{testNode: n, only: test.only, unless: test.unless}
					var err error
					if points, err = n.killAt(at, Apply); at > 0 {
						time.Sleep(time.Minute)
						_, err = n.killAt(0, Apply)
					}
					if back := (takenBackError{}); CodeOf(err) != ExitUnreachable || !errors.As(err, &back) || !slices.Equal(n.uses(), test.keeps) {
						t.Errorf("killed at %d: in use %v, code %d, %v", at, n.uses(), CodeOf(err), err)
					}
					left = n.left()
				})
				return points, left
			}
			killedEverywhere(t, run)
		})
	}
}
