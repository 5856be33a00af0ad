package templates

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// document returns the SSM document that the template makes.
func document(t *testing.T, parameters object) (content object, all object) {
	t.Helper()
	s, err := newMaker().evaluate("operations", parameters)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range s.resources {
		if r != nil && r.kind == "AWS::SSM::Document" {
			return r.properties["Content"].(object), r.properties
		}
	}
	t.Fatal("no document")
	return nil, nil
}

// TestDocument checks the document's form: the script is the tested one, each parameter is bounded,
// and each name in double braces is a parameter.
func TestDocument(t *testing.T) {
	content, all := document(t, object{"Bucket": "bucket", "Prefix": "a/b"})
	if content["schemaVersion"] != "2.2" || all["DocumentType"] != "Command" || all["DocumentFormat"] != "JSON" || all["UpdateMethod"] != "NewVersion" {
		t.Errorf("%v", all)
	}
	script, err := os.ReadFile("../terraform/modules/operations/node.sh")
	if err != nil {
		t.Fatal(err)
	}
	steps := content["mainSteps"].([]any)
	commands := steps[0].(object)["inputs"].(object)["runCommand"].([]any)
	if len(steps) != 1 || len(commands) != 1 || commands[0] != string(script) {
		t.Errorf("the template's script is not node.sh:\n%v", commands)
	}
	parameters := content["parameters"].(object)
	named := map[string]bool{}
	for _, m := range regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`).FindAllStringSubmatch(string(script), -1) {
		if named[m[1]] = true; parameters[m[1]] == nil {
			t.Errorf("the script has {{ %s }}, which is no parameter", m[1])
		}
	}
	for name, p := range parameters {
		p := p.(object)
		if !named[name] || p["allowedPattern"] == nil && p["allowedValues"] == nil || p["default"] == nil {
			t.Errorf("parameter %s: used %t, %v", name, named[name], p)
		}
		// A quotation mark or a backslash would end the quotation in the script.
		for _, value := range append(list(p["allowedValues"]), p["default"]) {
			if strings.ContainsAny(fmt.Sprint(value), "'\\\n") {
				t.Errorf("parameter %s may be %q", name, value)
			}
		}
	}
	pattern := regexp.MustCompile(parameters["Arguments"].(object)["allowedPattern"].(string))
	for text, ok := range map[string]bool{
		"": true, "10.0.1.10 10.0.1.20-29,10.0.1.30 --verify h.example:8020 --prefix=/a_b": true,
		"'": false, `"`: false, "`id`": false, "$(id)": false, "a;b": false, "a\nb": false, `\`: false, "a&b": false, "|": false, ">x": false, "*": false, "{{ x }}": false,
		strings.Repeat("x", 1001): false,
	} {
		if pattern.MatchString(text) != ok {
			t.Errorf("Arguments %q: allowed %t", text, !ok)
		}
	}
	if base := parameters["Base"].(object); base["default"] != "s3://bucket/a/b" || !reflect.DeepEqual(base["allowedValues"], []any{"s3://bucket/a/b"}) {
		t.Errorf("the program comes from %v", base)
	}
}

// TestAssociation checks that there is one for a cluster only, for exactly its nodes.
func TestAssociation(t *testing.T) {
	for _, cluster := range []string{"", "j-1K48XXXXXXHCB"} {
		s, err := newMaker().evaluate("operations", object{"Bucket": "bucket", "ClusterId": cluster, "Action": "run", "Arguments": "10.0.1.10 10.0.1.11"})
		if err != nil {
			t.Fatal(err)
		}
		var found object
		for _, r := range s.resources {
			if r != nil && r.kind == "AWS::SSM::Association" {
				found = r.properties
			}
		}
		if (found != nil) != (cluster != "") {
			t.Fatalf("cluster %q: %v", cluster, found)
		}
		if found == nil {
			continue
		}
		want := []any{object{"Key": "tag:aws:elasticmapreduce:job-flow-id", "Values": []any{cluster}}}
		if !reflect.DeepEqual(found["Targets"], want) || !reflect.DeepEqual(found["Parameters"], object{"Action": []any{"run"}, "Arguments": []any{"10.0.1.10 10.0.1.11"}}) {
			t.Errorf("%v", found)
		}
	}
}

// TestSameDocument compares the document of the template with that of the module.
func TestSameDocument(t *testing.T) {
	content, _ := document(t, object{"Bucket": "bucket", "Prefix": "a/b"})
	template, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	var want any
	if err := json.Unmarshal(template, &want); err != nil {
		t.Fatal(err)
	}
	if got := locals(t, "modules/operations", object{"bucket": "bucket", "prefix": "a/b"}, "document")["document"]; !reflect.DeepEqual(got, want) {
		t.Errorf("the module has\n%v\nthe template\n%v", got, want)
	}
}
