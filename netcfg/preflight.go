package netcfg

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// Preflight reports everything that would keep Ensure from working, before anything is changed
// anywhere: too many networks, a primary IP that is not on the primary interface, a candidate that
// is on another link or has a peer, a backend that cannot be used, rules that the kernel refuses
// because it lacks a module. It plans each candidate as c.Static, so that c.Static may be unknown.
//
// With try the kernel also checks the rules, in a transaction that it throws away. The legacy
// variant of iptables makes the nat table for that. Without try nothing is made.
func Preflight(ctx context.Context, k Kernel, c Config, candidates []netip.Addr, try bool) error {
	o, err := k.Observe(ctx, c.MAC)
	if err != nil {
		return err
	}
	var errs []error
	said := map[string]bool{} // what is wrong with the node is wrong for every candidate
	var rules *SetRules
	for _, a := range candidates {
		c.Static, c.Former = a, nil
		var problems []error
		if err := c.Validate(); err != nil {
			problems = append(problems, err)
		} else {
			problems = o.obstacles(c.Primary, a)
		}
		for _, p := range problems {
			if !said[p.Error()] {
				said[p.Error()] = true
				errs = append(errs, p)
			}
		}
		if len(problems) == 0 && rules == nil {
			rules = &SetRules{o.Backend, o.Rules, c.Desired(o.Link.Name).For(o.Backend)}
		}
	}
	if len(candidates) == 0 {
		errs = append(errs, errors.New("no static IP is known that could be checked"))
	}
	if err := errors.Join(errs...); err != nil || rules == nil || !try || len(rules.Differences()) == 0 {
		return err
	}
	if err := k.Try(ctx, *rules); err != nil {
		return fmt.Errorf("checking the %s rules before anything is changed: %w", rules.Backend, err)
	}
	return nil
}
