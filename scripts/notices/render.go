package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

const (
	head = "This product contains the software below. Each text is given once, below the modules that it is of.\n"
	line = "\n--------------------------------------------------------------------------------\n\n"
)

// render returns the notices of all modules: a list of them with their licences, then the texts.
// Equal texts are written once.
func render(parts []part) string {
	var b strings.Builder
	b.WriteString(head + "\n")
	var order []string
	owners := map[string][]string{}
	for _, p := range parts {
		fmt.Fprintf(&b, "%s %s: %s\n", p.path, p.version, strings.Join(p.ids, ", "))
		for _, t := range p.texts {
			if owners[t.content] == nil {
				order = append(order, t.content)
			}
			owners[t.content] = append(owners[t.content], fmt.Sprintf("%s %s, %s", p.path, p.version, t.name))
		}
	}
	for _, content := range order {
		b.WriteString(line + strings.Join(owners[content], "\n") + "\n\n" + strings.TrimRight(content, "\n") + "\n")
	}
	return b.String()
}

// amend adds licences to the components of a CycloneDX document. It fails if a component has none.
// https://cyclonedx.org/docs/1.6/json/#components_items_licenses
func amend(file string, ids map[string][]string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var bom map[string]any
	if err := d.Decode(&bom); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	components, _ := bom["components"].([]any)
	if metadata, ok := bom["metadata"].(map[string]any); ok {
		components = append(slices.Clone(components), metadata["component"])
	}
	if len(components) == 0 {
		return fmt.Errorf("%s has no components", file)
	}
	for _, c := range components {
		component, ok := c.(map[string]any)
		if !ok {
			return fmt.Errorf("%s has a component in an unknown form", file)
		}
		name := fmt.Sprint(component["name"])
		if len(ids[name]) == 0 || ids[name][0] == "" {
			return fmt.Errorf("%s: no licence is known of %s", file, name)
		}
		var licenses []any
		for _, id := range ids[name] {
			licenses = append(licenses, map[string]any{"license": map[string]any{"id": id}})
		}
		component["licenses"] = licenses
	}
	out, err := json.MarshalIndent(bom, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return os.WriteFile(file, append(out, '\n'), 0o644)
}
