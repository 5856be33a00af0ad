package agent

import (
	"fmt"
	"slices"

	"github.com/emr-static-ip/emr-static-ip/agent/state"
)

// Verdict is a status in a word.
type Verdict string

// The verdicts, each with an exit code of its own.
const (
	VerdictInOrder       Verdict = "in order"       // ExitOK
	VerdictSettling      Verdict = "settling"       // ExitOK: AWS may be late to show what a run has just done
	VerdictDrifted       Verdict = "drifted"        // ExitDrifted
	VerdictNotConfigured Verdict = "not configured" // ExitNotGiven
	VerdictWithdrawn     Verdict = "withdrawn"      // ExitWithdrawn
	VerdictUnknown       Verdict = "unknown"        // the status could not be found: the exit code is the error's
)

// ExitCode is the verdict's.
func (s Status) ExitCode() ExitCode {
	switch s.Verdict {
	case VerdictInOrder, VerdictSettling:
		return ExitOK
	case VerdictDrifted:
		return ExitDrifted
	case VerdictNotConfigured:
		return ExitNotGiven
	case VerdictWithdrawn:
		return ExitWithdrawn
	}
	return ExitInternal
}

// judge is the verdict on what was found. What is unknown does not count.
func (s *Status) judge() {
	bad := func(item *Item) {
		if item == nil {
			return
		}
		if trouble := item.Trouble(); trouble != "" {
			s.Reasons = append(s.Reasons, trouble)
		}
	}
	for i := range s.Kernel {
		bad(&s.Kernel[i])
	}
	for i := range s.Units {
		bad(&s.Units[i])
	}
	switch s.Phase {
	case PhaseWithdrawn:
		s.Verdict = VerdictWithdrawn
		s.Reasons = append([]string{"EC2 no longer assigns " + s.Static.String() + " to this node: it was withdrawn"}, s.Reasons...)
		return
	case PhaseReleased:
		if s.Verdict = VerdictNotConfigured; len(s.Reasons) > 0 {
			s.Verdict = VerdictDrifted // what a release leaves must be nothing
		}
		return
	case PhaseProgrammed:
		if len(s.Pending) > 0 {
			s.Reasons = append(s.Reasons, fmt.Sprintf("a run did not finish, and may have claimed %v: run it again", s.Pending))
		} else if s.unfinished {
			s.Reasons = append(s.Reasons, fmt.Sprintf("no run has finished with %s: run it again", s.Static))
		}
	default:
		if s.takingBack {
			s.Reasons = append(s.Reasons, takingBackText(s.Static)+": run emr-static-ip again")
			break
		}
		s.Reasons = append(s.Reasons, "the last run did not finish ("+string(s.Phase)+"): run it again")
	}
	if !s.Static.IsValid() {
		s.Verdict = VerdictNotConfigured
		return
	}
	bad(s.IMDS)
	bad(s.EC2)
	bad(s.Ledger)
	if s.LastError != nil {
		s.Reasons = append(s.Reasons, "the last run failed: see last error")
	}
	if s.Verdict = VerdictInOrder; len(s.Reasons) > 0 {
		s.Verdict = VerdictDrifted
	} else if s.settles() {
		s.Verdict = VerdictSettling
	}
}

// settle calls settling what AWS may be late to show: a run that ended a moment ago had EC2's
// answer and Parameter Store's. IMDS lags up to 30 s behind EC2, describe calls and parameter reads
// lag too.
func (s *Status) settle(last state.State) {
	if s.Phase != state.Programmed || !recent(last) {
		return
	}
	for _, item := range []*Item{s.IMDS, s.EC2, s.Ledger} {
		if item.State == itemMissing && item.Detail == "" { // not in the hands of another one
			item.State, item.Detail = itemSettling, "a run ended "+ago(last)+" ago, and AWS may be late to show it"
		}
	}
}

// settles reports whether AWS has still to show something.
func (s *Status) settles() bool {
	return slices.ContainsFunc([]*Item{s.IMDS, s.EC2, s.Ledger}, func(i *Item) bool { return i != nil && i.State == itemSettling })
}
