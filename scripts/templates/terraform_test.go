package templates

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

const terraformDir = "../terraform"

// module is one directory with .tf files.
type module struct {
	dir                                  string // path below terraformDir
	variables, outputs, locals, declared map[string]*hclsyntax.Block
	calls                                map[string]*hclsyntax.Block // calls of other modules
	uses                                 []hcl.Traversal
}

// moduleDirs returns all directories with .tf files, as paths below terraformDir.
func moduleDirs(t *testing.T) (dirs []string) {
	t.Helper()
	err := filepath.WalkDir(terraformDir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".terraform") {
			return filepath.SkipDir
		}
		if files, _ := filepath.Glob(filepath.Join(path, "*.tf")); err == nil && d.IsDir() && len(files) > 0 {
			dir, _ := filepath.Rel(terraformDir, path)
			dirs = append(dirs, dir)
		}
		return err
	})
	if err != nil || len(dirs) < 9 {
		t.Fatalf("found the modules %v: %v", dirs, err)
	}
	return dirs
}

func loadModule(t *testing.T, dir string) *module {
	t.Helper()
	m := &module{dir: dir, variables: map[string]*hclsyntax.Block{}, outputs: map[string]*hclsyntax.Block{}, locals: map[string]*hclsyntax.Block{},
		declared: map[string]*hclsyntax.Block{}, calls: map[string]*hclsyntax.Block{}}
	files, err := filepath.Glob(filepath.Join(terraformDir, dir, "*.tf"))
	if err != nil {
		t.Fatal(err)
	}
	parser := hclparse.NewParser()
	for _, name := range files {
		file, diagnostics := parser.ParseHCLFile(name)
		if diagnostics.HasErrors() {
			t.Fatal(diagnostics)
		}
		for _, b := range file.Body.(*hclsyntax.Body).Blocks {
			m.add(t, b)
		}
	}
	return m
}

func (m *module) add(t *testing.T, b *hclsyntax.Block) {
	t.Helper()
	set := func(where map[string]*hclsyntax.Block, name string) {
		if where[name] != nil {
			t.Errorf("%s: %s %s twice", m.dir, b.Type, name)
		}
		where[name] = b
	}
	switch b.Type {
	case "variable":
		set(m.variables, b.Labels[0])
	case "output":
		set(m.outputs, b.Labels[0])
	case "locals":
		for name := range b.Body.Attributes {
			set(m.locals, name)
		}
	case "resource":
		set(m.declared, strings.Join(b.Labels, "."))
	case "data":
		set(m.declared, "data."+strings.Join(b.Labels, "."))
	case "module":
		set(m.calls, b.Labels[0])
	case "terraform", "provider":
	default:
		t.Errorf("%s: a block %s", m.dir, b.Type)
	}
	if b.Type != "terraform" {
		if b.Type == "variable" { // the variable's own validation does not count as a use
			return
		}
		_ = hclsyntax.VisitAll(b.Body, func(n hclsyntax.Node) hcl.Diagnostics {
			if e, ok := n.(*hclsyntax.ScopeTraversalExpr); ok {
				m.uses = append(m.uses, e.Traversal)
			}
			return nil
		})
	}
}

// words returns the names in a traversal: var.x is [var x], a[0].b is [a b].
func words(traversal hcl.Traversal) (names []string) {
	for _, step := range traversal {
		switch s := step.(type) {
		case hcl.TraverseRoot:
			names = append(names, s.Name)
		case hcl.TraverseAttr:
			names = append(names, s.Name)
		}
	}
	return names
}

func literal(b *hclsyntax.Block, name string) string {
	if a := b.Body.Attributes[name]; a != nil {
		if v, diagnostics := a.Expr.Value(nil); !diagnostics.HasErrors() && v.Type().FriendlyName() == "string" {
			return v.AsString()
		}
	}
	return ""
}

