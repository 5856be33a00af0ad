package scripts

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// runners are the functions that start programs; the product's own ones among them.
var runners = []string{"exec.Command", "exec.CommandContext", "syscall.Exec", "syscall.ForkExec", "os.StartProcess", "outputOf", "exec.LookPath"}

// shells are programs that read what they are given as a language.
var shells = []string{"sh", "bash", "dash", "ash", "ksh", "zsh", "busybox", "env", "eval", "awk", "perl", "python", "python3"}

// shellCalls are the places where a source starts a shell: a string that names one, anywhere in the arguments of a runner, and -c beside it.
func shellCalls(file string, source []byte) ([]string, error) {
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var found []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || !slices.Contains(runners, callee(call.Fun)) {
			return true
		}
		for _, arg := range call.Args {
			ast.Inspect(arg, func(n ast.Node) bool {
				literal, ok := n.(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(literal.Value)
				if err == nil && (slices.Contains(shells, path.Base(text)) || text == "-c") {
					found = append(found, fmt.Sprintf("%s: %s gets %q", set.Position(literal.Pos()), callee(call.Fun), text))
				}
				return true
			})
		}
		return true
	})
	return found, nil
}

func callee(fun ast.Expr) string {
	switch f := fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
	}
	return ""
}

// TestNoShell: the product runs no program through a shell, and its units do not either.
func TestNoShell(t *testing.T) {
	root := os.DirFS("..")
	files, err := sources(root)
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, file := range files {
		if !productOutside()(file) {
			continue
		}
		looked++
		source, err := fs.ReadFile(root, file)
		if err != nil {
			t.Fatal(err)
		}
		found, err := shellCalls(file, source)
		if err != nil {
			t.Error(err)
		}
		for _, f := range found {
			t.Error(f)
		}
	}
	if looked < 50 {
		t.Errorf("looked at %d files only", looked)
	}
	units, err := fs.Glob(root, "agent/systemd/*")
	if err != nil || len(units) < 4 {
		t.Fatal(units, err)
	}
	for _, unit := range units {
		text, err := fs.ReadFile(root, unit)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if command, ok := strings.CutPrefix(line, "Exec"); ok && !strings.Contains(command, "=@PROGRAM@ ") {
				t.Errorf("%s starts something else than the program: %s", unit, line)
			}
		}
	}
}

// TestNoShellFindsShells runs the check on what it is to find, and on what it is to let pass.
func TestNoShellFindsShells(t *testing.T) {
	for source, want := range map[string]int{
		`exec.Command("sh", "-c", "x")`:                         2,
		`exec.CommandContext(ctx, "/bin/bash", x)`:              1,
		`outputOf(ctx, []string{"/bin/sh", "-c", text})`:        2,
		`outputOf(ctx, append([]string{"systemctl"}, args...))`: 0,
		`syscall.Exec("/usr/bin/env", nil, nil)`:                1,
		`exec.LookPath("sudo")`:                                 0,
		`exec.Command(self, "apply")`:                           0,
		`print("sh", "-c")`:                                     0,
	} {
		found, err := shellCalls("x.go", []byte("package p\n\nfunc f() { "+source+" }\n"))
		if err != nil || len(found) != want {
			t.Errorf("%s: %q, %v, want %d", source, found, err, want)
		}
	}
}
