package cloud

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// These methods change the account as an operator does with the AWS CLI, with the same checks as
// the API and without quotas, policies, latency or faults.

// Move assigns an address to an interface as a secondary address. It takes the address away from
// any other interface that has it as a secondary address (AllowReassignment).
func (c *Cloud) Move(a netip.Addr, eniID string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.settle(now)
	e := c.eniByID[eniID]
	if e == nil || !e.exists(now) {
		return fmt.Errorf("moving %s to %s: no such interface", a, eniID)
	}
	fresh, problem := c.assignable(e, []netip.Addr{a}, true, now)
	if problem != nil {
		return fmt.Errorf("moving %s to %s: %w", a, eniID, problem)
	}
	r := c.nextRand("move")
	for _, a := range fresh {
		shown, imds := c.opts.RemapDelay.draw(r), c.opts.IMDSDelay.draw(r)
		if old := e.subnet.owner[a]; old != nil {
			old.unassign(a, now, shown, imds)
		}
		e.assign(a, now, shown, imds)
	}
	return nil
}

// Unassign takes a secondary address away from the interface that has it.
func (c *Cloud) Unassign(a netip.Addr) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.settle(now)
	for _, e := range c.enis {
		if !e.exists(now) || !slices.Contains(e.held, a) {
			continue
		}
		if e.primary() == a {
			return fmt.Errorf("unassigning %s: it is the primary address of %s", a, e.id)
		}
		r := c.nextRand("unassign")
		e.unassign(a, now, c.opts.RemapDelay.draw(r), c.opts.IMDSDelay.draw(r))
		return nil
	}
	return fmt.Errorf("unassigning %s: no interface has it", a)
}

// SetParameter creates or overwrites a parameter of Parameter Store.
func (c *Cloud) SetParameter(name, value string) error {
	if name == "" || value == "" {
		return errors.New("setting a parameter: a name and a value are needed")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v := version{at: c.now(), value: value, kind: "String", tier: "Standard", number: 1}
	if p := c.params.byName[name]; p != nil && p.newest() != nil {
		v.number = p.newest().number + 1
	}
	c.params.put(name, v)
	return nil
}

// DeleteParameter deletes a parameter and reports whether it existed.
func (c *Cloud) DeleteParameter(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.params.remove(name, "", c.now())
}

// SetClockSkew sets how far the services' clock is ahead of the nodes' clock: see
// [Options.ClockSkew].
func (c *Cloud) SetClockSkew(skew time.Duration) { c.skew.Store(int64(skew)) }

func (c *Cloud) clockSkew() time.Duration { return time.Duration(c.skew.Load()) }
