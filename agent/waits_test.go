package agent

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// logged is a log that a test reads.
func (n *testNode) logged() *bytes.Buffer {
	var b bytes.Buffer
	n.env.Log = NewLogger(&b, "console", false)
	return &b
}

// lines are the entries of a log that contain text, without their times.
func lines(log *bytes.Buffer, text string) (list []string) {
	for line := range strings.Lines(log.String()) {
		if _, entry, _ := strings.Cut(strings.TrimSpace(line), " "); strings.Contains(entry, text) {
			list = append(list, entry)
		}
	}
	return list
}

// A wait is told of in one line a minute, whatever is waited for, and a short one not at all.
func TestWaitsAreTold(t *testing.T) {
	throttle := func(call string, until time.Duration) func(n *testNode) {
		return func(n *testNode) {
			began := time.Now()
			n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
				if c.Key() != call || time.Since(began) > until {
					return cloud.FaultAction{}
				}
				if c.Service == "ec2" {
					return cloud.FaultAction{Kind: cloud.FaultFail, Code: "RequestLimitExceeded", Message: "Request limit exceeded.", Status: 503}
				}
				return cloud.FaultAction{Kind: cloud.FaultFail, Code: "ThrottlingException", Message: "Rate exceeded", Status: 400}
			})
		}
	}
	messages := golden.Open(t, "waits.txt")
	for _, test := range []struct {
		name   string
		change func(n *testNode)
		text   string // what the lines have in common

		want int
	}{
		{"AWS throttles for three minutes", throttle("ssm:PutParameter", 3*time.Minute), "trying,",
			3},
		{"AWS throttles for three seconds", throttle("ssm:PutParameter", 3*time.Second), "trying,", 0},
		{"EC2 throttles", throttle("ec2:AssignPrivateIpAddresses", 90*time.Second), "trying,", 2},
		{"AWS fails", func(n *testNode) {
			began := time.Now()
			n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
				if c.Key() == "ssm:GetParameters" && time.Since(began) < 90*time.Second {
					return cloud.FaultAction{Kind: cloud.FaultFail, Message: "evil\x1b[2J"}
				}
				return cloud.FaultAction{}
			})
		}, "trying,", 2},
		{"IMDS is late", func(n *testNode) {
			n.silent.Store(true)
			time.AfterFunc(100*time.Second, func() { n.silent.Store(false) })
		}, " waiting:", 2},
		{"another run is at work", func(n *testNode) {
			unlock, err := state.Lock(n.t.Context(), n.env.Path(n.cfg.StateDir))
			if err != nil {
				n.t.Fatal(err)
			}
			time.AfterFunc(2*time.Minute, unlock)
		}, " waiting:", 2},
		{"all is in order", func(*testNode) {}, " waiting:", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{})
				log := n.logged()
				test.change(n)
				n.apply()
				got := lines(log, test.text)
				if len(got) != test.want {
					t.Fatalf("%d lines %q, want %d", len(got), got, test.want)
				}
				if test.want > 0 {
					messages.Is(t, test.name, unnumbered(got[0]))
				}
				if all := strings.Split(log.String(), "\n"); len(all) > len(got)+20 {
					t.Errorf("%d lines:\n%s", len(all), log)
				}
			})
		})
	}
}

// A list with one address for a role is the usual one for masters.
func TestWaitForTheOnlyAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		other, err := n.cloud.RunInstance(cloud.InstanceSpec{Subnet: n.SubnetID})
		if err != nil {
			t.Fatal(err)
		}
		n.cfg.Pools.Core = n.cfg.Pools.Core[:1]
		stranger := &testNode{Node: other, t: t, cloud: n.cloud, env: n.env, cfg: n.cfg}
		stranger.env.HTTP = stranger
		stranger.assign(n.cfg.Pools.Core[0])
		log := n.logged()
		n.cfg.Timeout = 5 * time.Minute
		_, err = Apply(t.Context(), n.cfg, n.env)
		if CodeOf(err) != ExitNoAddress {
			t.Fatal(err)
		}
		got := lines(log, " waiting:")
		if len(got) == 0 {
			t.Fatal("no wait is told")
		}
		golden.Is(t, "wait-for-the-only-address.txt", got[0]+"\n")
	})
}

// Nodes that wait for an address, for several minutes, say so once a minute and in one line.
func TestWaitForAddressIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		other, err := n.cloud.RunInstance(cloud.InstanceSpec{Subnet: n.SubnetID})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range n.cfg.Pools.Core {
			stranger := &testNode{Node: other, t: t, cloud: n.cloud, env: n.env, cfg: n.cfg}
			stranger.env.HTTP = stranger
			stranger.assign(a)
		}
		log := n.logged()
		n.cfg.Timeout = 5 * time.Minute
		_, err = Apply(t.Context(), n.cfg, n.env)
		if CodeOf(err) != ExitNoAddress {
			t.Fatal(err)
		}
		got := lines(log, "waiting")
		if len(got) < 4 || len(got) > 6 {
			t.Fatalf("%d lines: %q", len(got), got)
		}
		golden.Is(t, "wait-for-an-address.txt", got[0]+"\n")
	})
}