// TestTerraformReferences checks each module: all names that it uses exist, all names that it
// declares are used, and the arguments of other modules are right.
func TestTerraformReferences(t *testing.T) {
	for _, dir := range moduleDirs(t) {
		t.Run(dir, func(t *testing.T) {
			m := loadModule(t, dir)
			used := map[string]bool{}
			for _, traversal := range m.uses {
				w := append(words(traversal), "", "")
				name := strings.Join(w[:2], ".")
				used[name] = true
				switch {
				case w[0] == "var" && m.variables[w[1]] == nil, w[0] == "local" && m.locals[w[1]] == nil, w[0] == "module" && m.calls[w[1]] == nil,
					w[0] == "data" && m.declared[strings.Join(w[:3], ".")] == nil, strings.HasPrefix(w[0], "aws_") && m.declared[name] == nil:
					t.Errorf("%s does not exist", strings.Join(w, "."))
				case w[0] == "module" && w[2] != "" && loadModule(t, m.target(w[1])).outputs[w[2]] == nil:
					t.Errorf("module %s has no output %s", w[1], w[2])
				case w[0] == "data":
					used[strings.Join(w[:3], ".")] = true
				}
			}
			for name, b := range m.variables {
				if !used["var."+name] {
					t.Errorf("variable %s is not used", name)
				}
				if literal(b, "description") == "" || b.Body.Attributes["type"] == nil {
					t.Errorf("variable %s has no description or no type", name)
				}
			}
			for name := range m.locals {
				if !used["local."+name] {
					t.Errorf("local %s is not used", name)
				}
			}
			for name := range m.declared {
				if strings.HasPrefix(name, "data.") && !used[name] {
					t.Errorf("%s is not used", name)
				}
			}
			for name, b := range m.outputs {
				if literal(b, "description") == "" {
					t.Errorf("output %s has no description", name)
				}
			}
			for name, call := range m.calls {
				m.checkCall(t, name, call)
			}
		})
	}
}

// target returns the directory of a module that m calls.
func (m *module) target(call string) string {
	return filepath.Join(m.dir, literal(m.calls[call], "source"))
}

func (m *module) checkCall(t *testing.T, name string, call *hclsyntax.Block) {
	t.Helper()
	called := loadModule(t, m.target(name))
	for argument := range call.Body.Attributes {
		if !slices.Contains([]string{"source", "count", "for_each", "depends_on"}, argument) && called.variables[argument] == nil {
			t.Errorf("module %s has no variable %s", name, argument)
		}
	}
	for variable, b := range called.variables {
		if b.Body.Attributes["default"] == nil && call.Body.Attributes[variable] == nil {
			t.Errorf("module %s needs %s", name, variable)
		}
	}
}

