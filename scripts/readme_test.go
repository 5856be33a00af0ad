package scripts

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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

func TestReadmeExitCodes(t *testing.T) {
	want := constants(t, "../agent/exit.go", func(spec *ast.ValueSpec) bool {
		kind, ok := spec.Type.(*ast.Ident)
		return ok && kind.Name == "ExitCode"
	})
	_, section, _ := strings.Cut(readme(t), "\n## Exit codes\n")
	section, _, _ = strings.Cut(section, "\n## ")
	got := map[string]string{}
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| ([^|]*?) *\|`).FindAllStringSubmatch(section, -1) {
		if _, twice := got[row[1]]; twice {
			t.Errorf("README names exit code %s twice", row[1])
		}
		got[row[1]] = row[2]
	}
	for _, code := range slices.Sorted(maps.Keys(want)) {
		if got[code] != want[code] {
			t.Errorf("exit code %s: README says %q, agent/exit.go says %q", code, got[code], want[code])
		}
	}
	for code := range got {
		if _, ok := want[code]; !ok {
			t.Errorf("README has exit code %s, agent/exit.go has not", code)
		}
	}
}

func TestReadmeFlags(t *testing.T) {
	flags := constants(t, "../agent/config.go", func(spec *ast.ValueSpec) bool {
		return strings.HasPrefix(spec.Names[0].Name, "flag")
	})
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
		t.Errorf("the README's table has --%s, agent/config.go has not", name)
	}
}

// optional are calls that the policy need not allow: what makes them says what is missing, and goes on.
var optional = []string{"ec2:GetSubnetCidrReservations"}

// TestReadmePolicy checks that the README's policy allows the calls that the code makes, and no others. Calls are found by the names of
// the SDK's input types.
func TestReadmePolicy(t *testing.T) {
	want := map[string]bool{}
	for _, file := range slices.Concat(parsed(t, "../agent/*.go"), parsed(t, "../ssmcoord/*.go")) {
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				service, ok := s.X.(*ast.Ident)
				operation, isInput := strings.CutSuffix(s.Sel.Name, "Input")
				if ok && isInput && (service.Name == "ec2" || service.Name == "ssm") {
					want[service.Name+":"+operation] = true
				}
			}
			return true
		})
	}
	if len(want) < 5 {
		t.Fatalf("found only the calls %v", want)
	}

	_, rest, _ := strings.Cut(readme(t), "```json\n")
	text, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the README has no policy")
	}
	var policy struct {
		Version   string
		Statement []struct {
			Effect           string
			Action, Resource any
		}
	}
	if err := json.Unmarshal([]byte(text), &policy); err != nil {
		t.Fatalf("the README's policy: %v", err)
	}
	allowed := map[string]bool{}
	for _, s := range policy.Statement {
		actions, ok := s.Action.([]any)
		if !ok {
			actions = []any{s.Action}
		}
		for _, a := range actions {
			name, _ := a.(string)
			allowed[name] = true
			if !want[name] {
				t.Errorf("the policy allows %q, which nothing calls", name)
			}
		}
	}
	for name := range want {
		if !allowed[name] && !slices.Contains(optional, name) {
			t.Errorf("the policy lacks %s", name)
		}
	}
	for _, name := range optional {
		if !want[name] || allowed[name] || !strings.Contains(readme(t), "`"+name+"`") {
			t.Errorf("%s is to be called, to be missing in the policy, and to be spoken of in the README", name)
		}
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
