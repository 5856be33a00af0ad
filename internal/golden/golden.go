// Package golden compares texts with files in testdata. Only tests import it. The flag -update
// writes the files anew.
package golden

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// Is compares got with the file testdata/name.
func Is(t testing.TB, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		write(t, path, got)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update writes it anew); got\n%s", path, got)
	}
}

// Texts is a golden file of many short texts, such as messages. Each text has a title:
//
//	== the title
//	the text
//
// A run of some of a test's subtests compares, or writes, only their texts. A test whose subtests
// are all skipped compares nothing.
type Texts struct {
	path  string
	known []text // as the file has them

	mu       sync.Mutex // subtests may run in parallel
	compared []text
}

type text struct{ title, body string }

const mark = "== "

// Open reads the file testdata/name. The end of the test t writes it if -update is given. Otherwise
// the end of t reports the titles that no text was compared with.
func Open(t testing.TB, name string) *Texts {
	t.Helper()
	f := &Texts{path: filepath.Join("testdata", name)}
	content, err := os.ReadFile(f.path)
	if err != nil && !(*update && errors.Is(err, fs.ErrNotExist)) {
		t.Fatal(err)
	}
	f.known = parse(string(content))
	t.Cleanup(func() { f.end(t, partial()) })
	return f
}

// Is compares got with the text under title.
func (f *Texts) Is(t testing.TB, title, got string) {
	t.Helper()
	got = strings.TrimRight(got, "\n") + "\n"
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case strings.HasPrefix(got, mark) || strings.Contains(got, "\n"+mark) || strings.Contains(title, "\n"):
		t.Fatalf("a golden file cannot hold the text %q under the title %q", got, title)
	case index(f.compared, title) >= 0:
		t.Fatalf("two texts have the title %q", title)
	}
	f.compared = append(f.compared, text{title, got})
	if *update {
		return
	}
	switch i := index(f.known, title); {
	case i < 0:
		t.Errorf("%s has no title %q (-update adds it); got\n%s", f.path, title, got)
	case f.known[i].body != got:
		t.Errorf("%s: %q differs (-update writes it anew); got\n%swant\n%s", f.path, title, got, f.known[i].body)
	}
}

// Has reports whether the file has got under title. It is for a test that tries again before it
// compares. With -update it reports true.
func (f *Texts) Has(title, got string) bool {
	i := index(f.known, title)
	return *update || i >= 0 && f.known[i].body == strings.TrimRight(got, "\n")+"\n"
}

// end writes the file, or reports the titles that were not compared. After a partial run they are
// those of subtests that did not run.
func (f *Texts) end(t testing.TB, partial bool) {
	if len(f.compared) == 0 {
		return
	}
	var content strings.Builder
	for _, k := range f.known { // in the file's order: a test may compare in the order of a map
		switch i := index(f.compared, k.title); {
		case i >= 0:
			content.WriteString(mark + k.title + "\n" + f.compared[i].body)
		case partial:
			content.WriteString(mark + k.title + "\n" + k.body)
		case !*update && !t.Failed():
			t.Errorf("%s: nothing is compared with %q any more (-update removes it)", f.path, k.title)
		}
	}
	for _, c := range f.compared {
		if index(f.known, c.title) < 0 {
			content.WriteString(mark + c.title + "\n" + c.body)
		}
	}
	if *update && !t.Failed() {
		write(t, f.path, content.String())
	}
}

func index(texts []text, title string) int {
	return slices.IndexFunc(texts, func(t text) bool { return t.title == title })
}

func parse(content string) (texts []text) {
	for line := range strings.Lines(content) {
		if title, ok := strings.CutPrefix(line, mark); ok {
			texts = append(texts, text{title: strings.TrimRight(title, "\n")})
		} else if len(texts) > 0 {
			texts[len(texts)-1].body += line
		}
	}
	return texts
}

// partial reports whether the command line selects subtests.
func partial() bool {
	for _, name := range []string{"test.run", "test.skip"} {
		if f := flag.Lookup(name); f != nil && strings.Contains(f.Value.String(), "/") {
			return true
		}
	}
	return false
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}
