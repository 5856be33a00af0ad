package templates

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// terraform runs the program in a directory, without a provider, a registry or a backend.
func terraform(t *testing.T, dir string, args ...string) (stdout string, err error) {
	t.Helper()
	program, err := exec.LookPath("terraform")
	if err != nil {
		t.Skip("terraform is not installed: the values and the format of the Terraform module are not checked")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_CLI_CONFIG_FILE="+os.DevNull)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("terraform %s: %w\n%s%s", args[0], err, out, exit.Stderr)
	}
	return string(out), err
}

func TestTerraformFormat(t *testing.T) {
	if _, err := terraform(t, terraformDir, "fmt", "-check", "-recursive", "-diff"); err != nil {
		t.Error(err)
	}
}

// locals evaluates the locals of a module with the given variables. It needs no provider, because
// it copies only the module's locals and variables and fills in the values of data sources.
func locals(t *testing.T, dir string, variables object, wanted ...string) object {
	t.Helper()
	m := loadModule(t, dir)
	work := t.TempDir()
	file := func(name, text string) {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(terraformDir, dir, "*.tf"))
	if err != nil {
		t.Fatal(err)
	}
	iam, err := filepath.Abs("../../agent/iam")
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs(filepath.Join(terraformDir, "modules/operations/node.sh"))
	if err != nil {
		t.Fatal(err)
	}
	data := strings.NewReplacer("data.aws_partition.current.partition", `"aws"`, "data.aws_partition.current.dns_suffix", `"amazonaws.com"`, "data.aws_region.current.id", `"`+region+`"`,
		"data.aws_caller_identity.current.account_id", `"`+account+`"`, "data.aws_availability_zones.available.names", `["`+region+`a"]`, "${path.module}/../../../../agent/iam", iam, "${path.module}/node.sh", script)
	for _, name := range files {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(name) == "variables.tf" {
			file("variables.tf", string(source))
		}
		for _, b := range m.locals {
			if b.DefRange().Filename == name {
				file("locals-"+filepath.Base(name), data.Replace(string(source[b.Range().Start.Byte:b.CloseBraceRange.End.Byte]))+"\n")
			}
		}
	}
	var outputs strings.Builder
	for _, name := range wanted {
		fmt.Fprintf(&outputs, "output %q {\n  value = jsonencode(local.%s)\n}\n", name, name)
	}
	file("outputs.tf", outputs.String())
	values, err := json.Marshal(variables)
	if err != nil {
		t.Fatal(err)
	}
	file("terraform.tfvars.json", string(values))
	for _, args := range [][]string{{"init", "-no-color", "-backend=false", "-input=false"}, {"apply", "-no-color", "-auto-approve", "-input=false"}} {
		if _, err := terraform(t, work, args...); err != nil {
			t.Fatal(err)
		}
	}
	text, err := terraform(t, work, "output", "-json")
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]struct{ Value string }
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatal(err)
	}
	got := object{}
	for name, a := range answer {
		var v any
		if err := json.Unmarshal([]byte(a.Value), &v); err != nil {
			t.Fatal(err)
		}
		got[name] = v
	}
	return got
}

// clusterVariables returns the required variables of the module cluster, and more.
func clusterVariables(more object) object {
	all := object{}
	for _, name := range []string{"subnet_id", "master_security_group_id", "core_security_group_id", "service_security_group_id", "service_role_arn", "instance_profile_arn"} {
		all[name] = name
	}
	maps.Copy(all, object{"bucket": "bucket", "log_bucket": "bucket", "master_ips": "10.0.1.32/30", "core_ips": "10.0.1.40/29"})
	maps.Copy(all, more)
	return all
}

