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
)

// terraform runs the program in a directory, without a provider, a registry or a backend.
func terraform(t *testing.T, dir string, args ...string) (stdout string, err error) {
	t.Helper()
	program, err := exec.LookPath("terraform")
	if err != nil {
		t.Skip("terraform is not installed: values of the Terraform module are not worked out, its format is not checked")
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

// locals works out the locals of a module with the given variables. A copy of the module's locals and variables alone needs no provider; what they
// take from data sources is filled in.
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
	data := strings.NewReplacer("data.aws_partition.current.partition", `"aws"`, "data.aws_partition.current.dns_suffix", `"amazonaws.com"`, "data.aws_region.current.id", `"`+region+`"`,
		"data.aws_caller_identity.current.account_id", `"`+account+`"`, "data.aws_availability_zones.available.names", `["`+region+`a"]`, "${path.module}/../../../../agent/iam", iam)
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
				file("locals.tf", data.Replace(string(source[b.Range().Start.Byte:b.CloseBraceRange.End.Byte]))+"\n")
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

// clusterVariables are what the module cluster needs, and more.
func clusterVariables(more object) object {
	all := object{}
	for _, name := range []string{"subnet_id", "master_security_group_id", "core_security_group_id", "service_security_group_id", "service_role_arn", "instance_profile_arn"} {
		all[name] = name
	}
	maps.Copy(all, object{"bucket": "bucket", "log_bucket": "bucket", "master_ips": "10.0.1.32/30", "core_ips": "10.0.1.40/29"})
	maps.Copy(all, more)
	return all
}

// TestTerraformIsCloudFormation: both give a cluster the same bootstrap arguments and the same security configuration.
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
	var rules []string
	for _, rule := range got {
		rules = append(rules, fmt.Sprintf("%v %v", rule.(object)["cidr"], rule.(object)["port"]))
	}
	slices.Sort(rules)
	same(t, "firewall", rules, []string{"10.0.1.32/30 8020", "10.0.1.32/30 9866", "10.0.1.40/29 8020", "10.0.1.40/29 9866", "10.0.1.48/28 8020", "10.0.1.48/28 9866"})
	if got := locals(t, "modules/datacenter", object{"master_ips": "10.0.1.32/30", "core_ips": "10.0.1.40/29"}, "admitted")["admitted"].(object); len(got) != 4 {
		t.Errorf("without task nodes the firewall has %v", got)
	}
}

func TestTerraformGroups(t *testing.T) {
	got := locals(t, "modules/groups", object{"vpc_id": "vpc-1"}, "between", "service")
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
}

func TestTerraformPolicyIsTheFile(t *testing.T) {
	variables := object{"subnet_id": "subnet-0a1b2c3d", "bucket": "bucket", "log_bucket": "bucket", "data_bucket": "bucket", "parameter_prefix": "/team/static"}
	text := locals(t, "modules/roles", variables, "static_ip_policy")["static_ip_policy"].(string)
	source, err := os.ReadFile(policyFile)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer("REGION", region, "ACCOUNT_ID", account, "SUBNET_ID", "subnet-0a1b2c3d", ":parameter/emr-static-ip/", ":parameter/team/static/").Replace(string(source))
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

// TestTerraformHdfsScript: both make the same host.
func TestTerraformHdfsScript(t *testing.T) {
	script, err := os.ReadFile(terraformDir + "/modules/datacenter/hdfs-setup.sh.tftpl")
	if err != nil {
		t.Fatal(err)
	}
	filled := strings.NewReplacer("${region}", region, "${hadoop_bucket}", "bucket", "${hadoop_key}", "h.tar.gz", "${hadoop_sha512}", "", "${hdfs_host_ip}", "10.1.1.10").Replace(string(script))
	want := mustEvaluate(t, "HdfsHost", "true", "HadoopKey", "h.tar.gz").of("DataCentreNetwork/Hdfs").properties["UserData"]
	same(t, "the script of the HDFS host", filled, want)
}
