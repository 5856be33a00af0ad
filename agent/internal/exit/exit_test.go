package exit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

func TestCodeOf(t *testing.T) {
	cause := errors.New("cause")
	coded := exit.With(exit.Kernel, cause, "do this")
	for _, test := range []struct {
		err  error
		want exit.Code
	}{
		{nil, exit.OK},
		{cause, exit.Internal},
		{context.DeadlineExceeded, exit.Deadline},
		{fmt.Errorf("outer: %w", coded), exit.Kernel},
		{exit.With(exit.Usage, fmt.Errorf("outer: %w", coded), "do that"), exit.Kernel}, // the innermost
		{exit.Invalid(cause, ""), exit.Usage},
		{exit.With(exit.Usage, nil, ""), exit.OK},
	} {
		if got := exit.CodeOf(test.err); got != test.want {
			t.Errorf("%v: code %d, want %d", test.err, got, test.want)
		}
	}
}

func TestRemedies(t *testing.T) {
	one := exit.With(exit.Kernel, errors.New("one"), "do this")
	two := fmt.Errorf("outer: %w", exit.With(exit.Usage, errors.New("two"), "do that"))
	if got := exit.Remedies(errors.Join(one, two, one)); !slices.Equal(got, []string{"do this", "do that"}) {
		t.Errorf("remedies %q", got)
	}
}

func TestMeaning(t *testing.T) {
	codes := exit.Codes()
	if !slices.IsSorted(codes) || len(slices.Compact(slices.Clone(codes))) != len(codes) {
		t.Errorf("codes %d", codes)
	}
	if got := exit.Code(99).Meaning(); got != "failed" {
		t.Errorf("an unknown code means %q", got)
	}
}
