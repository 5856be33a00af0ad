package ssmcoord

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// units are the names of package time from which durations are made.
var units = []string{"Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"}

// literals returns where a file makes a duration of a unit of time. A unit to which a text is
// rounded is none.
func literals(t *testing.T, name string, source any) (found []string) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, source, 0)
	if err != nil {
		t.Fatal(err)
	}
	var look func(n ast.Node) bool
	look = func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			s, ok := call.Fun.(*ast.SelectorExpr)
			if ok && (s.Sel.Name == "Round" || s.Sel.Name == "Truncate") {
				ast.Inspect(s.X, look)
				return false
			}
		}
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(units, s.Sel.Name) {
			found = append(found, set.Position(s.Pos()).String())
		}
		return true
	}
	ast.Inspect(file, look)
	return found
}

// Every wait follows from the lags in lag.go, or from a quota in pace.go: no other file makes a
// duration of its own.
func TestWaitsHaveASource(t *testing.T) {
	seen := map[string]bool{}
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		found := literals(t, name, nil)
		switch base := path.Base(name); {
		case base == "lag.go" || base == "pace.go":
			seen[name] = len(found) > 0
		case len(found) > 0:
			t.Errorf("%s: a duration of its own: derive it from a lag, or name its quota in pace.go", strings.Join(found, ", "))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !seen["lag.go"] || !seen["pace.go"] || !seen["inventory/pace.go"] {
		t.Errorf("the test has not seen the durations of lag.go and pace.go: %v", seen)
	}
}

func TestLiterals(t *testing.T) {
	for source, want := range map[string]int{
		"var d = 2 * time.Second":                    1,
		"var d = time.Duration(n) * time.Minute":     1,
		"var d = 2 * DescribeLag":                    0,
		"var s = d.Round(time.Second).String()":      0,
		"var s = (2 * time.Hour).Round(time.Hour)":   1,
		"var d = min(time.Second, time.Since(then))": 1,
	} {
		if found := literals(t, "a.go", "package a\n"+source+"\n"); len(found) != want {
			t.Errorf("%s: %v, want %d", source, found, want)
		}
	}
}
