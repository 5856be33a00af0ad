package facts

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

const root = "../../../../"

// rooms are the directories of the packages that Follows names by their last element.
var rooms = map[string]string{
	"agent": "agent", "check": "agent/check", "cli": "agent/cli", "cluster": "agent/cluster", "doctor": "agent/doctor", "ec2": "agent/ec2", "emr": "agent/emr", "pool": "agent/pool",
	"state": "agent/state", "verify": "agent/verify", "cloud": "cmd/emrsim/cloud", "lab": "cmd/emrsim/lab",
	"netcfg": "netcfg", "ssmcoord": "ssmcoord", "tag": "internal/tag",
}

// declared returns the names that the Go files of a directory declare: f, T, T.method, T.field.
func declared(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(root + dir + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no Go files in %s: %v", dir, err)
	}
	names := map[string]bool{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				names[receiver(d)+d.Name.Name] = true
			case *ast.GenDecl:
				for _, s := range d.Specs {
					declare(names, s)
				}
			}
		}
	}
	return names
}

func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	kind := d.Recv.List[0].Type
	if star, ok := kind.(*ast.StarExpr); ok {
		kind = star.X
	}
	if name, ok := kind.(*ast.Ident); ok {
		return name.Name + "."
	}
	return ""
}

func declare(names map[string]bool, s ast.Spec) {
	switch s := s.(type) {
	case *ast.ValueSpec:
		for _, n := range s.Names {
			names[n.Name] = true
		}
	case *ast.TypeSpec:
		names[s.Name.Name] = true
		members := (*ast.FieldList)(nil)
		switch kind := s.Type.(type) {
		case *ast.StructType:
			members = kind.Fields
		case *ast.InterfaceType:
			members = kind.Methods
		default:
			return
		}
		for _, f := range members.List {
			for _, n := range f.Names {
				names[s.Name.Name+"."+n.Name] = true
			}
		}
	}
}

var (
	quoted = regexp.MustCompile("`([^`]+)`")
	idForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
)

// TestTable checks that each row is whole: what follows exists in the code, a source is an address,
// and a fact without one has a switch or tests.
func TestTable(t *testing.T) {
	code := map[string]map[string]bool{}
	has := func(dir, name string) bool {
		if code[dir] == nil {
			code[dir] = declared(t, dir)
		}
		return code[dir][name]
	}
	switches := map[string]bool{}
	for _, s := range cloud.Switches() {
		if switches[s.Fact] {
			t.Errorf("%s has two switches", s.Fact)
		}
		switches[s.Fact] = true
	}
	seen := map[string]bool{}
	for _, g := range All() {
		for _, f := range g.Facts {
			if seen[f.ID] || !idForm.MatchString(f.ID) || f.Says == "" || strings.ContainsAny(f.Says+f.Follows+f.Heard, "|\n") {
				t.Errorf("%q: the id is there already or has another form, or a text is missing or would break the table", f.ID)
			}
			seen[f.ID] = true
			for _, s := range f.Sources {
				if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Host == "" || len(u.Path) < 2 {
					t.Errorf("%s: the source %q is not an address", f.ID, s)
				}
			}
			names := quoted.FindAllStringSubmatch(f.Follows, -1)
			if len(names) == 0 {
				t.Errorf("%s: what follows names nothing of the code", f.ID)
			}
			for _, m := range names {
				room, symbol, _ := strings.Cut(m[1], ".")
				dir, known := rooms[room]
				switch {
				case strings.HasPrefix(m[1], "--"):
				case known && has(dir, symbol):
				case strings.Contains(m[1], "/") && exists(m[1]):
				default:
					t.Errorf("%s: there is no %s", f.ID, m[1])
				}
			}
			if open := !f.Verified(); open != (switches[f.ID] || len(f.Tests) > 0) {
				t.Errorf("%s: not verified: %t, switch: %t, tests: %v", f.ID, open, switches[f.ID], f.Tests)
			}
			for _, name := range f.Tests {
				dir, test, _ := strings.Cut(name, ".")
				if !has(dir, test) || !strings.HasPrefix(test, "Test") {
					t.Errorf("%s: there is no test %s", f.ID, name)
				}
			}
		}
	}
	for id := range switches {
		if !seen[id] {
			t.Errorf("the switch %s is about no fact", id)
		}
	}
}

// settings are the fields of the model's Options that say nothing about AWS: names, randomness,
// time, and what the model demands of its clients. Authorize is where a test puts its policies.
var settings = []string{"Region", "Account", "Seed", "Latency", "UniqueTimes", "VerifyInProcess", "AnyCredentials", "Now", "Authorize", "Unverified"}

// TestTableCoversTheModel checks that the table names every behaviour of AWS that the model can be
// set to.
func TestTableCoversTheModel(t *testing.T) {
	var follows strings.Builder
	for _, g := range All() {
		for _, f := range g.Facts {
			follows.WriteString(f.Follows)
		}
	}
	behaviours := 0
	for name := range declared(t, "cmd/emrsim/cloud") {
		kind, field, _ := strings.Cut(name, ".")
		if field == "" || kind != "Options" && kind != "Unverified" || slices.Contains(settings, field) || kind == "Options" && field == "withDefaults" {
			continue
		}
		behaviours++
		if !strings.Contains(follows.String(), "`cloud."+name+"`") {
			t.Errorf("no row names cloud.%s", name)
		}
	}
	if behaviours < 25 {
		t.Errorf("found only %d behaviours", behaviours)
	}
}

func exists(file string) bool {
	_, err := os.Stat(root + file)
	return err == nil
}

// TestPage checks that the page is made from the table.
func TestPage(t *testing.T) {
	golden.Is(t, "../README.md", Render())
}

func TestFind(t *testing.T) {
	if f, ok := Find("ssm-recreate"); !ok || f.Verified() {
		t.Errorf("Find = %+v, %t", f, ok)
	}
	if _, ok := Find("none"); ok {
		t.Error("an unknown id was found")
	}
}
