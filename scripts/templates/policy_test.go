package templates

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	policyFile = "../../agent/iam/instance-profile-policy.json"
	rolesFile  = templateDir + "/roles.yaml"
	// The policy's statements are between these lines of rolesFile.
	policyBegin = "            # agent/iam/instance-profile-policy.json, with the placeholders filled in; go test -run Policy . -args -update\n            Statement:\n"
	policyEnd   = "        - PolicyName: s3\n"
)

var update = flag.Bool("update", false, "write the policy file's statements into the template roles")

// TestPolicyIsTheFile checks that the template's policy for nodes equals the file that operators
// use and that the tests with the model of AWS use.
func TestPolicyIsTheFile(t *testing.T) {
	text, err := os.ReadFile(policyFile)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		writePolicy(t, text)
	}
	s := mustEvaluate(t)
	policy := s.of("Roles/NodeRole").properties["Policies"].([]any)[0].(object)
	same(t, "policy's name", policy["PolicyName"], "emr-static-ip")
	same(t, "policy", single(policy["PolicyDocument"]), filledIn(t, text, s.of("Network/NodeSubnet").id))

	s = mustEvaluate(t, "Provisioning", "instance-fleets", "NodeSubnetCidr2", "10.0.2.0/24", "MasterIps2", "10.0.2.32/30", "CoreIps2", "10.0.2.40/29",
		"NodeSubnetCidr3", "10.0.3.0/24", "MasterIps3", "10.0.3.32/30", "CoreIps3", "10.0.3.40/29", "ClaimTags", "team=data")
	subnets := []string{s.of("Network/NodeSubnet").id, s.of("Network/NodeSubnet2").id, s.of("Network/NodeSubnet3").id}
	same(t, "policy for three subnets", s.of("Roles/NodeRole").properties["Policies"].([]any)[0].(object)["PolicyDocument"], filledIn(t, text, subnets...))

	tags, err := os.ReadFile("../../agent/iam/claim-tags-policy.json")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "policy for tags", s.of("Roles/ClaimTagsPolicy").properties["PolicyDocument"], filledIn(t, tags, subnets...))
	if mustEvaluate(t).of("Roles/ClaimTagsPolicy") != nil {
		t.Error("the policy for tags exists without ClaimTags")
	}

	other, err := evaluate("roles", map[string]any{"SubnetId": "subnet-1", "Bucket": "bucket", "LogBucket": "bucket", "DataBucket": "bucket", "ParameterPrefix": "/team/static"})
	if err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal(other.of("NodeRole").properties["Policies"].([]any)[0])
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(document), "parameter/emr-static-ip") || !strings.Contains(string(document), ":parameter/team/static/subnet-1/*") {
		t.Errorf("the policy does not use ParameterPrefix everywhere: %s", document)
	}
}

// filledIn returns a policy file for the subnets. Texts with the placeholder SUBNET_ID are repeated
// for each subnet.
func filledIn(t *testing.T, text []byte, subnets ...string) (policy any) {
	t.Helper()
	filled := regexp.MustCompile(`(: )?"[^"]*SUBNET_ID[^"]*"`).ReplaceAllStringFunc(string(text), func(m string) string {
		m, only := strings.CutPrefix(m, ": ")
		var all []string
		for _, subnet := range subnets {
			all = append(all, strings.ReplaceAll(m, "SUBNET_ID", subnet))
		}
		list := strings.Join(all, ", ")
		if only {
			list = ": [" + list + "]"
		}
		return list
	})
	if err := json.Unmarshal([]byte(strings.NewReplacer("REGION", region, "ACCOUNT_ID", account).Replace(filled)), &policy); err != nil {
		t.Fatal(err)
	}
	if len(subnets) == 1 {
		return single(policy)
	}
	return policy
}

// single replaces each list that has one value by the value, which is the same to IAM.
func single(v any) any {
	switch v := v.(type) {
	case []any:
		if len(v) == 1 {
			return single(v[0])
		}
		list := []any{}
		for _, item := range v {
			list = append(list, single(item))
		}
		return list
	case object:
		done := object{}
		for key, item := range v {
			done[key] = single(item)
		}
		return done
	}
	return v
}

