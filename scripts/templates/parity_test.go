package templates

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// morePools are the parameters for second and third pools, which are a list in Terraform.
var morePools = []string{"MasterIps2", "CoreIps2", "TaskIps2", "MasterIps3", "CoreIps3", "TaskIps3"}

// differences are the names that only the template or only the module has, by module. The
// walk-through says that both have the same names and values otherwise.
var differences = map[string]struct{ templateOnly, moduleOnly []string }{
	"main":        {append(slices.Clip(morePools), "TaskMarket", "NodeSubnetCidr2", "AvailabilityZone2", "NodeSubnetCidr3", "AvailabilityZone3"), []string{"tags", "task_bid_price", "more_subnets"}},
	"cluster":     {append(slices.Clip(morePools), "TaskMarket", "ServiceRole", "NodeProfile", "SubnetId2", "SubnetId3"), []string{"tags", "task_bid_price", "service_role_arn", "instance_profile_arn", "more_subnets"}},
	"network":     {[]string{"BastionKeyName", "NodeSubnetCidr2", "AvailabilityZone2", "NodeSubnetCidr3", "AvailabilityZone3"}, []string{"tags", "key_name", "more_node_subnets"}},
	"datacenter":  {morePools, []string{"tags", "more_subnets"}},
	"roles":       {[]string{"SubnetId2", "SubnetId3"}, []string{"tags", "encryption_key", "more_subnet_ids"}}, // Terraform must know this before it creates the key
	"groups":      {nil, []string{"tags", "bastion"}},
	"peering":     {[]string{"PeerOwnerId", "PeerRegion", "PeerRoleArn"}, []string{"tags"}},
	"reservation": {[]string{"Name"}, nil}, // the provider has no tags for reservations
	"dns":         {nil, []string{"tags"}},
	"operations":  {nil, []string{"tags"}},
}

var capital = regexp.MustCompile(`[A-Z][a-z0-9]*`)

// snake returns the name of a template's parameter as a module's variable: MasterIps is master_ips.
func snake(parameter string) string {
	return strings.ToLower(strings.Join(capital.FindAllString(parameter, -1), "_"))
}

func moduleOf(template string) string {
	if template == "main" {
		return "."
	}
	return "modules/" + template
}

// TestSameParameters checks that templates and modules have the same parameters with the same
// defaults.
func TestSameParameters(t *testing.T) {
	for _, name := range templateNames(t) {
		t.Run(name, func(t *testing.T) {
			parameters, variables := load(t, name).parameters, loadModule(t, moduleOf(name)).variables
			known := differences[name]
			for parameter, d := range parameters {
				variable := variables[snake(parameter)]
				if only := slices.Contains(known.templateOnly, parameter); only != (variable == nil) {
					t.Errorf("parameter %s: variable %s exists: %t; may be missing: %t", parameter, snake(parameter), variable != nil, only)
				}
				if variable == nil || variable.Body.Attributes["default"] == nil {
					continue
				}
				value, diagnostics := variable.Body.Attributes["default"].Expr.Value(nil)
				if want, ok := d.(object)["Default"]; diagnostics.HasErrors() || ok && plainText(value) != fmt.Sprint(want) {
					t.Errorf("%s has the default %v, but %s has %s %v", parameter, want, snake(parameter), plainText(value), diagnostics)
				}
			}
			for variable := range variables {
				has := false
				for parameter := range parameters {
					has = has || snake(parameter) == variable
				}
				if only := slices.Contains(known.moduleOnly, variable); only == has {
					t.Errorf("variable %s: the template has it: %t; may be missing: %t", variable, has, only)
				}
			}
		})
	}
}

// plainText returns a value as CloudFormation has it: as text, and no value as an empty text.
func plainText(v cty.Value) string {
	switch {
	case v.IsNull() || v.Type().IsTupleType() && v.LengthInt() == 0:
		return ""
	case v.Type() == cty.Bool:
		return fmt.Sprint(v.True())
	case v.Type() == cty.Number:
		return v.AsBigFloat().Text('f', -1)
	case v.Type() == cty.String:
		return v.AsString()
	}
	return v.GoString()
}

