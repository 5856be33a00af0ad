// Package bundle makes one archive of what somebody needs to know about a node: findings, files,
// rules, logs and versions, without secrets. It also reads such archives, which may come from
// strangers.
package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// The limits of a bundle.
const (
	MaxFile  = 512 << 10        // bytes of one file
	MaxFiles = 400              // in a bundle
	MaxTotal = 8 << 20          // bytes of all files together
	PartWait = 15 * time.Second // for one part
	atOnce   = 8                // parts
)

// The kinds of a Part's content. Each is redacted in its own way.
const (
	Text  Kind = iota // any text: Redact
	JSON              // of this program: Redact for each value
	EMR               // a JSON file of EMR's: RedactJSON
	State             // job-flow-state.txt
)

// Kind is the kind of a Part's content.
type Kind int

// Part is one file of a bundle, before it is read.
type Part struct {
	Name string // path in the bundle, such as network/addresses.txt
	Kind Kind
	// Read returns the content. If it returns an error too, the content is kept, and the error is
	// noted. An Absent error means that there is nothing to read, which is no problem.
	Read func(ctx context.Context) ([]byte, error)
	Wait time.Duration // for Read; 0: PartWait
}

// ErrAbsent is returned by a Part's Read if the node does not have the thing, such as an optional
// file.
var ErrAbsent = errors.New("not on this node")

// File is a file of a bundle.
type File struct {
	Name    string
	Content []byte
	Note    string // why it is not complete, or not there
}

// Collect reads the parts, a few at a time, and redacts them. A part that fails becomes a file that
// says why, NAME.failed. The files are in the order of the parts. Collect ends soon after ctx does.
func Collect(ctx context.Context, redactor *host.Redactor, parts []Part) []File {
	if redactor == nil {
		redactor = &host.Redactor{}
	}
	type result struct {
		content []byte
		err     error
	}
	results := make([]result, len(parts))
	var all sync.WaitGroup
	turn := make(chan struct{}, atOnce)
	for i, part := range parts {
		turn <- struct{}{} // in order: the first parts are those that matter most
		all.Go(func() {
			defer func() { <-turn }()
			wait := PartWait
			if part.Wait > 0 {
				wait = part.Wait
			}
			ctx, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("it took longer than %s", wait))
			defer cancel()
			results[i].content, results[i].err = read(ctx, part)
		})
	}
	all.Wait()
	// What is secret in one file may stand in another one, where nothing shows that it is secret.
	learn := func(s string) { redactor.Hide(s) }
	for i, part := range parts {
		switch part.Kind {
		case EMR:
			_, _ = RedactJSON(results[i].content, learn)
		case State:
			redactState(results[i].content, learn)
		default:
		}
	}
	var files []File
	total := 0
	for i, part := range parts {
		f, ok := file(part, results[i].content, results[i].err, redactor)
		if !ok {
			continue
		}
		if len(files) == MaxFiles || total+len(f.Content) > MaxTotal {
			f = failed(part.Name, "the bundle is full", redactor)
		}
		total += len(f.Content)
		files = append(files, f)
	}
	return files
}

// read returns a part's content. A panic in it is an error like any other.
func read(ctx context.Context, part Part) (content []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a bug in this program: %v", p)
		}
	}()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	content, err = part.Read(ctx)
	if err != nil && ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return content, err
}

// file returns a part as a file of the bundle. It returns false for what is not on the node.
func file(part Part, content []byte, err error, redactor *host.Redactor) (File, bool) {
	if errors.Is(err, ErrAbsent) {
		return File{}, false
	}
	if err != nil && len(content) == 0 {
		return failed(part.Name, err.Error(), redactor), true
	}
	f := File{Name: part.Name}
	if err != nil {
		f.Note = note(err.Error(), redactor)
	}
	whole, cut := shortened(content)
	if cut {
		f.Note = strings.TrimPrefix(f.Note+"; ", "; ") + fmt.Sprintf("cut to %d of %d bytes", len(whole), len(content))
	}
	f.Content, err = redacted(part.Kind, whole, redactor)
	if err != nil {
		return failed(part.Name, err.Error(), redactor), true
	}
	if len(f.Content) > MaxFile {
		f.Content, _ = shortened(f.Content)
	}
	return f, true
}

func failed(name, why string, redactor *host.Redactor) File {
	why = note(why, redactor)
	return File{Name: name + ".failed", Content: []byte(why + "\n"), Note: why}
}

func note(s string, redactor *host.Redactor) string { return text.Line(Redact(redactor.Text(s))) }

// shortened returns at most MaxFile bytes of content, of which it keeps the end, and whole lines: a
// part of a secret might not look like one.
func shortened(content []byte) ([]byte, bool) {
	if len(content) <= MaxFile {
		return content, false
	}
	content = content[len(content)-MaxFile:]
	if i := bytes.IndexByte(content, '\n'); i >= 0 {
		return content[i+1:], true
	}
	return nil, true
}

// redacted returns content without secrets.
func redacted(kind Kind, content []byte, redactor *host.Redactor) ([]byte, error) {
	switch kind {
	case EMR:
		out, err := RedactJSON(content, nil)
		return []byte(redactor.Text(string(out))), err
	case State:
		return []byte(Redact(redactor.Text(string(redactState(content, nil))))), nil
	case JSON:
		return redactedValues(content, redactor)
	default:
		return []byte(Redact(redactor.Text(strings.ToValidUTF8(string(content), "\ufffd")))), nil
	}
}

// redactedValues redacts the strings of a JSON value.
func redactedValues(content []byte, redactor *host.Redactor) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(content))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, fmt.Errorf("it is not JSON: %w", text.JSONError(err))
	}
	var within func(v any) any
	within = func(v any) any {
		switch v := v.(type) {
		case string:
			return Redact(redactor.Text(v))
		case []any:
			for i := range v {
				v[i] = within(v[i])
			}
		case map[string]any:
			for k := range v {
				if s, ok := v[k].(string); ok && secretKey.MatchString(k) && s != "" {
					v[k] = hidden
					continue
				}
				v[k] = within(v[k])
			}
		}
		return v
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(within(value))
	return b.Bytes(), err
}

// Contents says what is in a bundle that was written.
type Contents struct {
	File  string  `json:"file"`  // its path, as it was given
	Bytes int64   `json:"bytes"` // of the archive
	Files []Entry `json:"files"`
}

// Entry is a file of a bundle.
type Entry struct {
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`
	Note  string `json:"note,omitempty"` // why it is not complete, or not there
}

// Lines returns the contents for people.
func (c Contents) Lines() []string {
	lines := []string{fmt.Sprintf("%s: %d bytes, %s; look through it before you send it", text.Clean(c.File, text.MaxLine), c.Bytes, text.Count(len(c.Files), "file", "files"))}
	for _, e := range c.Files {
		lines = append(lines, "  "+e.line())
	}
	return lines
}

func (e Entry) line() string {
	line := fmt.Sprintf("%8d  %s", e.Bytes, e.Name)
	if e.Note != "" {
		line += ": " + e.Note
	}
	return text.Clean(line, text.MaxLine)
}

// Entries returns what Contents says of the files.
func Entries(files []File) []Entry {
	entries := make([]Entry, len(files))
	for i, f := range files {
		entries[i] = Entry{Name: f.Name, Bytes: len(f.Content), Note: f.Note}
	}
	return entries
}
