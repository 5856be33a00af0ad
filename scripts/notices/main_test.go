package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// productModules returns the modules that are linked into the product, and the standard library.
func productModules(t *testing.T) []module {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "./cmd/emr-static-ip")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := []module{{std, runtime.Version()}}
	for line := range strings.Lines(string(out)) {
		if path, version, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			modules = append(modules, module{path, version})
		}
	}
	slices.SortFunc(modules, func(a, b module) int { return strings.Compare(a.key(), b.key()) })
	return slices.Compact(modules)
}

// TestProduct checks that the licence of everything linked into the product is known, and that the
// notices have its text.
func TestProduct(t *testing.T) {
	modules := productModules(t)
	parts, err := licensed(modules)
	if err != nil {
		t.Fatal(err)
	}
	if len(parts) != len(modules) || len(parts) < 20 {
		t.Fatalf("%d parts of %d modules", len(parts), len(modules))
	}
	notices := render(parts)
	for _, p := range parts {
		if len(p.texts) == 0 || !strings.Contains(notices, "\n"+p.path+" "+p.version+": "+strings.Join(p.ids, ", ")+"\n") {
			t.Errorf("%s is not listed, or has no text", p.key())
		}
		for _, x := range p.texts {
			if !strings.Contains(notices, strings.TrimRight(x.content, "\n")) {
				t.Errorf("the notices lack %s of %s", x.name, p.key())
			}
		}
	}
	ids := map[string]string{}
	for _, p := range parts {
		ids[p.path] = strings.Join(p.ids, " ")
	}
	for path, want := range map[string]string{
		std: "BSD-3-Clause", "golang.org/x/sys": "BSD-3-Clause", "go.uber.org/zap": "MIT", "github.com/spf13/cobra": "Apache-2.0",
		// It has code of the Go authors below internal/sync.
		"github.com/aws/aws-sdk-go-v2": "Apache-2.0 BSD-3-Clause",
	} {
		if ids[path] != want {
			t.Errorf("%s: %s, want %s", path, ids[path], want)
		}
	}
	// A text that many modules have is there once.
	if n := strings.Count(notices, "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION"); n > 8 {
		t.Errorf("the Apache License is there %d times", n)
	}
}

func TestUnknownLicense(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"LICENSE": "All rights reserved.", "x.go": "package x", "testdata/LICENSE": "not of this module"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	texts, err := textsIn(dir, true)
	if err != nil || len(texts) != 1 || texts[0].name != "LICENSE" {
		t.Errorf("%v, %v", texts, err)
	}
	if id := identify(texts[0].content); id != "" {
		t.Errorf("taken for %s", id)
	}
}

func TestAmend(t *testing.T) {
	const bom = `{"version": 1, "metadata": {"component": {"name": "own"}}, "components": [{"name": "a", "licenses": [{"license": {"id": "wrong"}}]}, {"name": "b"}]}`
	file := filepath.Join(t.TempDir(), "x.cdx.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(bom)
	if err := amend(file, map[string][]string{"own": {"Apache-2.0"}, "a": {"MIT"}, "b": {"Apache-2.0", "BSD-3-Clause"}}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	type component struct {
		Name     string
		Licenses []struct{ License struct{ ID string } }
	}
	var got struct {
		Version    int
		Metadata   struct{ Component component }
		Components []component
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, c := range append(got.Components, got.Metadata.Component) {
		for _, l := range c.Licenses {
			said = append(said, c.Name+" "+l.License.ID)
		}
	}
	if want := []string{"a MIT", "b Apache-2.0", "b BSD-3-Clause", "own Apache-2.0"}; !slices.Equal(said, want) || got.Version != 1 {
		t.Errorf("%q, want %q\n%s", said, want, text)
	}
	// A component without a known licence is an error, as is a document without components.
	for _, wrong := range []string{bom, "{}"} {
		write(wrong)
		if err := amend(file, map[string][]string{"own": {"Apache-2.0"}, "a": {"MIT"}, "b": {""}}); err == nil {
			t.Errorf("%s: no error", wrong)
		}
	}
}
