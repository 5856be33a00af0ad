package templates

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemaDir has the JSON schemas of what the program prints, and examples of each.
const schemaDir = "../../agent/cli/schema"

// TestExamplesFitTheirSchemas validates the examples, which the program itself has printed in the
// tests of agent/cli. Of each schema there are examples, and a failure among them.
func TestExamplesFitTheirSchemas(t *testing.T) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	files, err := filepath.Glob(schemaDir + "/*.json")
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	ids := map[string]string{}
	for _, file := range files {
		schema := decoded(t, file).(map[string]any)
		id, _ := schema["$id"].(string)
		if path.Base(id) != filepath.Base(file) {
			t.Errorf("%s has the $id %q", file, id)
		}
		if err := c.AddResource(id, schema); err != nil {
			t.Fatal(err)
		}
		ids[strings.TrimSuffix(filepath.Base(file), ".json")] = id
	}
	for name, id := range ids {
		schema, err := c.Compile(id)
		if err != nil {
			t.Fatal(err)
		}
		if name == "head" {
			continue
		}
		examples, err := filepath.Glob(filepath.Join(schemaDir, "examples", name, "*.json"))
		if err != nil || len(examples) == 0 {
			t.Errorf("%s has no examples: %v", name, err)
		}
		failures := 0
		for _, file := range examples {
			example := decoded(t, file)
			if err := schema.Validate(example); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			o := example.(map[string]any)
			if o["error"] != nil {
				failures++
			}
			// Whatever is always there is missed.
			for _, field := range required(t, schema) {
				value := o[field]
				delete(o, field)
				if schema.Validate(o) == nil {
					t.Errorf("%s is accepted without %s", file, field)
				}
				o[field] = value
			}
		}
		if failures == 0 {
			t.Errorf("no example of %s has an error", name)
		}
	}
}

// required returns the fields that an object of a schema must have.
func required(t *testing.T, schema *jsonschema.Schema) []string {
	t.Helper()
	all := schema.Required
	for _, part := range schema.AllOf {
		if part.Ref != nil {
			part = part.Ref
		}
		all = append(all, part.Required...)
	}
	if len(all) < 7 {
		t.Fatalf("%s requires only %q", schema.Location, all)
	}
	return all
}

func decoded(t *testing.T, file string) any {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	value, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return value
}
