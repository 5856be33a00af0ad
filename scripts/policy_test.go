package scripts

import (
	"encoding/json"
	"go/ast"
	"go/token"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// These tests compare the policies in agent/iam with the source. cmd/emrsim/simulation tests what
// the policies allow and deny.

// services are the prefixes of IAM actions, by the names of the SDK's packages in the source.
var services = map[string]string{"ec2": "ec2", "awsec2": "ec2", "ssm": "ssm"}

// byHand are the prefixes of IAM actions of services that are called without their SDK clients, by
// the package and the function or method that is called with the name of the action.
var byHand = map[string]string{"ec2.Call": "iam", "ec2.describe": "ec2", "cluster.Call": "elasticmapreduce", "cluster.try": "elasticmapreduce"}

// calls returns the product's calls to AWS as IAM actions. It finds them by the SDK's input types,
// and those that are made by hand by the name in the call: describe[T](ctx, client, NAME, ...).
func calls(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, file := range slices.Concat(parsed(t, "../agent/*.go"), parsed(t, "../agent/*/*.go"), parsed(t, "../ssmcoord/*.go")) {
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				service, action := handmade(file.Name.Name, call)
				if service != "" && action != "" {
					found[service+":"+action] = true
				}
			}
			if s, ok := n.(*ast.SelectorExpr); ok {
				service, ok := s.X.(*ast.Ident)
				operation, isInput := strings.CutSuffix(s.Sel.Name, "Input")
				if ok && isInput && services[service.Name] != "" {
					found[services[service.Name]+":"+operation] = true
				}
			}
			return true
		})
	}
	if len(found) < 5 {
		t.Fatalf("found only the calls %v", found)
	}
	return found
}

// handmade returns the service of a call that is made by hand, and the action if it is a constant.
func handmade(pkg string, call *ast.CallExpr) (service, action string) {
	fun := call.Fun
	if index, ok := fun.(*ast.IndexExpr); ok {
		fun = index.X
	}
	switch f := fun.(type) {
	case *ast.SelectorExpr:
		service = byHand[pkg+"."+f.Sel.Name]
	case *ast.Ident:
		service = byHand[pkg+"."+f.Name]
	}
	for _, arg := range call.Args {
		if name, ok := arg.(*ast.BasicLit); ok && name.Kind == token.STRING {
			return service, strings.Trim(name.Value, `"`)
		}
	}
	return service, ""
}

// policyFile returns the text of a policy and its actions.
func policyFile(t *testing.T, file string) (text string, actions []string) {
	t.Helper()
	data, err := os.ReadFile("../agent/iam/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var policy struct {
		Statement []struct {
			Sid, Effect string
			Action      any
		}
	}
	if err := json.Unmarshal(data, &policy); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	for _, s := range policy.Statement {
		if s.Sid == "" || s.Effect != "Allow" {
			t.Errorf("%s: a statement has no Sid or is not an Allow statement: %+v", file, s)
		}
		list, ok := s.Action.([]any)
		if !ok {
			list = []any{s.Action}
		}
		for _, a := range list {
			name, _ := a.(string)
			if strings.ContainsAny(name, "*?") || slices.Contains(actions, name) {
				t.Errorf("%s: the action %q is a pattern or a duplicate", file, name)
			}
			actions = append(actions, name)
		}
	}
	return string(data), actions
}

func TestPoliciesNameTheCalls(t *testing.T) {
	made, allowed := calls(t), map[string]bool{}
	files, err := os.ReadDir("../agent/iam")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), "-policy.json") {
			continue
		}
		text, actions := policyFile(t, f.Name())
		for _, a := range actions {
			allowed[a] = true
			if !made[a] {
				t.Errorf("%s allows %s, but the product does not call it", f.Name(), a)
			}
		}
		// IAM does not count white space. The limit of a managed policy is 6,144 characters.
		if n := len(strings.Join(strings.Fields(text), "")); n > 4096 {
			t.Errorf("%s has %d characters", f.Name(), n)
		}
	}
	for _, a := range slices.Sorted(maps.Keys(made)) {
		if !allowed[a] {
			t.Errorf("the product calls %s, but no policy in agent/iam allows it", a)
		}
	}
}
