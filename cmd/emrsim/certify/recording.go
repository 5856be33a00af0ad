package certify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// recordingForm is the version of a recording's form.
const recordingForm = 1

// Recording is what a judge answered. Identifiers, addresses, account numbers, principals, keys,
// request ids and times are replaced, so that it can be published.
type Recording struct {
	Form  int    `json:"form"`
	Judge string `json:"judge"`
	Made  string `json:"made"` // the day
	Steps []Step `json:"steps"`
}

// Step is one step of a run.
type Step struct {
	Name    string  `json:"name"`
	Outcome string  `json:"outcome"`
	Seconds float64 `json:"seconds"`
	Calls   []Call  `json:"calls"`
}

// Call is a call of a step.
type Call struct {
	Action  string  `json:"action"` // as an IAM policy names it
	Request string  `json:"request"`
	Status  int     `json:"status"` // 0: there was no answer
	Answer  string  `json:"answer"`
	Seconds float64 `json:"seconds"`
}

// writes returns how many calls of the step the quotas of writes count.
func (s Step) writes() (n int) {
	for _, c := range s.Calls {
		if service, action, _ := strings.Cut(c.Action, ":"); service == "ssm" && !strings.HasPrefix(action, "Get") {
			n++
		}
	}
	return n
}

// outcome returns the outcome of a step, and false if the recording does not have it.
func (r Recording) outcome(name string) (string, bool) {
	for _, s := range r.Steps {
		if s.Name == name {
			return s.Outcome, true
		}
	}
	return "", false
}

// maxRecording bounds a file.
const maxRecording = 8 << 20

// Read reads a recording. It is as strict as possible, since others may have written it.
func Read(file string) (Recording, error) {
	var r Recording
	f, err := os.Open(file)
	if err != nil {
		return r, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRecording+1))
	if err != nil {
		return r, err
	}
	if len(data) > maxRecording {
		return r, fmt.Errorf("%s has more than %d bytes", file, maxRecording)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, fmt.Errorf("%s: %w", file, err)
	}
	return r, errors.Join(r.check(file), moreAfter(d, file))
}

func moreAfter(d *json.Decoder, file string) error {
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%s: something follows the recording", file)
	}
	return nil
}

func (r Recording) check(file string) error {
	known := map[string]bool{}
	for _, s := range steps() {
		known[s.name] = true
	}
	switch {
	case r.Form != recordingForm:
		return fmt.Errorf("%s has form %d: this program reads form %d", file, r.Form, recordingForm)
	case r.Judge == "" || len(r.Steps) == 0:
		return fmt.Errorf("%s: the judge or the steps are missing", file)
	}
	seen := map[string]bool{}
	for _, s := range r.Steps {
		if !known[s.Name] || seen[s.Name] {
			return fmt.Errorf("%s: step %q is not one of this program's, or is there twice", file, s.Name)
		}
		seen[s.Name] = true
	}
	return nil
}

// Render returns the recording as a file has it.
func (r Recording) Render() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(r); err != nil {
		panic(fmt.Sprintf("certify: %v", err)) // strings and numbers can always be encoded
	}
	return b.Bytes()
}