// TestTerraformIsCloudFormation checks that Terraform and CloudFormation give a cluster the same
// bootstrap arguments and the same security configuration.
func TestTerraformIsCloudFormation(t *testing.T) {
	for _, tt := range []struct {
		name  string
		vars  object
		pairs []any
	}{
		{"defaults", object{}, nil},
		{"task nodes, SSE-S3", object{"task_ips": "10.0.1.48/28", "imds_hop_limit": 2, "extra_arguments": []string{"--verbose", "--snat-scope=all"}, "s3_encryption": "SSE-S3"},
			[]any{"TaskIps", "10.0.1.48/28", "ImdsHopLimit", 2, "ExtraArguments", "--verbose --snat-scope=all", "S3Encryption", "SSE-S3"}},
		{"everything encrypted", object{"s3_encryption": "SSE-KMS", "local_disk_encryption": true, "kms_key_arn": key, "certificates_object": certificates},
			[]any{"S3Encryption", "SSE-KMS", "LocalDiskEncryption", "true", "KmsKeyArn", key, "CertificatesObject", certificates}},
		{"three subnets, tags", object{"provisioning": "instance-fleets", "task_ips": "10.0.1.48/28", "claim_tags": "team=data a=b", "more_subnets": []object{
			{"subnet_id": "s2", "master_ips": "10.0.2.32/30", "core_ips": "10.0.2.40/29", "task_ips": "10.0.2.48/28"},
			{"subnet_id": "s3", "master_ips": "10.0.3.32/30", "core_ips": "10.0.3.40/29", "task_ips": "10.0.3.48/28"}}},
			append(subnet2("Provisioning", "instance-fleets", "TaskIps", "10.0.1.48/28", "TaskIps2", "10.0.2.48/28", "ClaimTags", "team=data a=b"),
				"NodeSubnetCidr3", "10.0.3.0/24", "MasterIps3", "10.0.3.32/30", "CoreIps3", "10.0.3.40/29", "TaskIps3", "10.0.3.48/28")},
		{"in transit", object{"certificates_object": certificates}, []any{"CertificatesObject", certificates}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := locals(t, "modules/cluster", clusterVariables(tt.vars), "bootstrap_arguments", "security")
			p := mustEvaluate(t, tt.pairs...)
			same(t, "bootstrap arguments", got["bootstrap_arguments"], p.of("Cluster/Cluster").properties["BootstrapActions"].([]any)[0].(object)["ScriptBootstrapAction"].(object)["Args"])
			same(t, "security configuration", got["security"], p.of("Cluster/SecurityConfiguration").properties["SecurityConfiguration"])
		})
	}
}

func TestTerraformFirewall(t *testing.T) {
	got := locals(t, "modules/datacenter", object{"master_ips": "10.0.1.32/30", "core_ips": "10.0.1.40/29", "task_ips": "10.0.1.48/28"}, "admitted")["admitted"].(object)
	more := []object{{"master_ips": "10.0.2.32/30", "core_ips": "10.0.2.40/29"}, {"master_ips": "10.0.3.32/30", "core_ips": "10.0.3.40/29", "task_ips": "10.0.3.48/28"}}
	if three := locals(t, "modules/datacenter", object{"master_ips": "10.0.1.32/30", "core_ips": "10.0.1.40/29", "more_subnets": more}, "admitted")["admitted"].(object); len(three) != 14 {
		t.Errorf("with three subnets the firewall admits %v", three)
	}
	var rules []string
	for _, rule := range got {
		rules = append(rules, fmt.Sprintf("%v %v", rule.(object)["cidr"], rule.(object)["port"]))
	}
	slices.Sort(rules)
	same(t, "firewall", rules, []string{"10.0.1.32/30 8020", "10.0.1.32/30 9866", "10.0.1.40/29 8020", "10.0.1.40/29 9866", "10.0.1.48/28 8020", "10.0.1.48/28 9866"})
	if got := locals(t, "modules/datacenter", object{"master_ips": "10.0.1.32/30", "core_ips": "10.0.1.40/29"}, "admitted")["admitted"].(object); len(got) != 4 {
		t.Errorf("without task nodes the firewall admits %v", got)
	}
}