// TestTerraformArguments checks that every resource and data source has only arguments of the
// provider's documentation.
func TestTerraformArguments(t *testing.T) {
	meta := []string{"count", "for_each", "depends_on", "lifecycle", "precondition", "condition", "error_message", "ignore_changes"}
	seen := map[string]bool{}
	for _, dir := range moduleDirs(t) {
		for name, b := range loadModule(t, dir).declared {
			kind := strings.Join(strings.Split(name, ".")[:strings.Count(name, ".")], ".")
			known := strings.Fields(arguments[kind])
			if known == nil {
				t.Errorf("%s: the test does not know the type of %s", dir, name)
			}
			seen[kind] = true
			for _, argument := range argumentsOf(b.Body) {
				if !slices.Contains(known, argument) && !slices.Contains(meta, argument) {
					t.Errorf("%s: %s has no argument %s", dir, name, argument)
				}
			}
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(arguments)) {
		if !seen[kind] {
			t.Errorf("the table has %s, which no module uses", kind)
		}
	}
}

// argumentsOf returns the names of arguments and blocks in a body. Names inside a block follow the
// name of the block.
func argumentsOf(body *hclsyntax.Body) (names []string) {
	for name := range body.Attributes {
		names = append(names, name)
	}
	for _, b := range body.Blocks {
		name, inner := b.Type, b.Body
		if b.Type == "dynamic" {
			name = b.Labels[0]
			for _, content := range b.Body.Blocks {
				inner = content.Body
			}
		}
		names = append(names, name)
		for _, below := range argumentsOf(inner) {
			if name != "lifecycle" && name != "precondition" {
				below = name + "." + below
			}
			names = append(names, below)
		}
	}
	return names
}

// arguments are the arguments that the modules use, from the AWS provider's documentation
// (https://registry.terraform.io/providers/hashicorp/aws/latest/docs).
var arguments = map[string]string{
	"data.aws_availability_zones":     "state",
	"data.aws_caller_identity":        "-",
	"data.aws_partition":              "-",
	"data.aws_region":                 "-",
	"data.aws_ssm_parameter":          "name",
	"aws_ec2_subnet_cidr_reservation": "subnet_id cidr_block reservation_type description",
	"aws_eip":                         "domain tags",
	"aws_ssm_association": "association_name name document_version schedule_expression max_concurrency max_errors compliance_severity parameters " +
		"targets targets.key targets.values",
	"aws_ssm_document": "name document_type document_format target_type content tags",
	"aws_emr_instance_fleet": `cluster_id name target_on_demand_capacity target_spot_capacity instance_type_configs instance_type_configs.instance_type
		instance_type_configs.weighted_capacity instance_type_configs.bid_price launch_specifications launch_specifications.spot_specification
		launch_specifications.spot_specification.allocation_strategy launch_specifications.spot_specification.timeout_action
		launch_specifications.spot_specification.timeout_duration_minutes`,
	"aws_emr_instance_group":         "cluster_id name instance_type instance_count bid_price",
	"aws_emr_security_configuration": "name_prefix configuration",
	"aws_iam_instance_profile":       "name_prefix role tags",
	"aws_iam_role":                   "name_prefix description tags assume_role_policy",
	"aws_iam_role_policy":            "name role policy",
	"aws_iam_role_policy_attachment": "role policy_arn",
	"aws_instance": `ami instance_type key_name subnet_id private_ip iam_instance_profile associate_public_ip_address vpc_security_group_ids user_data tags
		metadata_options metadata_options.http_tokens metadata_options.http_put_response_hop_limit root_block_device root_block_device.encrypted
		root_block_device.volume_type root_block_device.volume_size`,
	"aws_internet_gateway":                "vpc_id tags",
	"aws_nat_gateway":                     "subnet_id allocation_id tags",
	"aws_route":                           "route_table_id destination_cidr_block gateway_id nat_gateway_id vpc_peering_connection_id",
	"aws_route_table":                     "vpc_id tags",
	"aws_route_table_association":         "subnet_id route_table_id",
	"aws_security_group":                  "name_prefix description vpc_id revoke_rules_on_delete tags",
	"aws_route53_record":                  "zone_id name type ttl records",
	"aws_route53_zone":                    "name comment tags vpc vpc.vpc_id",
	"aws_subnet":                          "vpc_id cidr_block availability_zone tags",
	"aws_vpc":                             "cidr_block enable_dns_support enable_dns_hostnames tags",
	"aws_vpc_endpoint":                    "vpc_id vpc_endpoint_type service_name private_dns_enabled subnet_ids security_group_ids route_table_ids tags",
	"aws_vpc_peering_connection":          "vpc_id peer_vpc_id auto_accept tags",
	"aws_vpc_security_group_egress_rule":  "security_group_id referenced_security_group_id description ip_protocol from_port to_port cidr_ipv4 tags",
	"aws_vpc_security_group_ingress_rule": "security_group_id referenced_security_group_id description ip_protocol from_port to_port cidr_ipv4 tags",
	"aws_emr_cluster": `name release_label applications service_role security_configuration log_uri scale_down_behavior
		keep_job_flow_alive_when_no_steps termination_protection tags ec2_attributes bootstrap_action auto_termination_policy
		master_instance_group core_instance_group master_instance_fleet core_instance_fleet ` +
		below("ec2_attributes", `subnet_id subnet_ids key_name instance_profile emr_managed_master_security_group
			emr_managed_slave_security_group service_access_security_group`) +
		below("bootstrap_action", "name path args") + below("auto_termination_policy", "idle_timeout") +
		below("master_instance_group", "name instance_type instance_count") + below("core_instance_group", "name instance_type instance_count") +
		below("master_instance_fleet", fleetArguments) + below("core_instance_fleet", fleetArguments),
}

const fleetArguments = "name target_on_demand_capacity instance_type_configs instance_type_configs.instance_type instance_type_configs.weighted_capacity"

func below(block, names string) (all string) {
	for _, name := range strings.Fields(names) {
		all += fmt.Sprintf("%s.%s ", block, name)
	}
	return all
}
