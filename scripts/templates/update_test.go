package templates

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

const replaces = "A change replaces the cluster"

// created returns the properties of a cluster that CloudFormation cannot change later. The
// exceptions are in
// docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-emr-cluster.html
// and in the pages of its parts. A change of the security configuration replaces it, and so changes
// one of these properties.
func created(t *testing.T, s *stack) string {
	t.Helper()
	cluster := maps.Clone(s.of("Cluster").properties)
	for _, later := range []string{"AutoTerminationPolicy", "Tags", "VisibleToAllUsers"} {
		delete(cluster, later)
	}
	instances := maps.Clone(cluster["Instances"].(object))
	delete(instances, "TerminationProtected")
	for part, count := range map[string]string{"CoreInstanceGroup": "InstanceCount", "CoreInstanceFleet": "TargetOnDemandCapacity"} {
		if instances[part] != nil {
			instances[part] = maps.Clone(instances[part].(object))
			delete(instances[part].(object), count)
		}
	}
	cluster["Instances"] = instances
	text, err := json.Marshal([]any{cluster, s.of("SecurityConfiguration").properties})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReplacement checks the descriptions of parameters in templates and modules. If a change of a
// parameter replaces the running cluster, the description must say so. Otherwise it must not.
func TestReplacement(t *testing.T) {
	some := object{"SubnetId": "subnet-1", "MasterSecurityGroupId": "sg-1", "CoreSecurityGroupId": "sg-2", "ServiceSecurityGroupId": "sg-3", "Bucket": "bucket", "ServiceRole": "service",
		"NodeProfile": "nodes", "LogBucket": "bucket", "KmsKeyArn": key, "LocalDiskEncryption": "true", "Provisioning": "instance-fleets", "SecondInstanceType": "m5a.xlarge",
		"TaskIps": "10.0.1.48/28"}
	for i, n := range []string{"2", "3"} {
		maps.Copy(some, object{"SubnetId" + n: "subnet-a" + n, "MasterIps" + n: fmt.Sprintf("10.0.%d.32/30", i+2), "CoreIps" + n: fmt.Sprintf("10.0.%d.40/29", i+2),
			"TaskIps" + n: fmt.Sprintf("10.0.%d.48/28", i+2)})
	}
	other := object{"SubnetId": "subnet-2", "MasterSecurityGroupId": "sg-4", "CoreSecurityGroupId": "sg-5", "ServiceSecurityGroupId": "sg-6", "Bucket": "bucket2", "ServiceRole": "s", "NodeProfile": "n",
		"LogBucket": "bucket2", "KmsKeyArn": key + "9", "LocalDiskEncryption": "false", "Provisioning": "instance-groups", "SecondInstanceType": "m6i.xlarge", "Name": "x", "KeyName": "x",
		"Prefix": "x", "MasterIps": "10.9.0.0/30", "CoreIps": "10.9.0.0/29", "TaskIps": "10.9.0.0/29", "ParameterPrefix": "/x", "ExtraArguments": "--verbose", "ReleaseLabel": "emr-6.15.0",
		"MasterCount": 3, "MasterInstanceType": "x", "CoreCount": 7, "CoreInstanceType": "x", "TaskCount": 7, "TaskInstanceType": "x", "TaskMarket": "SPOT", "LogPrefix": "x", "ImdsHopLimit": 2,
		"S3Encryption": "SSE-S3", "CertificatesObject": certificates, "TerminationProtected": "true", "IdleTimeout": 3600, "ClaimTags": "a=b",
		"SubnetId2": "subnet-b2", "SubnetId3": "subnet-b3", "MasterIps2": "10.9.0.0/30", "CoreIps2": "10.9.0.0/29", "TaskIps2": "10.9.0.0/29", "MasterIps3": "10.9.0.0/30",
		"CoreIps3": "10.9.0.0/29", "TaskIps3": "10.9.0.0/29"}
	made := func(parameters object) string {
		t.Helper()
		s, err := evaluate("cluster", parameters)
		if err != nil {
			t.Fatal(err)
		}
		return created(t, s)
	}
	was := made(some)
	replacing := []string{}
	for parameter := range load(t, "cluster").parameters {
		changed := maps.Clone(some)
		if changed[parameter] = other[parameter]; other[parameter] == nil {
			t.Fatalf("the test has no other value for %s", parameter)
		}
		if parameter == "Provisioning" { // instance groups have one subnet
			for name := range changed {
				if strings.HasSuffix(name, "2") || strings.HasSuffix(name, "3") {
					delete(changed, name)
				}
			}
		}
		if made(changed) != was {
			replacing = append(replacing, parameter)
		}
	}
	if len(replacing) < 20 || slices.Contains(replacing, "CoreCount") {
		t.Errorf("replacing: %q", replacing)
	}
	for _, name := range []string{"cluster", "main"} {
		more := slices.Clone(replacing)
		if name == "main" { // another subnet of the network
			more = append(more, "VpcCidr", "NodeSubnetCidr", "AvailabilityZone", "NodeSubnetCidr2", "AvailabilityZone2", "NodeSubnetCidr3", "AvailabilityZone3")
		}
		variables := loadModule(t, moduleOf(name)).variables
		for parameter, d := range load(t, name).parameters {
			want := slices.Contains(more, parameter)
			if text := fmt.Sprint(d.(object)["Description"]); strings.Contains(text, replaces) != want {
				t.Errorf("%s: %s replaces the cluster: %t; the description says %q", name, parameter, want, text)
			}
			if v := variables[snake(parameter)]; v != nil && strings.Contains(literal(v, "description"), replaces) != want {
				t.Errorf("module %s: %s replaces the cluster: %t; the description says %q", moduleOf(name), snake(parameter), want, literal(v, "description"))
			}
		}
	}
}

// TestClusterIsLast checks that the cluster is created after all other parts and deleted before
// them. The values that the parts pass to each other ensure this. They must not depend on choices:
// a pool reserved later, or another data centre, must not replace the cluster.
func TestClusterIsLast(t *testing.T) {
	tm := load(t, "main")
	before := map[string]bool{}
	var follow func(logical string)
	follow = func(logical string) {
		refs, attributes, _ := references(tm.resources[logical])
		for _, name := range append(refs, attributes...) {
			if name, _, _ = strings.Cut(name, "."); tm.resources[name] != nil && !before[name] {
				before[name] = true
				follow(name)
			}
		}
	}
	follow("Cluster")
	for logical := range tm.resources {
		if logical != "Cluster" && logical != "Dns" && !before[logical] { // the addresses are known, so Dns may be created at any time
			t.Errorf("the cluster does not wait for %s", logical)
		}
	}
	for _, pairs := range [][]any{nil, {"ReservePool", "false"}, {"DataCentre", "false"}, {"ReservePool", "false", "DataCentre", "false"}} {
		s := mustEvaluate(t, pairs...)
		same(t, fmt.Sprint(pairs, ": subnet"), s.of("Cluster/Cluster").properties["Instances"].(object)["Ec2SubnetId"], s.of("Network/NodeSubnet").id)
		same(t, fmt.Sprint(pairs, ": VPC of the groups"), s.of("Groups/MasterGroup").properties["VpcId"], s.of("Network/Vpc").id)
		for logical, r := range s.resources {
			if r != nil && r.kind != "AWS::CloudFormation::Stack" {
				t.Errorf("%s is of type %s, want only nested stacks", logical, r.kind)
			}
		}
	}
}

// TestImages checks that an update of a stack does not replace instances because of a newer image.
// A parameter of the type AWS::SSM::Parameter::Value would be read at every update. The replacement
// of an HDFS host would also need the private IP of the former one. So a launch template names the
// parameter.
func TestImages(t *testing.T) {
	s := mustEvaluate(t, "HdfsHost", "true", "HadoopKey", "h.tar.gz", "Bastion", "true", "KeyName", "k")
	for _, name := range templateNames(t) {
		for parameter, d := range load(t, name).parameters {
			if kind := fmt.Sprint(d.(object)["Type"]); strings.HasPrefix(kind, "AWS::SSM::Parameter::Value") {
				t.Errorf("%s: parameter %s is of type %s", name, parameter, kind)
			}
		}
	}
	for instance, launch := range map[string]string{"DataCentreNetwork/Hdfs": "DataCentreNetwork/HdfsLaunchTemplate", "Network/BastionHost": "Network/BastionLaunchTemplate"} {
		if image := s.of(instance).properties["ImageId"]; image != nil {
			t.Errorf("%s has the image %v", instance, image)
			continue
		}
		same(t, instance, s.of(instance).properties["LaunchTemplate"].(object)["LaunchTemplateId"], s.of(launch).id)
		same(t, launch, s.of(launch).properties["LaunchTemplateData"], object{"ImageId": "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"})
	}
}
