package ssmcoord

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// errChanged ends the SDK's attempts at a deletion whose record is not the one any more that was to be deleted.
var errChanged = errors.New("the record is another one by now")

// Deletion is what became of a deletion.
type Deletion int

// NotDeleted: the record was another one before the deletion could take place. DeletedPerhaps: an attempt whose outcome is not known may have removed the
// record, or one that was written since.
const (
	Deleted Deletion = iota
	DeletedPerhaps
	NotDeleted
)

// lookAgain is how old a look at a record may be when an attempt to delete it is made.
const lookAgain = 2 * time.Second

// Delete removes the record of a; one that is not there is fine. DeleteParameter knows no conditions: the caller has read right before whose record it is.
//
// The SDK repeats a call whose answer was lost. The first attempt may have removed the record then, and another node written its own. It also repeats one
// that was throttled, perhaps for minutes. So the record is read again before it is repeated, and nothing more is done where still does not hold for it.
func (l *Ledger) Delete(ctx context.Context, a netip.Addr, still func(Entry) bool) (Deletion, error) {
	d := Deleted
	look := func(ctx context.Context, unknown bool) error {
		accept := still // a read that contradicts the caller's may be older than the record
		if unknown {
			d = DeletedPerhaps
			// A read that shows what was to be deleted may be older than the attempt.
			accept = func(e Entry) bool { return !still(e) }
		}
		e, err := l.readSettled(ctx, a, accept)
		if err == nil && !still(e) {
			err = errChanged
		}
		return err
	}
	_, err := l.api.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String(l.Name(a))}, beforeRepeating(look))
	missing := (*types.ParameterNotFound)(nil)
	switch {
	case err == nil, errors.As(err, &missing):
		return d, nil
	case errors.Is(err, errChanged) && d == DeletedPerhaps:
		return d, nil
	case errors.Is(err, errChanged):
		return NotDeleted, nil
	}
	return d, fmt.Errorf("deleting the claim %s: %w", l.Name(a), err)
}

// beforeRepeating calls look before each attempt that follows one whose outcome is not known, and before each one that comes later than lookAgain after
// the last look. An error of it ends the attempts.
func beforeRepeating(look func(ctx context.Context, unknown bool) error) func(*ssm.Options) {
	return func(o *ssm.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			unknown, looked := false, time.Now()
			attempt := func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
				if unknown || time.Since(looked) > lookAgain {
					if err := look(ctx, unknown); err != nil {
						return middleware.FinalizeOutput{}, middleware.Metadata{}, err
					}
					looked = time.Now()
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
