package templates

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestWalkThrough holds the walk-through against the templates: parameters, outputs and files that it names are there.
func TestWalkThrough(t *testing.T) {
	source, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(source)
	parameters, outputs := map[string]bool{}, map[string]bool{}
	for _, name := range templateNames(t) {
		tm := load(t, name)
		for p := range tm.parameters {
			parameters[p] = true
		}
		for o := range tm.outputs {
			outputs[o] = outputs[o] || name == "main"
		}
		if name != "main" && !strings.Contains(text, "| `"+name+"` |") {
			t.Errorf("the table of parts has no %s", name)
		}
	}
	found := 0
	for _, m := range regexp.MustCompile("[ `\"]([A-Z][a-z][A-Za-z0-9]+)=([^ `\n]*)").FindAllStringSubmatch(text, -1) {
		if slices.Contains([]string{"Type", "Name", "Jar", "Args"}, m[1]) { // of the AWS CLI
			continue
		}
		found++
		if !parameters[m[1]] {
			t.Errorf("no template has a parameter %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`\$\(out ([A-Za-z]+)\)`).FindAllStringSubmatch(text, -1) {
		found++
		if !outputs[m[1]] {
			t.Errorf("the main template has no output %s", m[1])
		}
	}
	if found < 40 {
		t.Errorf("found only %d parameters and outputs", found)
	}
	for _, m := range regexp.MustCompile("scripts/((?:cloudformation|terraform|templates)[A-Za-z0-9_/.-]*)").FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("..", strings.TrimRight(m[1], "./"))); err != nil {
			t.Error(err)
		}
	}
	for _, m := range regexp.MustCompile(`\]\(#([a-z0-9-]+)\)`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(anchors(text), m[1]) {
			t.Errorf("there is no heading for #%s", m[1])
		}
	}
}

// anchors are the names of a page's headings.
func anchors(page string) (names []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		names = append(names, strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return names
}

// TestWalkThroughVariants evaluates each line of the table of other forms.
func TestWalkThroughVariants(t *testing.T) {
	source, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(source), "| for | parameters |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := 0
	for line := range strings.Lines(table) {
		rows++
		given := map[string]any{}
		for _, code := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(strings.SplitN(line, "|", 3)[2], -1) {
			for _, pair := range regexp.MustCompile(`"?([A-Z][A-Za-z0-9]+)=([^" ]*(?: --[a-z]+)?)`).FindAllStringSubmatch(code[1], -1) {
				given[pair[1]] = strings.NewReplacer("arn:...", key, "BUCKET", "bucket").Replace(pair[2])
			}
		}
		given["Bucket"] = "bucket"
		if _, err := evaluate("main", given); err != nil {
			t.Errorf("%s%v\nwith %v", line, err, slices.Sorted(maps.Keys(given)))
		}
	}
	if rows < 10 {
		t.Errorf("found %d rows", rows)
	}
}
