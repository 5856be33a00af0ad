package ec2

import (
	"context"
	"errors"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// Explain gives an error of work with this session its exit code and its remedy. If the work was cut
// short because its time was over, the error names the call that was tried in vain.
func (s *Session) Explain(ctx context.Context, err error, at iam.Place) error {
	if err == nil || exit.HasCode(err) {
		return err
	}
	if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) && !errors.Is(err, ssmcoord.ErrOutOfTime) {
		return ExplainAt(err, at)
	}
	// The SDK reports only that it was cancelled.
	pending := s.Tally.Pending()
	if service, asked := s.Tally.Silent(); service != "" && (pending != nil || asked > DialTimeout) {
		return ExplainAt(&UnreachableError{Service: service, Err: errors.Join(pending, err)}, iam.Place{Region: at.Region, Prefix: at.Prefix})
	}
	return exit.With(exit.Deadline, errors.Join(err, pending), "run again; what was done stays and is continued. A longer --timeout helps where AWS throttles")
}