func TestTerraformGroups(t *testing.T) {
	got := locals(t, "modules/groups", object{"vpc_id": "vpc-1"}, "between", "service", "emr8")
	var rules []string
	for _, set := range []string{"between", "service"} {
		for _, r := range got[set].(object) {
			rule := r.(object)
			rules = append(rules, fmt.Sprintf("%v < %v %v %v-%v", rule["to"], rule["from"], rule["protocol"], rule["first"], rule["last"]))
		}
	}
	want := emrRules()
	slices.Sort(rules)
	slices.Sort(want)
	same(t, "rules", rules, want)
	same(t, "EMR 8", got["emr8"], false)

	got = locals(t, "modules/groups", object{"vpc_id": "vpc-1", "release_label": "emr-spark-8.0.0"}, "service", "emr8")
	same(t, "rules of EMR 8", got, object{"service": object{}, "emr8": true})
	m := loadModule(t, "modules/groups")
	for _, name := range []string{"aws_vpc_security_group_ingress_rule.service_from_vpc", "aws_vpc_endpoint.emr"} {
		if uses := m.declared[name].Body.Attributes["count"].Expr.Variables(); len(uses) != 1 || !slices.Equal(words(uses[0]), []string{"local", "emr8"}) {
			t.Errorf("%s has other conditions: %v", name, uses)
		}
	}
}

// TestTerraformRefusals checks that parameters that cannot work are refused before anything is
// created. CloudFormation cannot compare addresses; there EC2 refuses a reservation outside the
// subnet.
func TestTerraformRefusals(t *testing.T) {
	more := []object{{"cidr": "10.0.2.0/24", "master_ips": "10.0.2.32/30", "core_ips": "10.0.2.40/29"}, {"cidr": "10.0.3.0/25", "master_ips": "10.0.3.32/30", "core_ips": "10.0.3.40/29", "task_ips": "10.0.3.128/28"}}
	for _, tt := range []struct {
		name string
		vars object
		want []any
	}{
		{"defaults", object{}, []any{}},
		{"a pool of task nodes beside its subnet", object{"more_subnets": more}, []any{"10.0.3.128/28 (subnet 10.0.3.0/25)"}},
		{"a pool in another's subnet", object{"core_ips": "10.0.2.40/29", "more_subnets": more[:1]}, []any{"10.0.2.40/29 (subnet 10.0.1.0/24)"}},
		{"a pool that is larger than its subnet", object{"node_subnet_cidr": "10.0.1.32/28", "core_ips": "10.0.1.32/27"}, []any{"10.0.1.32/27 (subnet 10.0.1.32/28)"}},
	} {
		vars := maps.Clone(tt.vars)
		vars["bucket"] = "bucket"
		same(t, tt.name, locals(t, ".", vars, "outside")["outside"], tt.want)
	}
	precondition := loadModule(t, ".").outputs["node_subnet_id"].Body.Blocks
	if len(precondition) != 1 || precondition[0].Type != "precondition" {
		t.Error("no precondition checks that pools are inside their subnets")
	}

	oneMaster := loadModule(t, "modules/cluster").locals["one_master"].Body.Attributes["one_master"].Expr
	refused := func(release string) bool {
		v, diagnostics := oneMaster.Value(&hcl.EvalContext{Variables: map[string]cty.Value{"var": cty.ObjectVal(map[string]cty.Value{"release_label": cty.StringVal(release)})},
			Functions: map[string]function.Function{"can": tryfunc.CanFunc, "regex": stdlib.RegexFunc}})
		if diagnostics.HasErrors() {
			t.Fatal(diagnostics)
		}
		return v.True()
	}
	m := newMaker()
	for minor := range 37 {
		for patch := range 3 {
			for _, release := range []string{fmt.Sprintf("emr-5.%d.%d", minor, patch), fmt.Sprintf("emr-6.%d.%d", minor, patch), fmt.Sprintf("emr-7.%d.%d", minor, patch), "emr-spark-8.0.0"} {
				_, err := m.evaluate("main", object{"Bucket": "bucket", "MasterCount": 3, "Provisioning": "instance-fleets", "ReleaseLabel": release})
				// The other labels are not releases, or are refused for another reason.
				known := !strings.Contains(fmt.Sprint(err), "parameter ReleaseLabel") && !slices.Contains([]string{"emr-5.33.2", "emr-5.34.1", "emr-5.34.2", "emr-5.35.1", "emr-5.35.2", "emr-5.32.2",
					"emr-6.2.2", "emr-6.3.2", "emr-6.4.1", "emr-6.4.2", "emr-6.5.1", "emr-6.5.2", "emr-6.6.1", "emr-6.6.2", "emr-6.7.1", "emr-6.7.2"}, release)
				if known && refused(release) != (err != nil) {
					t.Errorf("three masters with %s in fleets: Terraform refuses %t, CloudFormation says %v", release, refused(release), err)
				}
			}
		}
	}
}

