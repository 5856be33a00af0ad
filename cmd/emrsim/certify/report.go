package certify

import (
	"fmt"
	"io"
	"strings"
)

// Report writes what a recording says about the model and the facts. It returns whether nothing is
// left that nobody has judged.
func Report(w io.Writer, model, other Recording, known []Judgement) (judged bool) {
	c, judged := Compare(model, other, known), true
	fmt.Fprintf(w, "\n%s compared with the model: %d steps with the same outcome, %d with another one\n", other.Judge, c.Same, len(c.Differences))
	for _, d := range c.Differences {
		fmt.Fprintf(w, "\n  %s\n    model  %s\n    judge  %s\n", d.Step, shorten(d.Model, 200), shorten(d.Other, 200))
		if d.Known != nil {
			fmt.Fprintf(w, "    known: %s: %s\n", right(d.Known.Right), d.Known.Why)
		} else {
			fmt.Fprintf(w, "    not judged: name the file of known judgements with --judged; if it is not there, change the model or add a judgement\n")
			judged = false
		}
	}
	for _, j := range c.Stale {
		fmt.Fprintf(w, "\n  %s\n    the judgement is of a difference that does not exist any more: remove it\n", j.Step)
		judged = false
	}
	fmt.Fprintf(w, "\nMeasured\n")
	for _, d := range c.Measured {
		fmt.Fprintf(w, "  %-34s judge: %s; model: %s\n", d.Step, d.Other, d.Model)
	}
	if invented := Invented(model, other); len(invented) > 0 {
		fmt.Fprintf(w, "\nFields that only the model's answers have\n  %s\n", strings.Join(invented, "\n  "))
	}
	for _, confirmed := range []bool{true, false} {
		title := "Facts that the judge contradicts"
		if confirmed {
			title = "Facts that the judge confirms"
		}
		fmt.Fprintf(w, "\n%s\n", title)
		none := true
		for _, v := range Verdicts(other) {
			if v.Confirmed != confirmed {
				continue
			}
			none = false
			open := ""
			if !v.Fact.Verified() {
				open = " (not verified so far)"
			}
			fmt.Fprintf(w, "  %-26s %s%s\n    %s\n", v.Fact.ID, v.Fact.Says, open, shorten(v.Evidence, 160))
		}
		if none {
			fmt.Fprintf(w, "  none\n")
		}
	}
	var ids []string
	for _, f := range Open(other) {
		ids = append(ids, f.ID)
	}
	fmt.Fprintf(w, "\nFacts without a source that were not asked (%d): %s\n", len(ids), strings.Join(ids, ", "))
	return judged
}

func right(side string) string {
	switch side {
	case "model":
		return "the model is right"
	case "other":
		return "the judge is right"
	}
	return "open"
}
