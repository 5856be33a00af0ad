package ec2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go/middleware"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// Assign asks EC2 for addr as a secondary private IP of the primary ENI, never with reassignment.
//
// Success of a first attempt proves that no other ENI has the address. Success of a repeated
// attempt is confirmed by looking, since the answer may be about an earlier state.
//
// EC2 reports success if the ENI has the address already (not verified on AWS). So a refusal is
// compared with what EC2 shows: see whose. perhaps says that an earlier run may have got the
// address.
func (a *Node) Assign(ctx context.Context, addr netip.Addr, perhaps bool) error {
	for {
		repeated := false
		_, err := a.API.AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{
			NetworkInterfaceId: aws.String(a.ID.ENI),
			PrivateIpAddresses: []string{addr.String()},
			AllowReassignment:  aws.Bool(false),
		}, noting(&repeated))
		if err != nil {
			return a.refusal(ctx, addr, perhaps, repeated, err)
		}
		if !repeated {
			return nil
		}
		shown, err := a.Shows(ctx, addr, true, ssmcoord.DescribeLag)
		if shown || err != nil {
			return err
		}
	}
}

// refusal returns what an error of AssignPrivateIpAddresses means. It returns nil if the ENI has
// the address.
func (a *Node) refusal(ctx context.Context, addr netip.Addr, perhaps, repeated bool, err error) error {
	failed := fmt.Errorf("assigning %s to %s: %w", addr, a.ID.ENI, err)
	switch {
	case IsPermission(err), ctx.Err() != nil: // EC2 cannot be asked any more
		return failed
	case isBadAddress(err):
		return &ssmcoord.ImpossibleError{Err: exit.With(exit.Usage, failed, "take the address out of the list: EC2 will never give it")}
	}
	own, h, lookErr := a.whose(ctx, addr, perhaps, repeated)
	switch {
	case IsPermission(lookErr):
		return lookErr
	case lookErr != nil:
		return errors.Join(failed, lookErr)
	case own:
		return nil
	case isHeldElsewhere(err), h.ENI != "", isOfAddress(err, addr), isUnknownRefusal(err):
		refused := &ssmcoord.RefusedError{Addr: addr, Holder: h, Text: text.Clean(ErrorMessage(err), text.MaxQuoted), Repeated: repeated}
		if h.ENI == "" && !isHeldElsewhere(err) && !isOfAddress(err, addr) {
			refused.Code = ErrorCode(err)
			refused.Every = exit.With(exit.Internal, failed, "EC2 refuses other addresses with this code too, which is not one of those that this program knows: "+
				"look it up at https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html, and ask AWS Support with the time of the call")
		}
		return refused
	case isENIFull(err):
		return &ssmcoord.ImpossibleError{Err: exit.With(exit.Usage, failed, "the network interface has as many addresses as its instance type "+
			text.Quote(a.ID.InstanceType)+" allows: use a larger type, or unassign one that nobody needs")}
	}
	return failed
}

// noting sets repeated if the SDK repeats a call and an earlier attempt may have had its effect.
func noting(repeated *bool) func(*ec2.Options) {
	return func(o *ec2.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			unknown := false
			note := func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
				*repeated = unknown
				out, meta, err := next.HandleFinalize(ctx, in)
				unknown = unknown || err != nil && !isThrottleCode(ErrorCode(err))
				return out, meta, err
			}
			return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("NoteRepetition", note), "Retry", middleware.After)
		})
	}
}

// unanswered sets pending if an attempt of the call got no refusal from EC2, so that it may still
// have its effect later.
func unanswered(pending *bool) func(*ec2.Options) {
	return func(o *ec2.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			note := func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
				out, meta, err := next.HandleFinalize(ctx, in)
				if err != nil && !isThrottleCode(ErrorCode(err)) && (ErrorCode(err) == "" || !HasStatus(err, http.StatusBadRequest) && !HasStatus(err, http.StatusForbidden)) {
					*pending = true
				}
				return out, meta, err
			}
			return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("NoteUnanswered", note), "Retry", middleware.After)
		})
	}
}

// whose returns who has an address that EC2 would not assign: this node's own ENI, or the holder,
// which is empty if EC2 shows none. One look is enough where the own ENI cannot have it.
//
// Where an earlier run may have got it, another ENI is believed at once, and nobody only when
// describe calls cannot be late any more. So is the own ENI: it may have lost the address since.
// Where an earlier attempt may have got it, describe calls may still show who had it before, so
// that another ENI is not believed any sooner either.
func (a *Node) whose(ctx context.Context, addr netip.Addr, perhaps, repeated bool) (own bool, h ssmcoord.Holder, err error) {
	began := time.Now()
	done, err := pause.Poll(ctx, a.backoff(), func() (done bool, err error) {
		holders, err := a.Holders(ctx, []netip.Addr{addr})
		if err != nil {
			return true, err
		}
		h = holders[addr]
		own = h.ENI == a.ID.ENI
		certain := !repeated && !own && (!perhaps || h.ENI != "")
		return certain || time.Since(began) > ssmcoord.DescribeLag, nil
	})
	switch {
	case !done:
		return false, h, fmt.Errorf("finding out who holds %s: %w", addr, err)
	case err != nil:
		return false, ssmcoord.Holder{}, err
	}
	return own, h, nil
}

// Shows waits until the primary ENI has addr (wanted true) or lacks it, for within at most, and
// returns what it saw last.
func (a *Node) Shows(ctx context.Context, addr netip.Addr, wanted bool, within time.Duration) (shown bool, err error) {
	began := time.Now()
	done, err := pause.Poll(ctx, a.backoff(), func() (done bool, err error) {
		own, err := a.Own(ctx)
		shown = slices.Contains(own, addr)
		return err != nil || shown == wanted || time.Since(began) > within, err
	})
	switch {
	case !done:
		return false, fmt.Errorf("looking for %s on %s: %w", addr, a.ID.ENI, err)
	case err != nil:
		return false, err
	}
	return shown, nil
}

// Unassign takes addr from the primary ENI. It returns false if the ENI did not have it. An error
// counts only if EC2 goes on showing the address, since the answer to an earlier attempt may have
// been lost.
func (a *Node) Unassign(ctx context.Context, addr netip.Addr) (bool, error) {
	_, err := a.API.UnassignPrivateIpAddresses(ctx, &ec2.UnassignPrivateIpAddressesInput{
		NetworkInterfaceId: aws.String(a.ID.ENI),
		PrivateIpAddresses: []string{addr.String()},
	})
	if err == nil {
		return true, nil
	}
	failed := fmt.Errorf("unassigning %s from %s: %w", addr, a.ID.ENI, err)
	if IsPermission(err) {
		return false, failed
	}
	shown, lookErr := a.Shows(ctx, addr, false, ssmcoord.DescribeLag)
	switch {
	case lookErr != nil:
		return false, errors.Join(failed, lookErr)
	case shown:
		return false, failed
	}
	return false, nil
}
