package templates

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReferences checks each template: all names that it uses exist, and all names that it declares
// are used.
func TestReferences(t *testing.T) {
	pseudo := []string{"AWS::NoValue", "AWS::Region", "AWS::AccountId", "AWS::Partition", "AWS::URLSuffix", "AWS::StackName"}
	for _, name := range templateNames(t) {
		t.Run(name, func(t *testing.T) {
			tm := load(t, name)
			refs, attributes, conditions := references([]any{tm.rules, tm.conditions, tm.resources, tm.outputs})
			for _, ref := range refs {
				if tm.parameters[ref] == nil && tm.resources[ref] == nil && !slices.Contains(pseudo, ref) {
					t.Errorf("a reference to %s, which does not exist", ref)
				}
			}
			for _, attribute := range attributes {
				if logical, _, _ := strings.Cut(attribute, "."); tm.resources[logical] == nil {
					t.Errorf("GetAtt %s: there is no such resource", attribute)
				}
			}
			for _, condition := range conditions {
				if tm.conditions[condition] == nil {
					t.Errorf("condition %s is used but does not exist", condition)
				}
			}
			for parameter := range tm.parameters {
				if !slices.Contains(refs, parameter) {
					t.Errorf("parameter %s is not used", parameter)
				}
			}
			for mapping := range tm.mappings {
				if !strings.Contains(fmt.Sprint(tm.resources), "Fn::FindInMap:["+mapping+" ") {
					t.Errorf("mapping %s is not used", mapping)
				}
			}
			for condition := range tm.conditions {
				if !slices.Contains(conditions, condition) {
					t.Errorf("condition %s is not used", condition)
				}
			}
		})
	}
}

// TestDeclarations checks the texts that an operator sees of each template, and CloudFormation's
// limits.
func TestDeclarations(t *testing.T) {
	for _, name := range templateNames(t) {
		t.Run(name, func(t *testing.T) {
			tm := load(t, name)
			if len(tm.source) > 51200 {
				t.Errorf("the template has %d bytes: more than 51,200 cannot be passed without a bucket", len(tm.source))
			}
			if len(tm.parameters) > 200 || len(tm.outputs) > 200 || len(tm.resources) > 500 {
				t.Error("more parameters, outputs or resources than CloudFormation accepts")
			}
			for parameter, d := range tm.parameters {
				checkParameter(t, parameter, d.(object))
			}
			for output, d := range tm.outputs {
				if text, _ := d.(object)["Description"].(string); text == "" || len(text) > 1024 {
					t.Errorf("the description of output %s is missing or too long", output)
				}
			}
			var grouped []string
			groups, _ := tm.interface_["ParameterGroups"].([]any)
			for _, g := range groups {
				for _, p := range g.(object)["Parameters"].([]any) {
					grouped = append(grouped, p.(string))
				}
			}
			slices.Sort(grouped)
			if declared := slices.Sorted(maps.Keys(tm.parameters)); !slices.Equal(grouped, declared) {
				t.Errorf("the console's groups have\n%v\nthe template has\n%v", grouped, declared)
			}
			for logical, r := range tm.resources {
				checkTags(t, logical, r.(object))
			}
		})
	}
}

func checkParameter(t *testing.T, name string, d object) {
	t.Helper()
	text, _ := d["Description"].(string)
	if text == "" || len(text) > 4000 {
		t.Errorf("the description of parameter %s is missing or too long", name)
	}
	pattern, _ := d["AllowedPattern"].(string)
	if pattern == "" {
		return
	}
	if d["ConstraintDescription"] == nil {
		t.Errorf("parameter %s has a pattern without a ConstraintDescription", name)
	}
	expression, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		t.Errorf("parameter %s: %v", name, err)
	} else if value, ok := d["Default"]; ok && !expression.MatchString(fmt.Sprint(value)) {
		t.Errorf("parameter %s: the default %v does not match %s", name, value, pattern)
	}
}

// checkTags checks that all resources that can have tags have a name, so that the costs of a stack
// can be found.
func checkTags(t *testing.T, logical string, r object) {
	t.Helper()
	untaggable := []string{"AWS::EC2::SubnetRouteTableAssociation", "AWS::EC2::VPCGatewayAttachment", "AWS::EC2::Route", "AWS::EC2::SecurityGroupIngress",
		"AWS::EC2::SecurityGroupEgress", "AWS::IAM::InstanceProfile", "AWS::IAM::Policy", "AWS::EMR::SecurityConfiguration", "AWS::EMR::InstanceGroupConfig",
		"AWS::EMR::InstanceFleetConfig", "AWS::Route53::RecordSet", "AWS::SSM::Association"}
	kind := r["Type"].(string)
	if slices.Contains(untaggable, kind) {
		return
	}
	want := "Name"
	if kind == "AWS::CloudFormation::Stack" {
		want = "emr-static-ip:stack"
	}
	properties := r["Properties"].(object)
	tags, _ := properties["Tags"].([]any)
	if kind == "AWS::Route53::HostedZone" {
		tags, _ = properties["HostedZoneTags"].([]any)
	}
	if kind == "AWS::EC2::LaunchTemplate" {
		tags = properties["TagSpecifications"].([]any)[0].(object)["Tags"].([]any)
	}
	if !slices.ContainsFunc(tags, func(tag any) bool { return tag.(object)["Key"] == want }) {
		t.Errorf("resource %s of type %s has no tag %s", logical, kind, want)
	}
}

