// Package output is the JSON form of what the commands print. Every command prints exactly one
// object, also if it fails. The object begins with a Head, which is the same for all commands.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"reflect"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Version is the number of the JSON form, in the field "version" of every object. Fields and values
// may be added in the same version. A field that is there keeps its name, its type and its meaning.
const Version = 1

// Head is the part that the objects of all commands have. The type of a command's object embeds it.
// The command line fills it in.
//
// A list of an object is never absent and never null: its field has no omitempty, and JSON writes
// an empty list. The same is true of maps.
type Head struct {
	Version     int       `json:"version"`
	ToolVersion string    `json:"tool_version"` // the program's version
	Tool        string    `json:"tool"`         // the same, under its old name
	Exit        exit.Code `json:"exit_code"`    // of the process
	Failure     *Failure  `json:"error,omitempty"`
}

// Heading returns h.
func (h *Head) Heading() *Head { return h }

// Document is what a command prints. Its type embeds Head.
type Document interface {
	Heading() *Head
	// Render writes the document for people (text), or as JSON.
	Render(w io.Writer, format string) error
}

// Set fills the head in. failure is nil if the command did its work.
func (h *Head) Set(tool string, code exit.Code, failure *Failure) {
	*h = Head{Version: Version, ToolVersion: tool, Tool: tool, Exit: code, Failure: failure}
}

// Failure says why a command could not do its work, or all of it.
type Failure struct {
	Code       exit.Code `json:"exit_code"` // of the failure. The process's own is 0 if it was suppressed
	Meaning    string    `json:"meaning"`   // of the exit code, in a few words
	Message    string    `json:"message"`   // what failed, in one line
	Remedies   []string  `json:"remedies"`  // what to do
	Suppressed bool      `json:"suppressed"`
}

// Fail returns the Failure of a command that ended with err.
func Fail(code exit.Code, err error) *Failure {
	f := &Failure{Code: code, Meaning: code.Meaning(), Message: text.Line(err.Error()), Remedies: []string{}}
	for _, remedy := range exit.Remedies(err) {
		f.Remedies = append(f.Remedies, text.Line(remedy))
	}
	return f
}

// JSON returns the object of a command, as one line. object is a pointer to a struct. If it has a
// method Body, the object is what Body returns, also a pointer to a struct. hide removes
// secrets from the values, and may be nil. It never sees the names of fields: a secret may be a
// word like "changes".
//
// JSON puts an empty list or map in place of each that is nil, also in object itself.
func JSON(object any, hide func(string) string) ([]byte, error) {
	if o, ok := object.(interface{ Body() any }); ok {
		object = o.Body()
	}
	fill(reflect.ValueOf(object))
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(object); err != nil {
		return nil, fmt.Errorf("writing JSON: %w", err)
	}
	line := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if hide != nil {
		line = values(line, hide)
	}
	return append([]byte(text.Clean(string(line), math.MaxInt)), '\n'), nil
}

// fill replaces nil slices and maps in v by empty ones, as far as they can be set.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			fill(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.IsNil() && v.CanSet() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Map:
		if v.IsNil() && v.CanSet() {
			v.Set(reflect.MakeMap(v.Type()))
		}
	default: // nothing within
	}
}

// values returns line, valid JSON without blanks between its tokens, with each string that is a
// value and not the name of a field changed by change.
func values(line []byte, change func(string) string) []byte {
	var out []byte
	for i := 0; i < len(line); i++ {
		if line[i] != '"' {
			out = append(out, line[i])
			continue
		}
		end := i + 1
		for line[end] != '"' {
			if line[end] == '\\' {
				end++
			}
			end++
		}
		literal := line[i : end+1]
		i = end
		if end+1 < len(line) && line[end+1] == ':' {
			out = append(out, literal...)
			continue
		}
		var value string
		if json.Unmarshal(literal, &value) == nil {
			if changed := change(value); changed != value {
				literal = quoted(changed)
			}
		}
		out = append(out, literal...)
	}
	return out
}

// Write writes the object of a command to w as JSON, without hiding anything.
func Write(w io.Writer, object any) error {
	line, err := JSON(object, nil)
	if err == nil {
		_, err = w.Write(line)
	}
	return err
}

// quoted returns s as a JSON string.
func quoted(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string can always be encoded
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
