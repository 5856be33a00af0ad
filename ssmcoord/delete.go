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
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// errChanged ends the SDK's attempts at a deletion.
var errChanged = errors.New("the record was replaced meanwhile")

// Delete removes the record of a. It is no error if there is none. DeleteParameter knows no
// conditions: the caller has just read whose record it is.
//
// The SDK repeats an attempt that was throttled, perhaps for minutes, or whose answer was lost.
// Meanwhile another node may have written the record. So Delete reads the record before each
// repetition, and gives up if still returns false for it. After an attempt of unknown outcome it
// first waits for ReadLag: an earlier read may show the record as it was before the attempt, or
// even before it was written.
//
// still is nil if nobody else can have written the record, because EC2 has the address on the
// caller's ENI.
//
// deleted is false if nothing was removed, as far as Delete can know.
func (l *Ledger) Delete(ctx context.Context, a netip.Addr, still func(Entry) bool) (deleted bool, err error) {
	perhaps := false
	look := func(ctx context.Context, unknown bool) error {
		if unknown {
			perhaps = true
			if err := pause.Sleep(ctx, ReadLag); err != nil {
				return err
			}
		}
		e, err := l.ReadOne(ctx, a)
		if err == nil && (!still(e) || unknown && e.State == Absent) {
			err = errChanged
		}
		return err
	}
	var options []func(*ssm.Options)
	if still != nil {
		options = append(options, beforeRepeating(look))
	}
	_, err = l.api.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String(l.Name(a))}, options...)
	missing := (*types.ParameterNotFound)(nil)
	switch {
	case errors.As(err, &missing):
		return perhaps, nil
	case errors.Is(err, errChanged):
		return perhaps, nil
	case err != nil:
		return false, fmt.Errorf("deleting the record %s: %w", l.Name(a), err)
	}
	return true, nil
}

// beforeRepeating calls look before each attempt but the first. unknown says that the outcome of
// the attempt before is unknown. An error of look ends the attempts.
func beforeRepeating(look func(ctx context.Context, unknown bool) error) func(*ssm.Options) {
	return func(o *ssm.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			again, unknown := false, false
			attempt := func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
				if again {
					if err := look(ctx, unknown); err != nil {
						return middleware.FinalizeOutput{}, middleware.Metadata{}, err
					}
				}
				out, meta, err := next.HandleFinalize(ctx, in)
				again, unknown = true, err != nil && !refused(err)
				return out, meta, err
			}
			return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("LookBeforeRepeating", attempt), "Retry", middleware.After)
		})
	}
}

// refused reports whether the service answered that it did not do what was asked. An answer without
// a code of AWS is that of a middlebox, which may have lost the service's own.
func refused(err error) bool {
	var r *smithyhttp.ResponseError
	api := smithy.APIError(nil)
	return errors.As(err, &r) && errors.As(err, &api) && r.HTTPStatusCode() >= http.StatusBadRequest && r.HTTPStatusCode() < http.StatusInternalServerError
}
