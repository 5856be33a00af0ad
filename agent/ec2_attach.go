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
	"github.com/aws/smithy-go/middleware"

	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// Attach assigns addr to the primary ENI as a secondary private IP.
//
// An ENI that has the address already gets success from EC2 (not verified on AWS), so every error is held against what EC2 shows before it counts;
// and what it shows against time, for a describe call may be older than a release of this node and another node's gain. move takes the
// address from the ENI that has it.
func (a *arbiter) Attach(ctx context.Context, addr netip.Addr, move bool) error {
	unsure := false
	_, err := a.api.AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{
		NetworkInterfaceId: aws.String(a.id.ENI),
		PrivateIpAddresses: []string{addr.String()},
		AllowReassignment:  aws.Bool(move),
	}, noting(&unsure))
	if err == nil {
		return nil
	}
	failed := fmt.Errorf("attaching %s to %s: %w", addr, a.id.ENI, err)
	switch {
	case isPermission(err):
		return failed
	case isBadAddress(err):
		return &ssmcoord.ImpossibleError{Err: coded(ExitUsage, failed, "take the address out of the list: EC2 will never give it")}
	}
	own, h, lookErr := a.whose(ctx, addr, unsure)
	switch {
	case lookErr != nil:
		return errors.Join(failed, lookErr)
	case own:
		return nil
	case isHeldElsewhere(err), h.ENI != "": // a refusal in words that are not known here is one if another ENI has the address
		return &ssmcoord.RefusedError{Addr: addr, Holder: h, Text: clean(errorMessage(err), maxQuoted)}
	case isENIFull(err):
		return &ssmcoord.ImpossibleError{Err: coded(ExitUsage, failed, "the network interface has as many addresses as its instance type "+
			quoted(a.id.InstanceType)+" allows: use a larger type, or unassign one that nobody needs")}
	}
	return failed
}

// noting sets unsure where the SDK repeats a call of which an earlier attempt may have had its effect.
func noting(unsure *bool) func(*ec2.Options) {
	return func(o *ec2.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			unknown := false
			note := func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
				*unsure = unknown
				out, meta, err := next.HandleFinalize(ctx, in)
				unknown = unknown || err != nil && !isThrottle(err)
				return out, meta, err
			}
			return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("NoteRepetition", note), "Retry", middleware.After)
		})
	}
}

// whose finds out who has an address that EC2 would not assign: this node's own ENI, or the holder, which is empty where EC2 shows none. Another ENI is
// believed at once, unless the own one is shown beside it, or the refusal is of a repeated attempt: the first may have given the address to this node,
// and a describe call may still show who had it before. The own one, and none, are believed only after lookFor.
func (a *arbiter) whose(ctx context.Context, addr netip.Addr, repeated bool) (own bool, h ssmcoord.Holder, err error) {
	for began, d := time.Now(), confirmPause; ; d = min(2*d, confirmMax) {
		shown, err := a.Own(ctx)
		if err != nil {
			return false, h, err
		}
		holders, err := a.Holders(ctx, []netip.Addr{addr})
		if err != nil {
			return false, h, err
		}
		h = holders[addr]
		own = slices.Contains(shown, addr) || h.ENI == a.id.ENI
		another := h.ENI != "" && h.ENI != a.id.ENI
		switch {
		case another && !own && !repeated, another && time.Since(began) > lookFor:
			return false, h, nil
		case time.Since(began) > lookFor:
			return own, ssmcoord.Holder{}, nil
		}
		if err := pause(ctx, jitter(a.env, d)); err != nil {
			return false, h, fmt.Errorf("finding out who holds %s: %w", addr, err)
		}
	}
}

// Confirm waits until EC2 shows addr on the primary ENI: an accepted assignment is carried out later, and describe calls follow later still. Where it
// goes on showing the address on another ENI, somebody has moved it there meanwhile: that is a *ssmcoord.RefusedError.
func (a *arbiter) Confirm(ctx context.Context, addr netip.Addr) ([]netip.Addr, error) {
	for began, d := time.Now(), confirmPause; ; d = min(2*d, confirmMax) {
		own, err := a.Own(ctx)
		if err != nil {
			return nil, err
		}
		if slices.Contains(own, addr) {
			return own, nil
		}
		if time.Since(began) > confirmDoubt {
			holders, err := a.Holders(ctx, []netip.Addr{addr})
			if err != nil {
				return nil, err
			}
			if h := holders[addr]; h.ENI != "" && h.ENI != a.id.ENI {
				return nil, &ssmcoord.RefusedError{Addr: addr, Holder: h, Text: "it was moved there after EC2 had given it to " + a.id.ENI}
			}
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
