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

// runners are the functions that start programs, including the product's own.
var runners = []string{"exec.Command", "exec.CommandContext", "syscall.Exec", "syscall.ForkExec", "os.StartProcess", "outputOf", "exec.LookPath"}

// shells are programs that interpret their arguments or input as a language.
var shells = []string{"sh", "bash", "dash", "ash", "ksh", "zsh", "busybox", "env", "eval", "awk", "perl", "python", "python3"}

// shellCalls returns the places where a source starts a shell: a string in the arguments of a
// runner that names a shell, or that is -c.
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

// TestNoShell checks that neither the product nor its units run a program through a shell.
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
		t.Errorf("looked at only %d files", looked)
	}
	units, err := fs.Glob(root, "agent/systemd/*.*")
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
				t.Errorf("%s starts another program: %s", unit, line)
			}
		}
	}
}

// TestNoShellFindsShells runs the check on sources that it must find and on sources that it must
// accept.
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
