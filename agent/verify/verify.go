package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

// verifyTime limits all attempts at one service. EC2 carries out an assignment some time after it
// has accepted it, so the first packets may get no answer.
const verifyTime = 20 * time.Second

// Verify connects to each target. The reached ones are described in notes. The error names every
// target that cannot be reached, with its remedy. If ctx ends, the error is ctx's cause.
func (p Prober) Verify(ctx context.Context, targets []Target) (notes []string, err error) {
	var problems []error
	for _, result := range p.Probe(ctx, targets, verifyTime) {
		if result.Err == nil {
			notes = append(notes, result.String())
			continue
		}
		problems = append(problems, exit.With(exit.Verify, errors.New(result.String()), result.Remedy()))
	}
	switch {
	case len(problems) == 0:
		return notes, nil
	case ctx.Err() != nil:
		return notes, fmt.Errorf("verifying %s: %w", Join(targets), context.Cause(ctx))
	}
	return notes, errors.Join(append(problems, fmt.Errorf("the static IP %s itself is in order: attached and programmed, and it stays so", p.Static))...)
}
