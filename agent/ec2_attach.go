package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// Attach assigns addr to the primary ENI as a secondary private IP.
//
// An ENI that has the address already gets success from EC2 (not verified on AWS), so every error is held against what the ENI shows
// before it counts. A refusal counts when EC2 shows the address on another ENI, or on none for a while. move takes it from the ENI that has it.
func (a *arbiter) Attach(ctx context.Context, addr netip.Addr, move bool) error {
	_, err := a.api.AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{
		NetworkInterfaceId: aws.String(a.id.ENI),
		PrivateIpAddresses: []string{addr.String()},
		AllowReassignment:  aws.Bool(move),
	})
	if err == nil {
		return nil
	}
	failed := fmt.Errorf("attaching %s to %s: %w", addr, a.id.ENI, err)
	switch {
	case isPermission(err):
		return failed
	case isBadAddress(err):
		return &ssmcoord.ImpossibleError{Err: coded(ExitUsage, failed, "take the address out of the list: EC2 will never give it")}
	case isHeldElsewhere(err):
		return a.refused(ctx, addr, err)
	}
	// Full, or the outcome is unknown: only the ENI can tell.
	own, lookErr := a.Own(ctx)
	switch {
	case lookErr == nil && slices.Contains(own, addr):
		return nil
	case isENIFull(err):
		return &ssmcoord.ImpossibleError{Err: coded(ExitUsage, failed, "the network interface has as many addresses as its instance type "+
			quoted(a.id.InstanceType)+" allows: use a larger type, or unassign one that nobody needs")}
	case hasResponse(err):
		// A refusal in words that are not known here: if another ENI has the address, it is that.
		if holders, err := a.Holders(ctx, []netip.Addr{addr}); err == nil && holders[addr].ENI != "" && holders[addr].ENI != a.id.ENI {
			return &ssmcoord.RefusedError{Addr: addr, Holder: holders[addr], Text: clean(errorMessage(failed), maxQuoted)}
		}
	}
	return errors.Join(failed, lookErr)
}

// refused finds out who has the address that EC2 would not assign.
func (a *arbiter) refused(ctx context.Context, addr netip.Addr, cause error) error {
	for began, d := time.Now(), confirmPause; ; d = min(2*d, confirmMax) {
		own, err := a.Own(ctx)
		if err != nil {
			return err
		}
		if slices.Contains(own, addr) {
			return nil
		}
		holders, err := a.Holders(ctx, []netip.Addr{addr})
		if err != nil {
			return err
		}
		if h, ok := holders[addr]; ok && h.ENI == a.id.ENI {
			return nil
		} else if ok || time.Since(began) > lookFor {
			return &ssmcoord.RefusedError{Addr: addr, Holder: h, Text: clean(errorMessage(cause), maxQuoted)}
		}
		if err := pause(ctx, jitter(a.env, d)); err != nil {
			return fmt.Errorf("finding out who holds %s: %w", addr, errors.Join(cause, err))
		}
	}
}

// Confirm waits until EC2 shows addr on the primary ENI: an accepted assignment is carried out later, and describe calls follow later still.
func (a *arbiter) Confirm(ctx context.Context, addr netip.Addr) ([]netip.Addr, error) {
	for d := confirmPause; ; d = min(2*d, confirmMax) {
		own, err := a.Own(ctx)
		if err != nil {
			return nil, err
		}
		if slices.Contains(own, addr) {
			return own, nil
		}
		if err := pause(ctx, jitter(a.env, d)); err != nil {
			return nil, fmt.Errorf("waiting for EC2 to show %s on %s, which it had accepted: %w", addr, a.id.ENI, err)
		}
	}
}

// shows looks for a while whether the primary ENI comes to have addr (wanted true) or to be without it, and tells what it shows then.
func (a *arbiter) shows(ctx context.Context, addr netip.Addr, wanted bool) (bool, error) {
	for began, d := time.Now(), confirmPause; ; d = min(2*d, confirmMax) {
		own, err := a.Own(ctx)
		if err != nil {
			return false, err
		}
		shown := slices.Contains(own, addr)
		if shown == wanted || time.Since(began) > lookFor {
			return shown, nil
		}
		if err := pause(ctx, jitter(a.env, d)); err != nil {
			return false, fmt.Errorf("looking for %s on %s: %w", addr, a.id.ENI, err)
		}
	}
}

// Detach takes addr from the primary ENI and returns when EC2 shows it there no more, so that a run that follows at once does not take
// an old answer for the truth. False: it was not there. An error is held against what the ENI shows, for a while: the answer to an earlier
// attempt may have been lost, and describe calls follow later.
func (a *arbiter) Detach(ctx context.Context, addr netip.Addr) (bool, error) {
	_, err := a.api.UnassignPrivateIpAddresses(ctx, &ec2.UnassignPrivateIpAddressesInput{
		NetworkInterfaceId: aws.String(a.id.ENI),
		PrivateIpAddresses: []string{addr.String()},
	})
	var failed error
	if err != nil {
		failed = fmt.Errorf("detaching %s from %s: %w", addr, a.id.ENI, err)
		if isPermission(err) {
			return false, failed
		}
	}
	shown, lookErr := a.shows(ctx, addr, false)
	switch {
	case lookErr != nil:
		return false, errors.Join(failed, lookErr)
	case shown && failed != nil:
		return false, failed
	}
	return failed == nil, nil
}
