package ssmcoord

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// errChanged ends the SDK's attempts at a deletion whose record is not the one any more that was to be deleted.
var errChanged = errors.New("the record is another one by now")

// Delete removes the record of a; one that is not there is fine. DeleteParameter knows no conditions: the caller has read whose record it is.
//
// The SDK repeats a call whose answer was lost. The first attempt may have removed the record then, and another node written its own: so before it
// is repeated the record is read again, and the deletion has been done where still does not hold for it. unsure tells that there was such an answer.
func (l *Ledger) Delete(ctx context.Context, a netip.Addr, still func(Entry) bool) (unsure bool, err error) {
	look := func(ctx context.Context) error {
		unsure = true
		// A read that shows what was to be deleted may be older than the attempt.
		e, err := l.readSettled(ctx, a, func(e Entry) bool { return !still(e) })
		if err == nil && !still(e) {
			err = errChanged
		}
		return err
	}
	_, err = l.api.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String(l.Name(a))}, beforeRepeating(look))
	if missing := (*types.ParameterNotFound)(nil); err == nil || errors.Is(err, errChanged) || errors.As(err, &missing) {
		return unsure, nil
	}
	return unsure, fmt.Errorf("deleting the claim %s: %w", l.Name(a), err)
}

// beforeRepeating calls look before each attempt that follows one whose outcome is not known. An error of it ends the attempts.
func beforeRepeating(look func(context.Context) error) func(*ssm.Options) {
	return func(o *ssm.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			unknown := false
			attempt := func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
				if unknown {
					if err := look(ctx); err != nil {
						return middleware.FinalizeOutput{}, middleware.Metadata{}, err
					}
				}
				out, meta, err := next.HandleFinalize(ctx, in)
				unknown = unknown || err != nil && !refused(err)
				return out, meta, err
			}
			return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("LookBeforeRepeating", attempt), "Retry", middleware.After)
		})
	}
}

// refused tells whether the service answered that it did not do what was asked.
func refused(err error) bool {
	var r *smithyhttp.ResponseError
	return errors.As(err, &r) && r.HTTPStatusCode() >= http.StatusBadRequest && r.HTTPStatusCode() < http.StatusInternalServerError
}
