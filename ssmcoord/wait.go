package ssmcoord

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// HeldAddress is one address of the pool in an ExhaustedError.
type HeldAddress struct {
	Addr    netip.Addr
	Reason  string    // in words
	Cluster string    // of the record's owner, where known
	Since   time.Time // when the claim was made; zero: no record
}

// ExhaustedError says that living owners have all addresses of the pool.
type ExhaustedError struct {
	Role      string
	Addresses []HeldAddress
	Waited    time.Duration
	Cause     error // why the waiting ended, and what kept the list from being complete
	now       time.Time
}

func (e *ExhaustedError) Unwrap() error { return e.Cause }

func (e *ExhaustedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "no free address among the %d%s after waiting %s:", len(e.Addresses), forRole(e.Role), e.Waited.Round(time.Second))
	for _, a := range e.Addresses {
		fmt.Fprintf(&b, "\n  %-15s %s", a.Addr, a.Reason)
		if a.Cluster != "" && !strings.Contains(a.Reason, a.Cluster) {
			fmt.Fprintf(&b, ", cluster %s", a.Cluster)
		}
		if !a.Since.IsZero() {
			fmt.Fprintf(&b, ", for %s", max(0, e.now.Sub(a.Since)).Round(time.Second))
		}
	}
	return b.String()
}

// reserve is ctx with an earlier deadline. It leaves time to find out and to say who holds the
// addresses: a tenth of what is left, waitMost at most.
func reserve(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-min(time.Until(deadline)/10, waitMost)))
}

// wait sleeps before the next round. It says for whom, if that has changed.
func (c *Coordinator) wait(ctx context.Context, round int) error {
	if line := c.waitingFor(); line != c.waited {
		c.waited = line
		until := ""
		if deadline, ok := ctx.Deadline(); ok {
			until = fmt.Sprintf(" (at most %s more)", time.Until(deadline).Round(time.Second))
		}
		c.notify(EventWaiting, netip.Addr{}, false, "%s%s", line, until)
	}
	d := min(waitFirst<<min(round, 10), waitMost)
	return pause.Sleep(ctx, pause.Jitter(c.Rand, d))
}

// waitingFor returns the progress line: the first few addresses of the pool, with their holders.
func (c *Coordinator) waitingFor() string {
	const named = 3
	pool := c.Pools[c.Self.Role]
	var parts []string
	for _, a := range pool {
		if reason := c.of(a).skipped; reason != "" && len(parts) < named {
			parts = append(parts, a.String()+" "+reason)
		}
	}
	all := fmt.Sprintf("all %d addresses%s are", len(pool), forRole(c.Self.Role))
	if len(pool) == 1 {
		all = fmt.Sprintf("the only address%s is", forRole(c.Self.Role))
	}
	line := fmt.Sprintf("%s taken: %s", all, strings.Join(parts, "; "))
	if more := len(pool) - len(parts); more > 0 {
		line += fmt.Sprintf("; and %d more", more)
	}
	return line
}

// forRole names the role of a pool in messages. An instance outside EMR has none.
func forRole(role string) string {
	if role == "" {
		return ""
	}
	return " for role " + role
}

// ErrOutOfTime says that the time for finding an address was over before every address had been
// looked at: AWS did not answer as it should.
var ErrOutOfTime = errors.New("the time for finding an address ran out")

// ended turns the end of the search into the error for the operator. Only if the search's own
// deadline came after a scan that saw every address taken, the pool is exhausted.
func (c *Coordinator) ended(ctx, search context.Context, err error) error {
	if err == nil || ctx.Err() != nil || !errors.Is(search.Err(), context.DeadlineExceeded) {
		return err
	}
	if !c.exhausted {
		return errors.Join(err, ErrOutOfTime)
	}
	pool := c.Pools[c.Self.Role]
	entries, readErr := c.Ledger.Read(ctx, pool)
	holders, holdErr := c.EC2.Holders(ctx, pool)
	return c.taken(entries, holders, errors.Join(err, readErr, holdErr))
}

// taken returns the error that says who has each address of the pool.
func (c *Coordinator) taken(entries map[netip.Addr]Entry, holders map[netip.Addr]Holder, cause error) error {
	e := &ExhaustedError{Role: c.Self.Role, Waited: time.Since(c.began), now: c.Ledger.Now(), Cause: cause}
	for _, a := range c.Pools[c.Self.Role] {
		held := HeldAddress{Addr: a, Reason: c.of(a).skipped}
		if entry := entries[a]; entry.State == Claimed {
			held.Cluster, held.Since = entry.Record.Cluster, entry.Modified
		}
		if h, ok := holders[a]; ok && (c.besideSelf(h) || !strings.Contains(held.Reason, h.ENI)) {
			held.Reason = c.inUse(h, a)
		}
		e.Addresses = append(e.Addresses, held)
	}
	return e
}