// TestTerraformPartition checks that Terraform and CloudFormation have the same names in each
// partition.
func TestTerraformPartition(t *testing.T) {
	for _, tt := range []struct{ dir, local, template, mapping, key string }{
		{"modules/network", "ec2_prefixes", "network", "EndpointPrefix", "Ec2"},
	} {
		v, diagnostics := loadModule(t, tt.dir).locals[tt.local].Body.Attributes[tt.local].Expr.Value(nil)
		if diagnostics.HasErrors() {
			t.Fatal(diagnostics)
		}
		known := v.AsValueMap()
		for partition, values := range load(t, tt.template).mappings[tt.mapping].(object) {
			want := "com.amazonaws"
			if special, ok := known[partition]; ok {
				want = special.AsString()
			}
			same(t, partition, values.(object)[tt.key], want)
		}
	}
	for dir, local := range map[string]string{"modules/roles": "suffix", "modules/datacenter": "principal_suffix"} {
		for _, name := range []string{"roles", "datacenter"} {
			for partition, values := range load(t, name).mappings["ServicePrincipal"].(object) {
				e := loadModule(t, dir).locals[local].Body.Attributes[local].Expr
				current := cty.ObjectVal(map[string]cty.Value{"current": cty.ObjectVal(map[string]cty.Value{"partition": cty.StringVal(partition)})})
				v, diagnostics := e.Value(&hcl.EvalContext{Variables: map[string]cty.Value{"local": cty.ObjectVal(map[string]cty.Value{"partition": cty.StringVal(partition)}),
					"data": cty.ObjectVal(map[string]cty.Value{"aws_partition": current})}, Functions: map[string]function.Function{"lookup": stdlib.LookupFunc}})
				if diagnostics.HasErrors() {
					t.Fatal(diagnostics)
				}
				same(t, dir+" "+partition, v.AsString(), values.(object)["Suffix"])
			}
		}
	}
}

func TestTerraformPolicyIsTheFile(t *testing.T) {
	for _, subnets := range [][]string{{"subnet-0a1b2c3d"}, {"subnet-0a1b2c3d", "subnet-0b", "subnet-0c"}} {
		variables := object{"subnet_id": subnets[0], "more_subnet_ids": subnets[1:], "bucket": "bucket", "log_bucket": "bucket", "data_bucket": "bucket", "parameter_prefix": "/team/static"}
		got := locals(t, "modules/roles", variables, "static_ip_policy", "claim_tags_policy")
		for local, file := range map[string]string{"static_ip_policy": policyFile, "claim_tags_policy": "../../agent/iam/claim-tags-policy.json"} {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var policy any
			if err := json.Unmarshal([]byte(got[local].(string)), &policy); err != nil {
				t.Fatal(err)
			}
			same(t, fmt.Sprint(local, subnets), single(policy), single(filledIn(t, []byte(strings.ReplaceAll(string(source), ":parameter/emr-static-ip/", ":parameter/team/static/")), subnets...)))
		}
	}
}

// TestTerraformHdfsScript checks that Terraform and CloudFormation set up the same HDFS host.
func TestTerraformHdfsScript(t *testing.T) {
	script, err := os.ReadFile(terraformDir + "/modules/datacenter/hdfs-setup.sh.tftpl")
	if err != nil {
		t.Fatal(err)
	}
	filled := strings.NewReplacer("${region}", region, "${hadoop_bucket}", "bucket", "${hadoop_key}", "h.tar.gz", "${hadoop_sha512}", "", "${hdfs_host_ip}", "10.1.1.10").Replace(string(script))
	want := mustEvaluate(t, "HdfsHost", "true", "HadoopKey", "h.tar.gz").of("DataCentreNetwork/Hdfs").properties["UserData"]
	same(t, "the script of the HDFS host", filled, want)
}