// TestNestedParameters checks the parameters that the main template passes to its parts. They must
// exist and be complete, with the same constraints and defaults, so that a part works alone as it
// does in the whole.
func TestNestedParameters(t *testing.T) {
	tm := load(t, "main")
	seen := map[string]bool{}
	for logical, r := range tm.resources {
		if r.(object)["Type"] != "AWS::CloudFormation::Stack" {
			continue
		}
		properties := r.(object)["Properties"].(object)
		url := properties["TemplateURL"].(object)["Fn::Sub"].(string)
		name := strings.TrimSuffix(url[strings.LastIndex(url, "/")+1:], ".yaml")
		if want := "https://${Bucket}.s3.${AWS::Region}.${AWS::URLSuffix}/${Prefix}/cloudformation/" + name + ".yaml"; url != want {
			t.Errorf("%s: template %s, want %s", logical, url, want)
		}
		seen[name] = true
		child := load(t, name)
		passed := properties["Parameters"].(object)
		for parameter, value := range passed {
			d, ok := child.parameters[parameter].(object)
			if !ok {
				t.Errorf("%s: %s has no parameter %s", logical, name, parameter)
				continue
			}
			v, _ := value.(object)
			source, ok := tm.parameters[fmt.Sprint(v["Ref"])].(object)
			numbered := strings.TrimRight(fmt.Sprint(v["Ref"]), "23") != v["Ref"] && v["Ref"] != parameter // a second subnet's, which is optional
			if !ok || numbered || v["Ref"] == "Bucket" {                                                   // in the main template Bucket is part of a host name and so has no dots
				continue
			}
			for _, key := range []string{"Type", "Default", "AllowedPattern", "AllowedValues", "MinValue", "MaxValue"} {
				if key == "Default" && d[key] == nil || key == "Type" && parameter == "AvailabilityZone" {
					continue
				}
				if fmt.Sprint(source[key]) != fmt.Sprint(d[key]) {
					t.Errorf("%s of parameter %s is %v in main, %v of %s in %s", key, v["Ref"], source[key], d[key], parameter, name)
				}
			}
		}
		for parameter, d := range child.parameters {
			if _, ok := d.(object)["Default"]; !ok && passed[parameter] == nil {
				t.Errorf("%s: %s needs parameter %s", logical, name, parameter)
			}
		}
		for _, attribute := range nestedOutputs(tm, logical) {
			if child.outputs[attribute] == nil {
				t.Errorf("main uses %s.Outputs.%s, which %s does not have", logical, attribute, name)
			}
		}
	}
	// operations is for clusters that run, whoever launched them.
	if files := len(templateNames(t)) - 1; len(seen) != files-1 || seen["operations"] {
		t.Errorf("main nests %d of %d templates", len(seen), files)
	}
}

func nestedOutputs(tm *template, logical string) (names []string) {
	_, attributes, _ := references([]any{tm.resources, tm.outputs})
	for _, a := range attributes {
		if name, ok := strings.CutPrefix(a, logical+".Outputs."); ok {
			names = append(names, name)
		}
	}
	return names
}

// TestPermissions checks that no policy allows all actions, or all resources without a condition.
func TestPermissions(t *testing.T) {
	statements := 0
	once := "iam:CreateServiceLinkedRole" // only for one service, by its condition, in any account
	for _, name := range templateNames(t) {
		walk(load(t, name).resources, func(v any) {
			statement, ok := v.(object)
			if !ok || statement["Effect"] == nil {
				return
			}
			statements++
			for _, action := range list(statement["Action"]) {
				if strings.Contains(fmt.Sprint(action), "*") {
					t.Errorf("%s allows %v", name, action)
				}
			}
			for _, resource := range list(statement["Resource"]) {
				if strings.Contains(fmt.Sprint(statement["Action"]), once) && statement["Condition"] == nil {
					t.Errorf("%s allows any service-linked role", name)
				}
				if resource == "*" && statement["Condition"] == nil {
					t.Errorf("%s allows %v on all resources", name, statement["Action"])
				}
			}
		})
	}
	if statements < 10 {
		t.Errorf("found only %d statements", statements)
	}
}

// list returns v if it is a list, and otherwise a list with v alone.
func list(v any) []any {
	if l, ok := v.([]any); ok {
		return l
	}
	return []any{v}
}
