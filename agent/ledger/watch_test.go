package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// watching is a running watch.
type watching struct {
	cancel context.CancelFunc
	done   chan struct{}
	text   bytes.Buffer // what it printed; read it after end or synctest.Wait
	prints int
	last   Report
	err    error
}

func (w *ledgerWorld) watch() *watching {
	ctx, cancel := context.WithCancel(w.t.Context())
	o := &watching{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(o.done)
		o.last, o.err = Observe(ctx, w.cfg, w.env, func(l Report) error {
			o.prints++
			return l.Render(&o.text, "text")
		})
	}()
	return o
}

// end interrupts the watch.
func (o *watching) end() { o.cancel(); <-o.done }

// TestWatch follows an address from one owner to the next.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const addr = "10.0.1.20"
		w := newLedgerWorld(t, cloud.Options{Seed: 41, Quotas: cloud.DefaultQuotas(), ShutdownTime: cloud.Exactly(time.Minute)})
		w.put(w.name(w.subnet, "10.0.1.21"), gone("i-0dead1"))
		time.Sleep(time.Hour)
		w.cloud.ForgetCalls()
		o := w.watch()
		for _, step := range []func(){
			func() { time.Sleep(2 * time.Second) }, // so that nothing changes at the time of a look
			func() { w.assign(w.nodes[1], addr) },
			func() { w.put(w.name(w.subnet, addr), recordOf(w.nodes[1])) },
			func() { w.assign(w.nodes[2], addr) },
			func() { w.put(w.name(w.subnet, addr), recordOf(w.nodes[2])) },
			func() { w.cloud.Terminate(w.nodes[2].InstanceID) },
			func() { time.Sleep(time.Minute) },
			func() { w.cloud.DeleteParameter(w.name(w.subnet, addr)) },
			func() { w.put(w.name(w.other, "10.0.2.9"), gone("i-0dead2")) }, // in another subnet
		} {
			time.Sleep(20 * time.Second)
			step()
		}
		time.Sleep(20 * time.Second)
		o.end()
		if o.err != nil || len(o.last.Addresses) != 1 {
			t.Errorf("%v, %+v", o.err, o.last)
		}
		golden.Is(t, "watch.txt", o.text.String())
		reads := 0
		for _, c := range w.cloud.Calls() {
			if c.Throttled() || c.Applied && c.Action != "PutParameter" && c.Action != "AssignPrivateIpAddresses" {
				t.Errorf("%s", c)
			}
			if c.Action == "GetParametersByPath" {
				reads++
			}
		}
		if seconds := 260; reads > seconds/5+1 {
			t.Errorf("%d reads", reads)
		}
	})
}

// TestWatchFails ends with an error that lasts, and goes on after one that passes.
func TestWatchFails(t *testing.T) {
	for _, test := range []struct {
		name  string
		setup func(w *ledgerWorld, deny *string)
		code  exit.Code
	}{
		{"denied at once", func(_ *ledgerWorld, deny *string) { *deny = "ssm:GetParametersByPath" }, exit.Permission},
		{"denied later", func(_ *ledgerWorld, deny *string) { time.Sleep(time.Minute); *deny = "ec2:DescribeNetworkInterfaces" }, exit.Permission},
		{"throttled for a while", func(w *ledgerWorld, _ *string) {
			time.Sleep(time.Minute)
			w.cloud.Drain(cloud.BucketSSMReads, 40)
			w.cloud.Exhaust(cloud.BucketSSMReads)
			time.Sleep(20 * time.Minute)
			w.cloud.Drain(cloud.BucketSSMReads, 0)
			time.Sleep(time.Minute)
			w.put(w.name(w.subnet, "10.0.1.20"), gone("i-0dead1"))
			time.Sleep(time.Minute)
		}, exit.OK},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				deny := ""
				w := newLedgerWorld(t, cloud.Options{Seed: 42, Quotas: cloud.DefaultQuotas(), Authorize: func(r cloud.AccessRequest) error {
					if r.Action == deny {
						return errors.New("by the test")
					}
					return nil
				}})
				o := w.watch()
				test.setup(w, &deny)
				if test.code == exit.OK {
					o.end()
				}
				<-o.done
				if exit.CodeOf(o.err) != test.code || test.code == exit.OK && o.prints == 0 {
					t.Errorf("%v after %d prints, want code %d\n%s", o.err, o.prints, test.code, &o.text)
				}
			})
		})
	}
}

// A reader who goes away ends the watch.
func TestWatchWithoutReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLedgerWorld(t, cloud.Options{Seed: 43})
		broken := errors.New("nobody reads")
		go func() {
			time.Sleep(time.Minute)
			w.put(w.name(w.subnet, "10.0.1.20"), gone("i-0dead1"))
		}()
		if _, err := Observe(t.Context(), w.cfg, w.env, func(Report) error { return broken }); !errors.Is(err, broken) {
			t.Error(err)
		}
	})
}

// TestWatchIsPaced watches a large ledger: two reads a second at most, of 40.
func TestWatchIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLedgerWorld(t, cloud.Options{Seed: 44, Quotas: cloud.DefaultQuotas()})
		for i := range 600 {
			if err := w.cloud.SetParameter(w.name(w.subnet, fmt.Sprintf("10.0.%d.%d", 4+i/200, i%200)), gone("i-0dead1")); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute) // until they are stale
		w.cloud.ForgetCalls()
		o := w.watch()
		const minutes = 10
		time.Sleep(minutes * time.Minute)
		o.end()
		reads := 0
		for _, c := range w.cloud.Calls() {
			if c.Action == "GetParametersByPath" {
				reads++
			}
		}
		if reads > minutes*60*2+61 || reads < minutes*60 || o.prints != 0 {
			t.Errorf("%d reads in %d minutes, %d prints\n%s", reads, minutes, o.prints, strings.TrimSpace(o.text.String()))
		}
	})
}
