package templates

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// TestWalkThrough checks that the parameters, outputs and files in the walk-through exist.
func TestWalkThrough(t *testing.T) {
	text := page(t)
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
		if slices.Contains([]string{"Type", "Name", "Jar", "Args", "Key"}, m[1]) { // options of the AWS CLI
			continue
		}
		found++
		if !parameters[m[1]] {
			t.Errorf("no template has a parameter %s", m[1])
		}
	}
	published := regexp.MustCompile(`publish\.sh s3://\$BUCKET/(\S+)`).FindStringSubmatch(text)
	if published == nil {
		t.Fatal("nothing is published to $BUCKET")
	}
	for _, m := range regexp.MustCompile(`Bucket=\$BUCKET Prefix=(\S+)`).FindAllStringSubmatch(text, -1) {
		if found++; m[1] != published[1] {
			t.Errorf("a stack takes the program from %s, and it is published to %s", m[1], published[1])
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

// TestParts checks that the table of parts has all parameters that a part needs. A value from other
// parts must be an output of another part with the same name.
func TestParts(t *testing.T) {
	outputs := map[string][]string{} // name of an output -> templates
	for _, name := range templateNames(t) {
		if name != "main" {
			for output := range load(t, name).outputs {
				outputs[output] = append(outputs[output], name)
			}
		}
	}
	rows, names := 0, regexp.MustCompile("`([A-Z][A-Za-z0-9]*)`")
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+)` \\| [^|]*\\|([^|]*)\\|([^|]*)\\|$").FindAllStringSubmatch(page(t), -1) {
		rows++
		tm := load(t, m[1])
		named := map[string]bool{}
		for i, cell := range m[2:] {
			for _, n := range names.FindAllStringSubmatch(cell, -1) {
				named[n[1]] = true
				if tm.parameters[n[1]] == nil {
					t.Errorf("%s has no parameter %s", m[1], n[1])
				}
				others := slices.DeleteFunc(slices.Clone(outputs[n[1]]), func(name string) bool { return name == m[1] })
				if fromOthers := i == 0; fromOthers != (len(others) > 0) {
					t.Errorf("%s takes %s from other parts: %t; it is an output of %v", m[1], n[1], fromOthers, others)
				}
			}
		}
		for parameter, d := range tm.parameters {
			if m[1] == "datacenter" && parameter == "VpcCidr" { // the data centre's own VPC
				continue
			}
			if _, has := d.(object)["Default"]; !has && !named[parameter] {
				t.Errorf("the row of %s lacks the required parameter %s", m[1], parameter)
			}
			if len(outputs[parameter]) > 0 && !slices.Equal(outputs[parameter], []string{m[1]}) && !named[parameter] {
				t.Errorf("the row of %s lacks %s, which is an output of %v", m[1], parameter, outputs[parameter])
			}
		}
	}
	if rows != len(templateNames(t))-1 {
		t.Errorf("found %d rows, want one for each part", rows)
	}
}

// anchors returns the anchors of a page's headings.
func anchors(page string) (names []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		names = append(names, strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return names
}

// page returns the text of the walk-through.
func page(t *testing.T) string {
	t.Helper()
	source, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(source)
}

// launchParameters returns the parameters of the launch in the walk-through, with values for its
// shell variables.
func launchParameters(t *testing.T) object {
	t.Helper()
	_, launch, _ := strings.Cut(page(t), "--parameter-overrides \\\n")
	launch, _, _ = strings.Cut(launch, "\n\n")
	fill := strings.NewReplacer("$BUCKET", "bucket", "$PLACE", "the-place", "$KEY", "key", "$ME", "198.51.100.7/32", "$SUM", strings.Repeat("0a", 64))
	given := object{}
	for _, m := range regexp.MustCompile(`([A-Za-z0-9]+)=(\S+)`).FindAllStringSubmatch(launch, -1) {
		given[m[1]] = fill.Replace(m[2])
	}
	return given
}

// TestWalkThroughPlace checks that the walk-through puts everything into one place of the bucket,
// and finally removes this place. The removal must not need values of the stack.
func TestWalkThroughPlace(t *testing.T) {
	given := launchParameters(t)
	s, err := evaluate("main", given)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the place of the program", given["Prefix"], "the-place/program")
	if key := fmt.Sprint(given["HadoopKey"]); !strings.HasPrefix(key, "the-place/") {
		t.Errorf("Hadoop is outside of the place: %s", key)
	}
	for _, output := range []string{"LogUri", "DataUri"} {
		if uri := fmt.Sprint(s.outputs[output]); !strings.HasPrefix(uri, "s3://bucket/the-place/") {
			t.Errorf("%s is outside of the place: %s", output, uri)
		}
	}
	text := page(t)
	for _, m := range regexp.MustCompile(`(?:publish\.sh|aws s3 cp \S+) (s3://\S+)`).FindAllStringSubmatch(text, -1) {
		if !strings.HasPrefix(m[1], "s3://$BUCKET/$PLACE/") {
			t.Errorf("outside of the place: %s", m[0])
		}
	}
	_, end, _ := strings.Cut(text, "\n## Cleaning up\n")
	end, _, _ = strings.Cut(end, "\n## ")
	_, gone, found := strings.Cut(end, "aws cloudformation delete-stack")
	removals := regexp.MustCompile(`aws s3 rm .*(s3://\S+)`).FindAllStringSubmatch(gone, -1)
	if !found || len(removals) != 1 || removals[0][1] != "s3://$BUCKET/${PLACE:?}/" {
		t.Errorf("removed: %q", removals)
	}
	if strings.Contains(gone, "$(out ") {
		t.Error("the cleaning up reads outputs of the deleted stack")
	}
}

// TestWalkThroughTerraform checks that the example for Terraform has the outputs that later steps
// use, and the same place.
func TestWalkThroughTerraform(t *testing.T) {
	text, example := page(t), loadModule(t, "examples/walkthrough")
	_, section, _ := strings.Cut(text, "\n## With Terraform\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if !strings.Contains(section, "terraform destroy") {
		t.Error("the page does not say how to remove everything")
	}
	set := map[string]bool{"region": true} // from AWS_REGION
	for _, m := range regexp.MustCompile(`TF_VAR_([a-z0-9_]+)=|-var ([a-z0-9_]+)=`).FindAllStringSubmatch(section, -1) {
		set[m[1]+m[2]] = true
	}
	if variables := slices.Sorted(maps.Keys(example.variables)); !slices.Equal(variables, slices.Sorted(maps.Keys(set))) {
		t.Errorf("the page sets %v, the example has the variables %v", slices.Sorted(maps.Keys(set)), variables)
	}
	if v, diagnostics := example.variables["region"].Body.Attributes["default"].Expr.Value(nil); diagnostics.HasErrors() || !v.IsNull() {
		t.Errorf("the example uses %v instead of AWS_REGION", v)
	}
	values := func(part, pattern string) map[string]bool {
		found := map[string]bool{}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(part, -1) {
			found[m[1]] = true
		}
		return found
	}
	kept := values(text, `([A-Z_]+)=\$\(out `)
	if here := values(section, `([A-Z_]+)=\$\(terraform output -raw `); len(kept) < 7 || !maps.Equal(kept, here) {
		t.Errorf("the page saves the outputs %v with CloudFormation and %v with Terraform", kept, here)
	}
	for output := range values(section, `terraform output -raw ([a-z_]+)`) {
		if example.outputs[output] == nil {
			t.Errorf("the example has no output %s", output)
		}
	}
	call, given := example.calls["emr_static_ip"].Body.Attributes, launchParameters(t)
	for parameter, value := range given {
		a := call[snake(parameter)]
		if a == nil {
			t.Errorf("the example does not set %s", snake(parameter))
			continue
		}
		scope := &hcl.EvalContext{Variables: map[string]cty.Value{"var": cty.ObjectVal(map[string]cty.Value{"bucket": cty.StringVal("bucket"), "place": cty.StringVal("the-place"),
			"key_name": cty.StringVal("key"), "client_cidr": cty.StringVal("198.51.100.7/32"), "hadoop_sha512": cty.StringVal(strings.Repeat("0a", 64))})}}
		if v, diagnostics := a.Expr.Value(scope); diagnostics.HasErrors() || plainText(v) != value {
			t.Errorf("%s is %v, %s %v %v", parameter, value, snake(parameter), v, diagnostics)
		}
	}
}

// TestWalkThroughVariants evaluates each row of the table of variants.
func TestWalkThroughVariants(t *testing.T) {
	_, table, _ := strings.Cut(page(t), "| for | parameters |\n|---|---|\n")
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
