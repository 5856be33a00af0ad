package netcfg

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

// An interrupted dump is read again, a bounded number of times, and what it gave is never used.
func TestDumpIsReadAgain(t *testing.T) {
	broken := errors.New("broken")
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		name   string
		ctx    context.Context
		errors []error // of the calls; the last one repeats
		calls  int
		want   error
	}{
		{"at once", t.Context(), []error{nil}, 1, nil},
		{"interrupted twice", t.Context(), []error{netlink.ErrDumpInterrupted, syscall.EINTR, nil}, 3, nil},
		{"interrupted for ever", t.Context(), []error{netlink.ErrDumpInterrupted}, nfAttempts, errors.New("any")},
		{"interrupted and cancelled", cancelled, []error{netlink.ErrDumpInterrupted}, 1, context.Canceled},
		{"broken", t.Context(), []error{broken}, 1, broken},
	} {
		calls := 0
		list, err := dump(c.ctx, "links", func() ([]int, error) {
			e := c.errors[min(calls, len(c.errors)-1)]
			calls++
			return []int{calls}, e
		})
		switch {
		case calls != c.calls:
			t.Errorf("%s: %d calls, want %d", c.name, calls, c.calls)
		case c.want == nil && (err != nil || list[0] != c.calls):
			t.Errorf("%s: %v, %v", c.name, list, err)
		case c.want != nil && (err == nil || list != nil || c.want.Error() != "any" && !errors.Is(err, c.want)):
			t.Errorf("%s: %v, %v", c.name, list, err)
		}
	}
}
