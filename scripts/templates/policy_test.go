package templates

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	policyFile = "../../agent/iam/instance-profile-policy.json"
	rolesFile  = templateDir + "/roles.yaml"
	// The policy's statements in rolesFile stand between these lines.
	policyBegin = "            # agent/iam/instance-profile-policy.json, with the placeholders filled in; go test -run Policy . -args -update\n            Statement:\n"
	policyEnd   = "        - PolicyName: s3\n"
)

var update = flag.Bool("update", false, "write the policy file's statements into the template roles")

// TestPolicyIsTheFile: the nodes' policy in the template is the file that operators attach by hand, and that the model of AWS is tested under.
func TestPolicyIsTheFile(t *testing.T) {
	text, err := os.ReadFile(policyFile)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		writePolicy(t, text)
	}
	s := mustEvaluate(t)
	var want any
	filled := strings.NewReplacer("REGION", region, "ACCOUNT_ID", account, "SUBNET_ID", s.of("Network/NodeSubnet").id).Replace(string(text))
	if err := json.Unmarshal([]byte(filled), &want); err != nil {
		t.Fatal(err)
	}
	policy := s.of("Roles/NodeRole").properties["Policies"].([]any)[0].(object)
	same(t, "policy's name", policy["PolicyName"], "emr-static-ip")
	same(t, "policy", policy["PolicyDocument"], want)

	other, err := evaluate("roles", map[string]any{"SubnetId": "subnet-1", "Bucket": "bucket", "LogBucket": "bucket", "DataBucket": "bucket", "ParameterPrefix": "/team/static"})
	if err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal(other.of("NodeRole").properties["Policies"].([]any)[0])
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(document), "parameter/emr-static-ip") || !strings.Contains(string(document), ":parameter/team/static/subnet-1/*") {
		t.Errorf("another ParameterPrefix is not everywhere: %s", document)
	}
}

// TestParameterPrefix: the nodes are told of the place that they may write to.
func TestParameterPrefix(t *testing.T) {
	s := mustEvaluate(t, "ParameterPrefix", "/team/static")
	args := s.of("Cluster/Cluster").properties["BootstrapActions"].([]any)[0].(object)["ScriptBootstrapAction"].(object)["Args"]
	if !slices.Contains(args.([]any), any("--prefix=/team/static")) {
		t.Errorf("arguments %v", args)
	}
	document, err := json.Marshal(s.of("Roles/NodeRole").properties["Policies"].([]any)[0])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(document), ":parameter/team/static/"+s.of("Network/NodeSubnet").id+"/*") {
		t.Errorf("policy %s", document)
	}
}

// writePolicy puts the statements of the policy file into the template.
func writePolicy(t *testing.T, policy []byte) {
	t.Helper()
	var document yaml.Node // JSON is YAML, and a node keeps the order
	if err := yaml.Unmarshal(policy, &document); err != nil {
		t.Fatal(err)
	}
	root := document.Content[0]
	statements := root.Content[len(root.Content)-1]
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
		t.Fatalf("%s has no lines\n%s...\n%s", rolesFile, policyBegin, policyEnd)
	}
	var indented strings.Builder
	for line := range strings.Lines(out.String()) {
		indented.WriteString("              " + line)
	}
	if err := os.WriteFile(rolesFile, []byte(before+policyBegin+indented.String()+policyEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// fillIn makes placeholders references, and lists of texts one line.
func fillIn(n *yaml.Node) {
	n.Style &^= yaml.FlowStyle
	if n.Kind == yaml.SequenceNode && n.Content[0].Kind == yaml.ScalarNode && len(n.Content[0].Value) < 40 {
		n.Style |= yaml.FlowStyle
	}
	for _, child := range n.Content {
		fillIn(child)
	}
	if n.Kind != yaml.ScalarNode {
		return
	}
	n.Style = 0
	if strings.ContainsAny(n.Value, ":*") || n.Value == "true" || n.Value == "false" {
		n.Style = yaml.DoubleQuotedStyle
	}
	filled := strings.NewReplacer("${", "${!", "arn:aws:", "arn:${AWS::Partition}:", "REGION", "${AWS::Region}", "ACCOUNT_ID", "${AWS::AccountId}", "SUBNET_ID", "${SubnetId}",
		":parameter/emr-static-ip/", ":parameter${ParameterPrefix}/").Replace(n.Value)
	switch {
	case n.Value == "REGION":
		n.Tag, n.Value, n.Style = "!Ref", "AWS::Region", 0
	case filled != n.Value:
		n.Tag, n.Value, n.Style = "!Sub", filled, yaml.DoubleQuotedStyle
	}
}
