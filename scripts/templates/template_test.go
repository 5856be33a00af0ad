// Package templates contains the tests of the CloudFormation templates and of the Terraform module.
package templates

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const templateDir = "../cloudformation"

// object is a mapping in a template. Functions are in their long form: !Ref X is {"Ref": "X"}, and
// !GetAtt A.B is {"Fn::GetAtt": ["A", "B"]}.
type object = map[string]any

// template is one file of templateDir.
type template struct {
	name                                                                    string // file name without .yaml
	source                                                                  []byte
	root                                                                    object
	parameters, rules, mappings, conditions, resources, outputs, interface_ object
}

// templateNames returns the names of all templates.
func templateNames(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(templateDir + "/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".yaml"))
	}
	for _, must := range []string{"main", "network", "reservation", "datacenter", "peering", "roles", "groups", "cluster", "dns"} {
		if !slices.Contains(names, must) {
			t.Fatalf("no template %s in %s", must, templateDir)
		}
	}
	return names
}

func load(t *testing.T, name string) *template {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(templateDir, name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	tm, err := parse(name, source)
	if err != nil {
		t.Fatal(err)
	}
	return tm
}

func parse(name string, source []byte) (*template, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(source, &document); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	root, err := plain(document.Content[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	sections, ok := root.(object)
	if !ok {
		return nil, fmt.Errorf("%s: not a mapping", name)
	}
	section := func(key string) object { s, _ := sections[key].(object); return s }
	tm := &template{name: name, source: source, root: sections, parameters: section("Parameters"), rules: section("Rules"), mappings: section("Mappings"), conditions: section("Conditions"),
		resources: section("Resources"), outputs: section("Outputs")}
	tm.interface_, _ = section("Metadata")["AWS::CloudFormation::Interface"].(object)
	for key := range sections {
		known := []string{"AWSTemplateFormatVersion", "Description", "Metadata", "Parameters", "Rules", "Mappings", "Conditions", "Resources", "Outputs"}
		if !slices.Contains(known, key) {
			return nil, fmt.Errorf("%s: unknown section %s", name, key)
		}
	}
	return tm, nil
}

// plain returns a node as maps, slices, strings, ints and bools. It replaces CloudFormation's tags
// by the long form of functions.
func plain(n *yaml.Node) (any, error) {
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		name := strings.TrimPrefix(n.Tag, "!")
		bare := *n
		bare.Tag = ""
		if bare.Kind == yaml.ScalarNode {
			bare.Tag = "!!str"
		}
		value, err := plain(&bare)
		if err != nil {
			return nil, err
		}
		switch name {
		case "Ref", "Condition":
			return object{name: value}, nil
		case "GetAtt":
			text, ok := value.(string)
			resource, attribute, dotted := strings.Cut(text, ".")
			if !ok || !dotted {
				return nil, fmt.Errorf("line %d: !GetAtt %v", n.Line, value)
			}
			return object{"Fn::GetAtt": []any{resource, attribute}}, nil
		}
		return object{"Fn::" + name: value}, nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := object{}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if _, twice := m[key]; twice {
				return nil, fmt.Errorf("line %d: %s twice", n.Content[i].Line, key)
			}
			value, err := plain(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			m[key] = value
		}
		return m, nil
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			value, err := plain(item)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case yaml.ScalarNode:
		var value any
		err := n.Decode(&value)
		return value, err
	}
	return nil, fmt.Errorf("line %d: a node of kind %d", n.Line, n.Kind)
}

// walk calls visit for every value below v, parents first.
func walk(v any, visit func(any)) {
	visit(v)
	switch v := v.(type) {
	case object:
		for _, item := range v {
			walk(item, visit)
		}
	case []any:
		for _, item := range v {
			walk(item, visit)
		}
	}
}

var subReference = regexp.MustCompile(`\$\{([^!}][^}]*)\}`)

// references returns the names that a value refers to: by Ref and Sub, by GetAtt (as
// RESOURCE.ATTRIBUTE), and as conditions.
func references(v any) (refs, attributes, conditions []string) {
	walk(v, func(v any) {
		o, ok := v.(object)
		if !ok {
			return
		}
		for key, value := range o {
			switch list, _ := value.([]any); key {
			case "Ref":
				refs = append(refs, fmt.Sprint(value))
			case "Condition":
				if name, ok := value.(string); ok { // in a policy Condition is a mapping
					conditions = append(conditions, name)
				}
			case "Fn::If":
				conditions = append(conditions, fmt.Sprint(list[0]))
			case "Fn::GetAtt":
				attributes = append(attributes, fmt.Sprintf("%v.%v", list[0], list[1]))
			case "Fn::Sub":
				text, ok := value.(string)
				local := object{}
				if !ok {
					text, local = list[0].(string), list[1].(object)
				}
				for _, m := range subReference.FindAllStringSubmatch(text, -1) {
					switch _, is := local[m[1]]; {
					case is:
					case strings.HasPrefix(m[1], "AWS::") || !strings.Contains(m[1], "."):
						refs = append(refs, m[1])
					default:
						attributes = append(attributes, m[1])
					}
				}
			}
		}
	})
	return refs, attributes, conditions
}