// TestParameterPrefix checks that the nodes get the prefix to which their policy lets them write.
func TestParameterPrefix(t *testing.T) {
	s := mustEvaluate(t, "ParameterPrefix", "/team/static")
	args := s.of("Cluster/Cluster").properties["BootstrapActions"].([]any)[0].(object)["ScriptBootstrapAction"].(object)["Args"]
	if !slices.Contains(args.([]any), any("--prefix=/team/static")) {
		t.Errorf("arguments of the bootstrap action: %v", args)
	}
	document, err := json.Marshal(s.of("Roles/NodeRole").properties["Policies"].([]any)[0])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(document), ":parameter/team/static/"+s.of("Network/NodeSubnet").id+"/*") {
		t.Errorf("policy of the nodes: %s", document)
	}
}

// writePolicy writes the statements of the policy file into the template.
func writePolicy(t *testing.T, policy []byte) {
	t.Helper()
	var document yaml.Node // JSON is YAML, and a yaml.Node keeps the order
	if err := yaml.Unmarshal(policy, &document); err != nil {
		t.Fatal(err)
	}
	root := document.Content[0]
	statements := root.Content[len(root.Content)-1]
	repeat(statements)
	fillIn(statements)
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(statements); err != nil {
		t.Fatal(err)
	}
	template, err := os.ReadFile(rolesFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(template), policyBegin)
	_, after, foundEnd := strings.Cut(rest, policyEnd)
	if !found || !foundEnd {
		t.Fatalf("%s lacks the lines\n%s...\n%s", rolesFile, policyBegin, policyEnd)
	}
	var indented strings.Builder
	for line := range strings.Lines(out.String()) {
		indented.WriteString("              " + line)
	}
	if err := os.WriteFile(rolesFile, []byte(before+policyBegin+indented.String()+policyEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// perSubnet returns a copy of a text for each possible subnet.
func perSubnet(n *yaml.Node) (all []*yaml.Node) {
	for _, number := range []string{"", "2", "3"} {
		text := &yaml.Node{Kind: yaml.ScalarNode, Value: strings.ReplaceAll(n.Value, "SUBNET_ID", "SUBNET_ID"+number)}
		if number == "" {
			all = append(all, text)
			continue
		}
		none := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!Ref", Value: "AWS::NoValue"}
		all = append(all, &yaml.Node{Kind: yaml.SequenceNode, Tag: "!If", Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: "HasSubnet" + number}, text, none}})
	}
	return all
}

// repeat replaces the texts below n that name the subnet by the results of perSubnet.
func repeat(n *yaml.Node) {
	var content []*yaml.Node
	for _, child := range n.Content {
		switch named := child.Kind == yaml.ScalarNode && strings.Contains(child.Value, "SUBNET_ID"); {
		case named && n.Kind == yaml.SequenceNode:
			content = append(content, perSubnet(child)...)
		case named:
			content = append(content, &yaml.Node{Kind: yaml.SequenceNode, Content: perSubnet(child)})
		default:
			repeat(child)
			content = append(content, child)
		}
	}
	n.Content = content
}

// fillIn replaces placeholders by references, and writes lists of texts on one line.
func fillIn(n *yaml.Node) {
	n.Style &^= yaml.FlowStyle
	if n.Kind == yaml.SequenceNode && n.Tag != "!If" && n.Content[0].Kind == yaml.ScalarNode && len(n.Content[0].Value) < 40 {
		n.Style |= yaml.FlowStyle
	}
	for _, child := range n.Content {
		fillIn(child)
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!Ref" {
		return
	}
	n.Style = 0
	if strings.ContainsAny(n.Value, ":*") || n.Value == "true" || n.Value == "false" {
		n.Style = yaml.DoubleQuotedStyle
	}
	filled := strings.NewReplacer("${", "${!", "arn:aws:", "arn:${AWS::Partition}:", "REGION", "${AWS::Region}", "ACCOUNT_ID", "${AWS::AccountId}", "SUBNET_ID3", "${SubnetId3}", "SUBNET_ID2", "${SubnetId2}", "SUBNET_ID", "${SubnetId}",
		":parameter/emr-static-ip/", ":parameter${ParameterPrefix}/").Replace(n.Value)
	switch {
	case n.Value == "REGION":
		n.Tag, n.Value, n.Style = "!Ref", "AWS::Region", 0
	case filled != n.Value:
		n.Tag, n.Value, n.Style = "!Sub", filled, yaml.DoubleQuotedStyle
	}
}
