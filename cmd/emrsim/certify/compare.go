package certify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/facts"
)

// Judgement says of a known difference which side is right, and why. Model and Other are the
// beginnings of the outcomes.
type Judgement struct {
	Step  string `json:"step"`
	Model string `json:"model"`
	Other string `json:"other"`
	Right string `json:"right"` // model, other, open
	Why   string `json:"why"`
}

// ReadJudgements reads the judgements about a recording. A file that does not exist has none.
func ReadJudgements(file string) ([]Judgement, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []Judgement
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, j := range list {
		if j.Step == "" || j.Why == "" || j.Right != "model" && j.Right != "other" && j.Right != "open" {
			return nil, fmt.Errorf("%s: the judgement of step %q has no reason, or another side than model, other or open", file, j.Step)
		}
	}
	return list, moreAfter(d, file)
}

// Difference is a step with two outcomes.
type Difference struct {
	Step, Model, Other string
	Known              *Judgement // nil: nobody has judged it
}

// Comparison is what a recording says about the model.
type Comparison struct {
	Same        int
	Differences []Difference
	// Stale are judgements of differences that do not exist.
	Stale []Judgement
	// Measured are the steps that have a measurement or one of several possible outcomes.
	Measured []Difference
}

// Compare compares a recording with the model's.
func Compare(model, other Recording, known []Judgement) Comparison {
	var c Comparison
	used := map[string]bool{}
	for _, st := range steps() {
		m, inModel := model.outcome(st.name)
		o, inOther := other.outcome(st.name)
		if !inModel || !inOther {
			continue
		}
		if st.loose {
			c.Measured = append(c.Measured, Difference{Step: st.name, Model: m, Other: o})
			continue
		}
		if m == o {
			c.Same++
			continue
		}
		d := Difference{Step: st.name, Model: m, Other: o}
		for i, j := range known {
			if j.Step == st.name && strings.HasPrefix(m, j.Model) && strings.HasPrefix(o, j.Other) {
				d.Known, used[j.Step] = &known[i], true
			}
		}
		c.Differences = append(c.Differences, d)
	}
	for _, j := range known {
		if !used[j.Step] {
			c.Stale = append(c.Stale, j)
		}
	}
	return c
}

// Verdict is what a recording says about a fact.
type Verdict struct {
	Fact      facts.Fact
	Confirmed bool
	Evidence  string // step and outcome
}

// Verdicts returns what a recording says about facts, in the order of the table. A fact that no
// step was about is not among them: see Open.
func Verdicts(r Recording) (list []Verdict) {
	for _, g := range facts.All() {
		for _, f := range g.Facts {
			if v, asked := verdictOf(f, r); asked {
				list = append(list, v)
			}
		}
	}
	return list
}

// verdictOf returns false if no step of the recording is about the fact. One outcome that
// contradicts it is enough.
func verdictOf(f facts.Fact, r Recording) (v Verdict, asked bool) {
	v = Verdict{Fact: f, Confirmed: true}
	for _, st := range steps() {
		outcome, made := r.outcome(st.name)
		if !made || strings.HasPrefix(outcome, notAsked) {
			continue
		}
		for _, s := range st.says {
			if s.fact != f.ID {
				continue
			}
			confirmed := hasPrefix(outcome, s.confirm)
			if !asked || v.Confirmed && !confirmed {
				v.Evidence = st.name + ": " + outcome
			}
			asked, v.Confirmed = true, v.Confirmed && confirmed
		}
	}
	return v, asked
}

// notAsked begins the outcome of a step that could not be made.
const notAsked = "not asked: "

func hasPrefix(text string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(text, p) {
			return true
		}
	}
	return false
}

// Open returns the facts without a source about which the recording says nothing.
func Open(r Recording) (list []facts.Fact) {
	for _, g := range facts.All() {
		for _, f := range g.Facts {
			if _, asked := verdictOf(f, r); !asked && !f.Verified() {
				list = append(list, f)
			}
		}
	}
	return list
}
