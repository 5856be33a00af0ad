package netcfg_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// faulty is a kernel whose n-th Apply (from 0) goes wrong, before or after its effect; n < 0: every
// one.
type faulty struct {
	netcfg.Kernel
	n, calls int
	after    bool
	err      error
}

func (f *faulty) Apply(ctx context.Context, c netcfg.Change) error {
	hit := f.n < 0 || f.calls == f.n
	f.calls++
	if hit && !f.after {
		return f.err
	}
	err := f.Kernel.Apply(ctx, c)
	if hit {
		return f.err
	}
	return err
}

// A change that fails once, with or without its effect, is looked at again and made up for.
func TestEnsureAfterFaults(t *testing.T) {
	for n := range 3 {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("change %d, after its effect %v", n, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := memoryNode()
					m.add("eth0", netip.PrefixFrom(former, 32))
					c := config()
					c.Former = []netip.Addr{former}
					k := &faulty{Kernel: m.Kernel, n: n, after: after, err: errors.New("lost")}
					if _, err := netcfg.Ensure(t.Context(), k, c, nil); err != nil {
						t.Fatal(err)
					}
					m.ensure(t, c, 0)
					k.calls, k.n = 0, n
					if _, err := netcfg.Remove(t.Context(), k, mac, []netip.Addr{static, former}, nil); err != nil {
						t.Fatal(err)
					}
					m.removeAll(t, 0, static, former)
				})
			})
		}
	}
}

func TestEnsureGivesUp(t *testing.T) {
	messages := golden.Open(t, "gives-up.txt")
	broken := errors.New("broken")
	cases := []struct {
		name string
		err  error // what Apply says
		want []error

		calls int
	}{
		{"it always fails", broken, []error{broken, netcfg.ErrNotConverged}, 8},
		{"it says that it did, and did not", nil, []error{netcfg.ErrNotConverged}, 16},
		{"the lock is busy", fmt.Errorf("waiting: %w", netcfg.ErrBusy), []error{netcfg.ErrBusy}, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &faulty{Kernel: memoryNode().Kernel, n: -1, err: c.err}
				_, err := netcfg.Ensure(t.Context(), k, config(), nil)
				for _, want := range c.want {
					if !errors.Is(err, want) {
						t.Errorf("error %v, want %v", err, want)
					}
				}
				if err == nil || k.calls != c.calls {
					t.Fatalf("after %d calls (want %d): %v", k.calls, c.calls, err)
				}
				messages.Is(t, c.name, err.Error())
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		k := &faulty{Kernel: memoryNode().Kernel, n: -1, err: broken}
		if _, err := netcfg.Ensure(ctx, k, config(), nil); !errors.Is(err, broken) || !errors.Is(err, context.DeadlineExceeded) || k.calls != 3 {
			t.Errorf("with a deadline, after %d calls: %v", k.calls, err)
		}
	})
}

// blind is a kernel that cannot be read.
type blind struct{ netcfg.Kernel }

func (blind) Observe(context.Context, net.HardwareAddr, ...netip.Addr) (netcfg.Observed, error) {
	return netcfg.Observed{}, errors.New("cannot be read")
}

func TestUnreadableIsNotEmpty(t *testing.T) {
	m := memoryNode()
	m.ensure(t, config(), 2)
	for _, f := range []func() (netcfg.Result, error){
		func() (netcfg.Result, error) { return netcfg.Ensure(t.Context(), blind{m}, config(), nil) },
		func() (netcfg.Result, error) {
			return netcfg.Remove(t.Context(), blind{m}, mac, []netip.Addr{static}, nil)
		},
	} {
		if r, err := f(); err == nil || len(r.Changes) > 0 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	m.ensure(t, config(), 0)
}
