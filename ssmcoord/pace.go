package ssmcoord

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// EC2's quota for AssignPrivateIpAddresses in an account and region: 100 calls at once, then 5 a
// second. https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
const (
	assignBurst = 100
	assignRate  = 5
)

// share is the part of a quota that a launch uses for its first attempts. Calls arrive with jitter.
// If a launch used the whole quota, a call that comes too early would be throttled, be repeated,
// and delay others.
const share = 0.95

// launchSpan is the longest time between EC2's starts of instances of one launch: members that were
// started further apart need no room for each other. EMR gives a fleet at least this time to start:
// https://docs.aws.amazon.com/emr/latest/APIReference/API_SpotProvisioningSpecification.html
const launchSpan = 5 * time.Minute

// After a refusal a node waits up to refusedSpread, the time in which EC2 admits assignRate calls,
// so that nodes which met at one address do not meet at the next one. A longer wait than paceTold
// is reported, since an operator who reads along notices it.
const (
	refusedSpread = time.Second
	paceTold      = 2 * time.Second
)

// slot returns how long after its start a node makes its call, so that burst nodes call at once,
// and the others at the rate, each at its turn.
func slot(turn int, burst, rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(max(0, float64(turn)+1-burst*share) / (rate * share) * float64(time.Second))
}

// pace waits for the node's turn to ask EC2 for an address. A launch of up to about a hundred nodes
// waits for nothing.
func (c *Coordinator) pace(ctx context.Context) error {
	due := c.began.Add(slot(c.turn, assignBurst, assignRate))
	return c.waitFor(ctx, due, fmt.Sprintf("%d nodes of the launch ask EC2 first", c.turn))
}

// recordTurn returns how long after its start the node writes its record. Parameter Store admits
// PutRate calls a second, and, since AWS publishes no burst, as many at once.
func (c *Coordinator) recordTurn(p Plan) time.Duration {
	if p.Kept {
		return 0 // no launch
	}
	return slot(c.turn, c.PutRate, c.PutRate)
}

// waitFor waits until due, but for at most two thirds of the time that is left: the deadline
// matters more than the turn.
func (c *Coordinator) waitFor(ctx context.Context, due time.Time, why string) error {
	d := time.Until(due)
	if deadline, ok := ctx.Deadline(); ok {
		d = min(d, time.Until(deadline)*2/3)
	}
	if d <= 0 {
		return nil
	}
	if d > paceTold {
		c.notify(EventPacing, netip.Addr{}, false, "%s: waiting %s", why, d.Round(100*time.Millisecond))
	}
	return pause.Sleep(ctx, d)
}
