package scripts

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	commentWidth = 100 // columns, a tab counts 4
	mostLines    = 400 // of a file that is no test
)

// illFormed returns the problems of a Go file: comments of more than commentWidth columns, and more
// than mostLines lines. A line with a URL may be wider, since it cannot be broken. So may the
// output of an example, which is compared as it is.
func illFormed(file, source string) (found []string) {
	lines := strings.Split(strings.TrimSuffix(source, "\n"), "\n")
	for i, line := range lines {
		if !strings.HasPrefix(strings.TrimSpace(line), "//") || strings.Contains(line, "://") || strings.HasSuffix(file, "example_test.go") {
			continue
		}
		if n := utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    ")); n > commentWidth {
			found = append(found, fmt.Sprintf("%s:%d: a comment of %d columns: break it, or say less", file, i+1, n))
		}
	}
	if len(lines) > mostLines && !strings.HasSuffix(file, "_test.go") {
		found = append(found, fmt.Sprintf("%s: %d lines: split it by what it is about", file, len(lines)))
	}
	return found
}

// TestForm checks the width of comments and the length of files. golangci-lint checks the width,
// too, where make lint can fetch it.
func TestForm(t *testing.T) {
	root := os.DirFS("..")
	files, err := sources(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source, err := fs.ReadFile(root, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range illFormed(file, string(source)) {
			t.Error(problem)
		}
	}
}

// TestFormFindsViolations gives illFormed a file that violates each rule, and files that do not.
func TestFormFindsViolations(t *testing.T) {
	wide := "// " + strings.Repeat("x", commentWidth-3)
	long := strings.Repeat("\n", mostLines+1)
	for _, c := range []struct {
		file, source string
		want         int
	}{
		{"a.go", wide + "\n", 0},
		{"a.go", wide + "x\n", 1},
		{"a.go", "\t" + wide + "\n", 1},
		{"a_test.go", wide + "x\n", 1},
		{"a.go", "x := 1 " + wide + "\n", 0}, // the width is for comments, not for code
		{"a.go", "// https://example.com/" + wide + "\n", 0},
		{"example_test.go", wide + "x\n", 0},
		{"a.go", long[:mostLines], 0},
		{"a.go", long, 1},
		{"a_test.go", long, 0},
	} {
		if found := illFormed(c.file, c.source); len(found) != c.want {
			t.Errorf("%s: %q, want %d problems", c.file, found, c.want)
		}
	}
	if files, err := sources(os.DirFS("..")); err != nil || !slices.Contains(files, "scripts/form_test.go") {
		t.Errorf("sources does not list this file: %v", err)
	}
}
