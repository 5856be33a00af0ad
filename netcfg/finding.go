package netcfg

import (
	"fmt"
	"slices"
	"strings"
)

// FindingKind says how something differs from what is wanted.
type FindingKind string

// The kinds.
const (
	Absent   FindingKind = "missing"   // wanted, and not there
	Foreign  FindingKind = "foreign"   // there under our name, and not wanted
	NotFirst FindingKind = "not first" // our own jump, behind a rule of somebody else's
)

// Finding is one difference between the rules and what is wanted, for people.
type Finding struct {
	Kind   FindingKind
	What   string // in the words of iptables
	Detail string // what is in front, for NotFirst
}

// String returns the finding in a line.
func (f Finding) String() string {
	text := string(f.Kind) + ": " + f.What
	if f.Detail != "" {
		text += " (" + f.Detail + ")"
	}
	return text
}

// Line returns the finding as a difference: to be added (+) or removed (-).
func (f Finding) Line() string {
	switch f.Kind {
	case Absent:
		return "+ " + f.What
	case Foreign:
		return "- " + f.What
	}
	return f.String()
}

// manyFindings is how many findings of a kind Shorten keeps.
const manyFindings = 30

// Shorten returns a list that people can read: it keeps the first findings of each kind, and counts
// the others. A lost table with a rule for each of 1000 networks is more than a thousand findings.
// A list that is too long begins with the jumps: they decide whether any other rule has an effect.
func Shorten(list []Finding) (short []Finding) {
	if len(list) > manyFindings {
		jumps := slices.DeleteFunc(slices.Clone(list), func(f Finding) bool { return !f.aboutJump() })
		list = append(jumps, slices.DeleteFunc(slices.Clone(list), Finding.aboutJump)...)
	}
	count := map[FindingKind]int{}
	for _, f := range list {
		if count[f.Kind]++; count[f.Kind] <= manyFindings {
			short = append(short, f)
		}
	}
	for _, kind := range []FindingKind{Absent, Foreign, NotFirst} {
		if more := count[kind] - manyFindings; more > 0 {
			short = append(short, Finding{kind, fmt.Sprintf("%d more rules and chains", more), ""})
		}
	}
	return short
}

// aboutJump reports whether the finding is a rule in a chain that is not ours.
func (f Finding) aboutJump() bool {
	rule, ok := strings.CutPrefix(f.What, "-A ")
	chain, _, _ := strings.Cut(rule, " ")
	return ok && !ownChain(chain)
}

// Findings lists what differs from want, each thing once. Findings reports a jump of ours that lost
// its place as one finding. Differences lists it twice: as missing, and as surplus.
func (s RuleSet) Findings(want RuleSet) (list []Finding) {
	missing, surplus := s.jumpsAgainst(want)
	moved := map[string]bool{} // lines of Differences that are said already
	for _, m := range missing {
		for _, j := range surplus {
			if j.Chain != m.Chain || j.To != m.To || j.Text != m.Text {
				continue
			}
			what := fmt.Sprintf("-A %s %s", j.Chain, j.Text)
			moved["+ "+what], moved[fmt.Sprintf("- %s (place %d)", what, j.Position)] = true, true
			list = append(list, Finding{NotFirst, what, s.inFront(j)})
			break
		}
	}
	lines, _ := s.Differences(want)
	for _, line := range lines {
		if moved[line] {
			continue
		}
		if text, ok := strings.CutPrefix(line, "+ "); ok {
			list = append(list, Finding{Absent, text, ""})
		} else {
			list = append(list, Finding{Foreign, strings.TrimPrefix(line, "- "), ""})
		}
	}
	return list
}

// inFront returns what comes before a jump of ours.
func (s RuleSet) inFront(j Jump) string {
	first, ok := s.First[j.Chain]
	if !ok {
		return fmt.Sprintf("it is in place %d of its chain", j.Position)
	}
	text := fmt.Sprintf("%q comes before it", clean(first))
	if more := j.Position - 2; more > 0 {
		text = fmt.Sprintf("%q and %d more come before it", clean(first), more)
	}
	return text
}