// TestSameValues checks that templates and modules accept and refuse the same values.
func TestSameValues(t *testing.T) {
	for _, tt := range []struct {
		parameter  string
		take, deny []any
	}{
		// The earliest accepted releases are the first that can run with IMDSv2 only.
		{"ReleaseLabel", []any{"emr-5.32.0", "emr-5.36.2", "emr-6.2.1", "emr-6.10.0", "emr-6.15.0", "emr-7.0.0", "emr-7.12.0", "emr-spark-8.0.0", "emr-spark-8.1.0"},
			[]any{"emr-8.0.0", "emr-9.0.0", "emr-spark-8.2.0", "emr-spark-7.0.0", "emr-5.29.0", "emr-5.30.0", "emr-5.31.1", "emr-6.0.0", "emr-6.1.1", "emr-7.5", "7.5.0", ""}},
		{"Name", []any{"a", strings.Repeat("a", 41)}, []any{"", "-a", strings.Repeat("a", 42), "a b"}},
		{"IdleTimeout", []any{0, 60, 99, 100, 3600, 99999, 599999, 603999, 604799, 604800}, []any{1, 59, 604801, 610000, 700000, 1000000, -60}},
		{"ImdsHopLimit", []any{1, 2}, []any{0, 3, 64}},
		{"MasterCount", []any{1, 3}, []any{0, 2, 4}},
		{"CoreCount", []any{1, 100}, []any{0, -1}},
		{"TaskCount", []any{0, 5}, []any{-1}},
		{"TaskIps", []any{"10.0.1.48/28"}, []any{"10.0.1.48", "10.0.0.0/8"}},
		{"MasterIps", []any{"10.0.1.32/30", "10.0.1.9/32"}, []any{"10.0.1.32", "10.0.1.40-49", "", "10.0.0.0/8"}},
		{"CoreIps", []any{"10.0.1.32/22"}, []any{"10.0.1.32", "x", "10.0.0.0/21"}},
		{"Prefix", []any{"a", "a/b"}, []any{"a/", "/a", ""}},
		{"ParameterPrefix", []any{"/emr-static-ip", "/a/b"}, []any{"", "a", "/a/"}},
		{"ClaimTags", []any{"", "team=data", "team=data cost-centre=", "a=b=c"}, []any{"team", "=data", "a=b  c=d", " a=b", "a=b c"}},
		{"ZoneName", []any{"emr.example.internal"}, []any{"emr", "emr.example.", "EMR.example", "e r.example"}},
		{"Provisioning", []any{"instance-groups", "instance-fleets"}, []any{"fleets"}},
		{"S3Encryption", []any{"none", "SSE-S3", "SSE-KMS"}, []any{"sse"}},
		{"HadoopSha512", []any{"", strings.Repeat("0a", 64)}, []any{"0a", strings.Repeat("0A", 64)}},
		{"BastionClientCidr", []any{"198.51.100.7/32"}, []any{"0.0.0.0/0", "198.51.100.7"}},
		{"DataCentreVpcCidr", []any{"10.1.0.0/16"}, []any{"10.1.0.0", ""}},
	} {
		t.Run(tt.parameter, func(t *testing.T) {
			values := append(slices.Clone(tt.take), tt.deny...)
			for i, value := range values {
				want := i < len(tt.take)
				for _, name := range templateNames(t) {
					tm, m := load(t, name), loadModule(t, moduleOf(name))
					if d, ok := tm.parameters[tt.parameter].(object); ok && name != "datacenter" { // the data centre's Name may be longer
						if got := admits(tt.parameter, d, value); got != want {
							t.Errorf("template %s accepts %v: %t", name, value, got)
						}
					}
					if v := m.variables[snake(tt.parameter)]; v != nil && name != "datacenter" {
						if got := valid(t, v, value); got != want {
							t.Errorf("module %s accepts %v: %t", m.dir, value, got)
						}
					}
				}
			}
		})
	}
}

// admits reports whether a template's parameter accepts a value.
func admits(name string, declared object, value any) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, refused := r.(refusal); !refused {
				panic(r)
			}
			ok = false
		}
	}()
	one := &stack{template: &template{parameters: object{name: declared}}, parameters: map[string]any{}, maker: newMaker()}
	one.take(map[string]any{name: value})
	return true
}

// valid reports whether the validations of a variable accept a value.
func valid(t *testing.T, variable *hclsyntax.Block, value any) bool {
	t.Helper()
	v := cty.StringVal(fmt.Sprint(value))
	if n, ok := value.(int); ok {
		v = cty.NumberIntVal(int64(n))
	}
	scope := &hcl.EvalContext{
		Variables: map[string]cty.Value{"var": cty.ObjectVal(map[string]cty.Value{variable.Labels[0]: v})},
		Functions: map[string]function.Function{"can": tryfunc.CanFunc, "regex": stdlib.RegexFunc, "contains": stdlib.ContainsFunc, "cidrnetmask": cidrnetmask,
			"endswith": endswith},
	}
	for _, b := range variable.Body.Blocks {
		if b.Type != "validation" {
			continue
		}
		got, diagnostics := b.Body.Attributes["condition"].Expr.Value(scope)
		if diagnostics.HasErrors() {
			t.Fatalf("%s with %v: %v", variable.Labels[0], value, diagnostics)
		}
		if got.False() {
			return false
		}
	}
	return true
}

var endswith = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "str", Type: cty.String}, {Name: "suffix", Type: cty.String}},
	Type:   function.StaticReturnType(cty.Bool),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		return cty.BoolVal(strings.HasSuffix(args[0].AsString(), args[1].AsString())), nil
	},
})

// cidrnetmask fails in the same cases as Terraform's function.
var cidrnetmask = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "prefix", Type: cty.String}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		p, err := netip.ParsePrefix(args[0].AsString())
		if err == nil && !p.Addr().Is4() {
			err = fmt.Errorf("%s is not IPv4", p)
		}
		return cty.StringVal(p.String()), err
	},
})
