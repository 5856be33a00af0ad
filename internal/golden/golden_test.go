package golden

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// probe is a test whose failures are counted.
type probe struct {
	testing.TB
	failures []string
	cleanups []func()
}

func (p *probe) Helper()          {}
func (p *probe) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }
func (p *probe) Failed() bool     { return len(p.failures) > 0 }
func (p *probe) Errorf(format string, a ...any) {
	p.failures = append(p.failures, fmt.Sprintf(format, a...))
}
func (p *probe) Fatalf(format string, a ...any) {
	p.Errorf(format, a...)
	panic(p)
}
func (p *probe) Fatal(a ...any) { p.Fatalf("%s", fmt.Sprint(a...)) }

// run runs f as a test, in a directory with the golden file's content, and returns its failures and
// the file's content afterwards.
func run(t *testing.T, content string, updating bool, f func(t testing.TB)) (failures []string, after string) {
	t.Helper()
	t.Chdir(t.TempDir())
	if content != "" {
		write(t, filepath.Join("testdata", "a.txt"), content)
	}
	*update = updating
	defer func() { *update = false }()
	p := &probe{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != p {
				panic(r)
			}
			for _, c := range p.cleanups {
				c()
			}
		}()
		f(p)
	}()
	data, _ := os.ReadFile(filepath.Join("testdata", "a.txt"))
	return p.failures, string(data)
}

func TestIs(t *testing.T) {
	is := func(got string) func(testing.TB) { return func(t testing.TB) { Is(t, "a.txt", got) } }
	if f, _ := run(t, "one\n", false, is("one\n")); len(f) != 0 {
		t.Error(f)
	}
	if f, after := run(t, "one\n", false, is("two\n")); len(f) != 1 || after != "one\n" {
		t.Error(f, after)
	}
	if f, _ := run(t, "", false, is("two\n")); len(f) != 1 {
		t.Error(f)
	}
	if f, after := run(t, "one\n", true, is("two\n")); len(f) != 0 || after != "two\n" {
		t.Error(f, after)
	}
}

func TestTexts(t *testing.T) {
	const both = "== a\none\n== b\ntwo\nlines\n"
	texts := func(pairs ...string) func(testing.TB) {
		return func(t testing.TB) {
			f := Open(t, "a.txt")
			for i := 0; i < len(pairs); i += 2 {
				f.Is(t, pairs[i], pairs[i+1])
			}
		}
	}
	for _, test := range []struct {
		name, content string
		update        bool
		f             func(testing.TB)
		failure       string
		after         string
	}{
		{"the same", both, false, texts("a", "one", "b", "two\nlines\n"), "", both},
		{"in another order", both, false, texts("b", "two\nlines", "a", "one"), "", both},
		{"another text", both, false, texts("a", "ONE", "b", "two\nlines"), `"a" differs`, both},
		{"a new title", both, false, texts("a", "one", "b", "two\nlines", "c", ""), `no title "c"`, both},
		{"a title that is gone", both, false, texts("b", "two\nlines"), `"a" any more`, both},
		{"nothing compared", both, false, texts(), "", both},
		{"nothing written", both, true, texts(), "", both},
		{"no file", "", false, texts("a", "one"), "no such file", ""},
		{"a title twice", both, false, texts("a", "one", "a", "one"), "two texts", both},
		{"a text like a title", both, true, texts("a", "== one"), "cannot hold", both},
		{"written", both, true, texts("b", "three", "c", "four"), "", "== b\nthree\n== c\nfour\n"},
		{"written in the file's order", both, true, texts("c", "four", "b", "three", "a", "one"), "", "== a\none\n== b\nthree\n== c\nfour\n"},
		{"written for the first time", "", true, texts("a", "one"), "", "== a\none\n"},
	} {
		f, after := run(t, test.content, test.update, test.f)
		if all := strings.Join(f, "\n"); (test.failure == "") != (all == "") || !strings.Contains(all, test.failure) || after != test.after {
			t.Errorf("%s: %q, file %q", test.name, all, after)
		}
	}
	f, after := run(t, both, true, func(t testing.TB) {
		texts := Texts{path: filepath.Join("testdata", "a.txt"), known: parse(both)}
		texts.Is(t, "a", "ONE")
		texts.end(t, true)
	})
	if len(f) != 0 || after != "== a\nONE\n== b\ntwo\nlines\n" {
		t.Errorf("a part is written: %q, %q", f, after)
	}
}

func TestHas(t *testing.T) {
	f := Texts{known: parse("== a\none\n")}
	for _, c := range []struct {
		title, got string
		want       bool
	}{{"a", "one", true}, {"a", "one\n", true}, {"a", "two", false}, {"b", "one", false}} {
		if has := f.Has(c.title, c.got); has != c.want {
			t.Errorf("Has(%q, %q) = %t", c.title, c.got, has)
		}
	}
	*update = true
	defer func() { *update = false }()
	if !f.Has("b", "one") {
		t.Error("a test that writes the file need not try again")
	}
}
