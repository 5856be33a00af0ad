// Package scenarios has the scenarios that emrsim ships.
package scenarios

import (
	"embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed *.txtar
var files embed.FS

// Names returns the names of all scenarios, sorted.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // the file system is a part of the program
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".txtar"))
	}
	slices.Sort(names)
	return names
}

// Text returns the text of a scenario.
func Text(name string) ([]byte, error) {
	text, err := files.ReadFile(name + ".txtar")
	if err != nil {
		return nil, fmt.Errorf("no scenario %q: emrsim list shows all", name)
	}
	return text, nil
}

// Title returns the first line of a scenario, which says what it is about.
func Title(name string) string {
	text, err := Text(name)
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(strings.TrimLeft(first, "# "))
}
