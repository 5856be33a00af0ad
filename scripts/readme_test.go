package scripts

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// These tests hold the README against the source, so that operators can rely on it.

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// parsed are the files of a directory that match a pattern, without tests.
func parsed(t *testing.T, pattern string) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if isTest(name) {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if len(files) == 0 {
		t.Fatalf("no file matches %s", pattern)
	}
	return files
}

// constants are the constants of a file whose declaration satisfies want: value to trailing comment.
func constants(t *testing.T, file string, want func(*ast.ValueSpec) bool) map[string]string {
	t.Helper()
	found := map[string]string{}
	ast.Inspect(parsed(t, file)[0], func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !want(spec) || len(spec.Values) != 1 {
			return true
		}
		if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
			found[literal.Value] = strings.TrimSpace(spec.Comment.Text())
		}
		return true
	})
	if len(found) == 0 {
		t.Fatalf("no constants found in %s", file)
	}
	return found
}

// The README explains each exit code.
func TestReadmeExitCodes(t *testing.T) {
	want := constants(t, "../agent/internal/exit/exit.go", func(spec *ast.ValueSpec) bool {
		kind, ok := spec.Type.(*ast.Ident)
		return ok && kind.Name == "Code"
	})
	_, section, _ := strings.Cut(readme(t), "\n## Exit codes\n")
	section, _, _ = strings.Cut(section, "\n## ")
	got := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| ([^|]+?) *\|`).FindAllStringSubmatch(section, -1) {
		if got[row[1]] {
			t.Errorf("README has exit code %s twice", row[1])
		}
		got[row[1]] = true
		if _, ok := want[row[1]]; !ok {
			t.Errorf("README has exit code %s, the program has not", row[1])
		}
	}
	for code := range want {
		if !got[code] {
			t.Errorf("README has no exit code %s", code)
		}
	}
}

func TestReadmeFlags(t *testing.T) {
	flag := func(spec *ast.ValueSpec) bool { return strings.HasPrefix(strings.ToLower(spec.Names[0].Name), "flag") }
	flags := constants(t, "../agent/config.go", flag)
	maps.Copy(flags, constants(t, "../agent/pool/pool.go", flag))
	named := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`--[^|]*) \\|").FindAllStringSubmatch(readme(t), -1) {
		for _, name := range strings.Split(row[1], ", ") {
			named[strings.TrimPrefix(strings.Trim(name, "`"), "--")] = true
		}
	}
	for literal := range flags {
		name, err := strconv.Unquote(literal)
		if err != nil {
			t.Fatal(err)
		}
		if !named[name] {
			t.Errorf("the README's table has no flag --%s", name)
		}
		delete(named, name)
	}
	for name := range named {
		t.Errorf("the README's table has --%s, the program has not", name)
	}
}

// TestReadmeTargets checks that the README names only targets that the Makefile has.
func TestReadmeTargets(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	matches := regexp.MustCompile("(?:`| {4})make ([a-z-]+)").FindAllStringSubmatch(readme(t), -1)
	if len(matches) == 0 {
		t.Fatal("the README names no make target")
	}
	for _, m := range matches {
		if !strings.Contains(string(makefile), "\n"+m[1]+": ") {
			t.Errorf("README: make %s is no target", m[1])
		}
	}
}
