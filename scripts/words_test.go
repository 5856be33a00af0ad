package scripts

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// retired are words that had a meaning of their own in this project, with the words to use.
var retired = map[string]string{
	"out of use":              "withdrawn",
	"patience":                "progress, timeout",
	"veil":                    "redactor",
	"newPatient":              "a name that says what it makes",
	"tells whether":           "reports whether",
	"no change was completed": "nothing was changed",
	"does not come to name":   "still names",
	"nobody wants any more":   "of an earlier version",
}

// TestWords looks for retired words in comments, messages and documents.
func TestWords(t *testing.T) {
	words := make([]string, 0, len(retired))
	for word := range retired {
		words = append(words, regexp.QuoteMeta(word))
	}
	pattern := regexp.MustCompile(`(?i)\b(` + strings.Join(words, "|") + `)`)
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case entry.IsDir() || name == "scripts/words_test.go" || !strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, ".md"):
			return nil
		}
		text, err := fs.ReadFile(root, name)
		for i, line := range strings.Split(string(text), "\n") {
			for _, word := range pattern.FindAllString(line, -1) {
				t.Errorf("%s:%d: %q: write %q", name, i+1, word, retired[word])
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// timers are the functions with which code waits. Package pause has the one wait of the product.
var timers = []string{"Sleep", "After", "NewTimer", "Tick", "NewTicker"}

// timersAllowed are files that wait for something else at the same time.
var timersAllowed = []string{"internal/pause/pause.go", "agent/beside.go", "agent/internal/host/resolve.go"}

// TestOneWait checks that the product waits by package pause, which a signal or deadline ends.
func TestOneWait(t *testing.T) {
	root := os.DirFS("..")
	files, err := sources(root)
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{}
	for _, file := range files {
		if !productOutside("scripts")(file) {
			continue
		}
		source, err := fs.ReadFile(root, file)
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, source, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok || !slices.Contains(timers, s.Sel.Name) {
				return true
			}
			if x, ok := s.X.(*ast.Ident); !ok || x.Name != "time" {
				return true
			}
			if slices.Contains(timersAllowed, file) {
				allowed[file] = true
			} else {
				t.Errorf("%s: time.%s: use package pause", set.Position(s.Pos()), s.Sel.Name)
			}
			return true
		})
	}
	if len(allowed) != len(timersAllowed) {
		t.Errorf("only %v have timers of their own: shorten timersAllowed", allowed)
	}
}
