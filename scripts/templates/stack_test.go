package templates

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const (
	key          = "arn:aws:kms:us-east-1:123456789012:key/0a1b2c3d"
	certificates = "bucket/certificates.zip"
)

// mustEvaluate is the main template with what it needs, and more parameters in pairs.
func mustEvaluate(t *testing.T, pairs ...any) *stack {
	t.Helper()
	return newMaker().must(t, pairs...)
}

func (m maker) must(t *testing.T, pairs ...any) *stack {
	t.Helper()
	s, err := m.evaluate("main", mapping(append([]any{"Bucket", "bucket"}, pairs...)...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestEveryCondition makes all combinations of what has conditions. An attribute or a reference to what is not made is an error of evaluate.
func TestEveryCondition(t *testing.T) {
	choices := [][][2]any{
		{{"NatGateway", "false"}, {"NatGateway", "true"}}, {{"Bastion", "false"}, {"Bastion", "true"}}, {{"TaskIps", ""}, {"TaskIps", "10.0.1.48/28"}},
		{{"DataCentre", "true"}, {"DataCentre", "false"}}, {{"ReservePool", "true"}, {"ReservePool", "false"}}, {{"AvailabilityZone", ""}, {"AvailabilityZone", "us-east-1b"}},
		{{"Provisioning", "instance-groups"}, {"Provisioning", "instance-fleets"}}, {{"TaskCount", 0}, {"TaskCount", 2}},
		{{"S3Encryption", "none"}, {"S3Encryption", "SSE-S3"}, {"S3Encryption", "SSE-KMS"}},
	}
	made, m := 0, newMaker()
	var all func(int, []any)
	all = func(n int, pairs []any) {
		if n < len(choices) {
			for _, c := range choices[n] {
				all(n+1, append(slices.Clip(pairs), c[0], c[1]))
			}
			return
		}
		made++
		m.must(t, append(slices.Clip(pairs), "KeyName", "operator", "KmsKeyArn", key)...)
	}
	all(0, nil)
	for _, pairs := range [][]any{
		{"HdfsHost", "true", "HadoopKey", "hadoop.tar.gz"}, {"LocalDiskEncryption", "true", "KmsKeyArn", key}, {"CertificatesObject", certificates},
		{"TaskMarket", "SPOT", "TaskCount", 1, "Provisioning", "instance-fleets", "SecondInstanceType", "m5a.xlarge"}, {"LogBucket", "logs", "DataBucket", "data"}, {"IdleTimeout", 3600},
	} {
		made++
		m.must(t, pairs...)
	}
	t.Logf("%d stacks", made)
}

// TestRefusals: what cannot work is refused before anything is made.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		pairs      []any
	}{
		{"SSE-KMS without a key", "rule KmsNeedsKey", []any{"S3Encryption", "SSE-KMS"}},
		{"local disks without a key", "rule KmsNeedsKey", []any{"LocalDiskEncryption", "true"}},
		{"a bastion without a key pair", "rule BastionNeedsKey", []any{"Bastion", "true"}},
		{"HDFS without Hadoop", "rule HdfsHostNeedsHadoop", []any{"HdfsHost", "true"}},
		{"HDFS without a data centre", "rule HdfsHostNeedsHadoop", []any{"HdfsHost", "true", "HadoopKey", "h.tar.gz", "DataCentre", "false"}},
		{"two masters", "parameter MasterCount", []any{"MasterCount", 2}},
		{"a pool that is no block", "parameter CoreIps", []any{"CoreIps", "10.0.1.40-49"}},
		{"a bastion for the whole Internet", "parameter BastionClientCidr", []any{"BastionClientCidr", "0.0.0.0/0"}},
		{"a prefix that ends with a slash", "parameter Prefix", []any{"Prefix", "emr/"}},
		{"a release that EMR's rules here are not for", "parameter ReleaseLabel", []any{"ReleaseLabel", "emr-5.29.0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := evaluate("main", mapping(append([]any{"Bucket", "bucket"}, tt.pairs...)...)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want a refusal with %q", err, tt.want)
			}
		})
	}
}

// TestOnePool: reservation, bootstrap action and firewall have the same addresses, which are given once.
func TestOnePool(t *testing.T) {
	for _, tt := range []struct {
		name     string
		pairs    []any
		args     []any
		firewall []string
		reserved []string
	}{
		{name: "defaults",
			args:     []any{"--master-ips=10.0.1.32/30", "--core-ips=10.0.1.40/29", "--prefix=/emr-static-ip"},
			firewall: []string{"10.0.1.32/30 tcp 8020-8020", "10.0.1.32/30 tcp 9866-9866", "10.0.1.40/29 tcp 8020-8020", "10.0.1.40/29 tcp 9866-9866"},
			reserved: []string{"10.0.1.32/30", "10.0.1.40/29"}},
		{name: "task nodes, more arguments", pairs: []any{"MasterIps", "10.0.1.9/32", "CoreIps", "10.0.1.16/28", "TaskIps", "10.0.1.64/26", "ExtraArguments", "--verbose --snat-scope=all"},
			args: []any{"--master-ips=10.0.1.9/32", "--core-ips=10.0.1.16/28", "--prefix=/emr-static-ip", "--task-ips=10.0.1.64/26", "--verbose", "--snat-scope=all"},
			firewall: []string{"10.0.1.16/28 tcp 8020-8020", "10.0.1.16/28 tcp 9866-9866", "10.0.1.64/26 tcp 8020-8020", "10.0.1.64/26 tcp 9866-9866",
				"10.0.1.9/32 tcp 8020-8020", "10.0.1.9/32 tcp 9866-9866"},
			reserved: []string{"10.0.1.9/32", "10.0.1.16/28", "10.0.1.64/26"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := mustEvaluate(t, tt.pairs...)
			action := s.of("Cluster/Cluster").properties["BootstrapActions"].([]any)[0].(object)["ScriptBootstrapAction"]
			same(t, "bootstrap action", action, object{"Path": "s3://bucket/emr-static-ip/bootstrap.sh", "Args": tt.args})
			var firewall []string
			for _, r := range s.of("DataCentreNetwork/Firewall").properties["SecurityGroupIngress"].([]any) {
				rule := r.(object)
				firewall = append(firewall, fmt.Sprintf("%v %v %v-%v", rule["CidrIp"], rule["IpProtocol"], rule["FromPort"], rule["ToPort"]))
			}
			slices.Sort(firewall)
			same(t, "firewall", firewall, tt.firewall)
			var reserved []string
			for _, logical := range []string{"MasterReservation", "CoreReservation", "TaskReservation"} {
				if r := s.of("Reservation/" + logical); r != nil {
					reserved = append(reserved, r.properties["Cidr"].(string))
					same(t, logical, r.properties["ReservationType"], "explicit")
					same(t, logical, r.properties["SubnetId"], s.of("Network/NodeSubnet").id)
				}
			}
			same(t, "reserved", reserved, tt.reserved)
		})
	}
}

func TestPeeringRoutes(t *testing.T) {
	s := mustEvaluate(t)
	peering := s.of("Peering/Peering")
	same(t, "peering", []any{peering.properties["VpcId"], peering.properties["PeerVpcId"]}, []any{s.of("Network/Vpc").id, s.of("DataCentreNetwork/Vpc").id})
	same(t, "there", s.of("Peering/RouteToDataCentre").properties,
		object{"RouteTableId": s.of("Network/NodeRouteTable").id, "DestinationCidrBlock": "10.1.0.0/16", "VpcPeeringConnectionId": peering.id})
	same(t, "back", s.of("Peering/RouteToCluster").properties,
		object{"RouteTableId": s.of("DataCentreNetwork/RouteTable").id, "DestinationCidrBlock": "10.0.0.0/16", "VpcPeeringConnectionId": peering.id})

	other, err := evaluate("peering", map[string]any{"VpcId": "vpc-1", "RouteTableId": "rtb-1", "PeerVpcId": "vpc-2", "PeerOwnerId": account,
		"PeerRoleArn": "arn:aws:iam::123456789012:role/accept", "PeerRegion": "eu-west-1"})
	if err != nil {
		t.Fatal(err)
	}
	if other.of("RouteToCluster") != nil {
		t.Error("a route is made in another account")
	}
	if _, err := evaluate("peering", map[string]any{"VpcId": "vpc-1", "RouteTableId": "rtb-1", "PeerVpcId": "vpc-2", "PeerOwnerId": account}); err == nil {
		t.Error("another account without a role is accepted")
	}
}

// TestEndpoints: no NAT gateway by default, what the program needs, and nothing of it in the nodes' subnet, where it could take an address of
// the pool.
func TestEndpoints(t *testing.T) {
	for _, tt := range []struct {
		pairs []any
		want  []string
	}{
		{nil, []string{"com.amazonaws.us-east-1.ec2 Interface", "com.amazonaws.us-east-1.s3 Gateway", "com.amazonaws.us-east-1.ssm Interface"}},
		{[]any{"KmsKeyArn", key}, []string{"com.amazonaws.us-east-1.ec2 Interface",
			"com.amazonaws.us-east-1.kms Interface", "com.amazonaws.us-east-1.s3 Gateway", "com.amazonaws.us-east-1.ssm Interface"}},
	} {
		s := mustEvaluate(t, tt.pairs...).nested["Network"]
		var got []string
		for _, logical := range slices.Sorted(maps.Keys(s.resources)) {
			r := s.resources[logical]
			if r == nil || r.kind != "AWS::EC2::VPCEndpoint" {
				continue
			}
			p := r.properties
			got = append(got, fmt.Sprintf("%v %v", p["ServiceName"], p["VpcEndpointType"]))
			if p["VpcEndpointType"] == "Gateway" {
				same(t, logical, p["RouteTableIds"], []any{s.of("NodeRouteTable").id})
				continue
			}
			same(t, logical+" private DNS", p["PrivateDnsEnabled"], true)
			same(t, logical, p["SubnetIds"], []any{s.of("EndpointSubnet").id})
			same(t, logical, p["SecurityGroupIds"], []any{s.of("EndpointSecurityGroup").id})
		}
		slices.Sort(got)
		same(t, "endpoints", got, tt.want)
		rule := s.of("EndpointSecurityGroup").properties["SecurityGroupIngress"].([]any)[0].(object)
		same(t, "admitted", []any{rule["IpProtocol"], rule["FromPort"], rule["ToPort"], rule["CidrIp"]}, []any{"tcp", 443, 443, "10.0.1.0/24"})
		if s.of("Nat") != nil || s.of("InternetGateway") != nil || s.of("BastionHost") != nil {
			t.Error("a way to the Internet without having been asked for")
		}
	}
	s := mustEvaluate(t, "NatGateway", "true").nested["Network"]
	same(t, "default route", s.of("NodeDefaultRoute").properties, object{"RouteTableId": s.of("NodeRouteTable").id, "DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": s.of("Nat").id})
	same(t, "NAT's subnet", s.of("Nat").properties["SubnetId"], s.of("PublicSubnet").id)
}

// TestEmrGroups: the rules of EMR's documentation for private subnets, and what AmazonEMRServicePolicy_v2 asks of tags.
func TestEmrGroups(t *testing.T) {
	s := mustEvaluate(t, "Bastion", "true", "KeyName", "k")
	groups := s.nested["Groups"]
	names := map[any]string{s.nested["Network"].of("BastionSecurityGroup").id: "bastion"}
	for _, logical := range []string{"MasterGroup", "CoreGroup", "ServiceGroup"} {
		names[groups.of(logical).id] = strings.ToLower(strings.TrimSuffix(logical, "Group"))
		tagged(t, groups.of(logical))
	}
	tagged(t, s.of("Network/Vpc"))
	tagged(t, s.of("Network/NodeSubnet"))
	tagged(t, s.of("Cluster/Cluster"))
	var got []string
	for _, r := range groups.resources {
		p := r.properties
		ports := fmt.Sprintf("%v %v-%v", p["IpProtocol"], p["FromPort"], p["ToPort"])
		switch r.kind {
		case "AWS::EC2::SecurityGroupIngress":
			got = append(got, fmt.Sprintf("%s < %s %s", names[p["GroupId"]], names[p["SourceSecurityGroupId"]], ports))
		case "AWS::EC2::SecurityGroupEgress":
			got = append(got, fmt.Sprintf("%s > %s %s", names[p["GroupId"]], names[p["DestinationSecurityGroupId"]], ports))
		}
	}
	slices.Sort(got)
	want := emrRules()
	for _, to := range []string{"core", "master"} {
		want = append(want, to+" < bastion tcp 22-22", "service > "+to+" tcp 8443-8443")
	}
	slices.Sort(want)
	same(t, "rules", got, want)
	in := s.of("Cluster/Cluster").properties["Instances"].(object)
	same(t, "the cluster's groups", []string{names[in["EmrManagedMasterSecurityGroup"]], names[in["EmrManagedSlaveSecurityGroup"]], names[in["ServiceAccessSecurityGroup"]]},
		[]string{"master", "core", "service"})
}

// emrRules are the rules of EMR's managed groups in a private subnet for what comes in:
// https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-man-sec-groups.html
func emrRules() (rules []string) {
	for _, to := range []string{"core", "master"} {
		for _, from := range []string{"core", "master"} {
			rules = append(rules, to+" < "+from+" icmp -1--1", to+" < "+from+" tcp 0-65535", to+" < "+from+" udp 0-65535")
		}
		rules = append(rules, to+" < service tcp 8443-8443")
	}
	return append(rules, "service < master tcp 9443-9443")
}

func tagged(t *testing.T, r *resource) {
	t.Helper()
	for _, tag := range r.properties["Tags"].([]any) {
		if tag.(object)["Key"] == "for-use-with-amazon-emr-managed-policies" && tag.(object)["Value"] == "true" {
			return
		}
	}
	t.Errorf("%s %s lacks the tag that AmazonEMRServicePolicy_v2 wants", r.kind, r.id)
}

func TestInstances(t *testing.T) {
	s := mustEvaluate(t, "MasterCount", 3, "CoreCount", 4, "TaskCount", 5)
	in := s.of("Cluster/Cluster").properties["Instances"].(object)
	same(t, "masters", in["MasterInstanceGroup"], object{"Name": "master", "InstanceCount": "3", "InstanceType": "m5.xlarge", "Market": "ON_DEMAND"})
	same(t, "core nodes", in["CoreInstanceGroup"], object{"Name": "core", "InstanceCount": "4", "InstanceType": "m5.xlarge", "Market": "ON_DEMAND"})
	if in["MasterInstanceFleet"] != nil || in["Ec2SubnetIds"] != nil || s.of("Cluster/TaskFleet") != nil || in["Ec2SubnetId"] != s.of("Network/NodeSubnet").id {
		t.Errorf("groups with fleets, or elsewhere: %v", in)
	}
	same(t, "task nodes", s.of("Cluster/TaskGroup").properties["InstanceCount"], "5")

	s = mustEvaluate(t, "Provisioning", "instance-fleets", "MasterCount", 3, "TaskCount", 5, "TaskMarket", "SPOT", "SecondInstanceType", "m5a.xlarge")
	in = s.of("Cluster/Cluster").properties["Instances"].(object)
	types := []any{object{"InstanceType": "m5.xlarge", "WeightedCapacity": 1}, object{"InstanceType": "m5a.xlarge", "WeightedCapacity": 1}}
	same(t, "master fleet", in["MasterInstanceFleet"], object{"Name": "master", "TargetOnDemandCapacity": "3", "InstanceTypeConfigs": types})
	same(t, "core fleet", in["CoreInstanceFleet"], object{"Name": "core", "TargetOnDemandCapacity": "2", "InstanceTypeConfigs": types})
	task := s.of("Cluster/TaskFleet").properties
	same(t, "task fleet", []any{task["TargetOnDemandCapacity"], task["TargetSpotCapacity"], task["InstanceFleetType"]}, []any{0, "5", "TASK"})
	if in["MasterInstanceGroup"] != nil || in["Ec2SubnetId"] != nil || s.of("Cluster/TaskGroup") != nil {
		t.Errorf("fleets with groups: %v", in)
	}
}

func TestSecurityConfiguration(t *testing.T) {
	imds := object{"MinimumInstanceMetadataServiceVersion": 2, "HttpPutResponseHopLimit": 1}
	s3 := func(pairs ...any) object { return object{"S3EncryptionConfiguration": mapping(pairs...)} }
	disks := object{"EncryptionKeyProviderType": "AwsKms", "AwsKmsKey": key, "EnableEbsEncryption": true}
	for _, tt := range []struct {
		name  string
		pairs []any
		want  any // nil: no EncryptionConfiguration
	}{
		{"nothing", nil, nil},
		{"SSE-S3", []any{"S3Encryption", "SSE-S3"}, object{"EnableAtRestEncryption": true, "EnableInTransitEncryption": false, "AtRestEncryptionConfiguration": s3("EncryptionMode", "SSE-S3")}},
		{"SSE-KMS", []any{"S3Encryption", "SSE-KMS", "KmsKeyArn", key}, object{"EnableAtRestEncryption": true, "EnableInTransitEncryption": false,
			"AtRestEncryptionConfiguration": s3("EncryptionMode", "SSE-KMS", "AwsKmsKey", key)}},
		{"disks", []any{"LocalDiskEncryption", "true", "KmsKeyArn", key}, object{"EnableAtRestEncryption": true, "EnableInTransitEncryption": false,
			"AtRestEncryptionConfiguration": object{"LocalDiskEncryptionConfiguration": disks}}},
		{"in transit", []any{"CertificatesObject", certificates}, object{"EnableAtRestEncryption": false, "EnableInTransitEncryption": true,
			"InTransitEncryptionConfiguration": object{"TLSCertificateConfiguration": object{"CertificateProviderType": "PEM", "S3Object": "s3://" + certificates}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := object{"InstanceMetadataServiceConfiguration": imds}
			if tt.want != nil {
				want["EncryptionConfiguration"] = tt.want
			}
			same(t, "security configuration", mustEvaluate(t, tt.pairs...).of("Cluster/SecurityConfiguration").properties["SecurityConfiguration"], want)
		})
	}
}

func mapping(pairs ...any) object {
	m := object{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	return m
}

// TestHdfsScript: the script that the HDFS host runs at its first boot is a script.
func TestHdfsScript(t *testing.T) {
	sum := strings.Repeat("0a", 64)
	script := mustEvaluate(t, "HdfsHost", "true", "HadoopKey", "r/hadoop-3.4.1.tar.gz", "HadoopSha512", sum).of("DataCentreNetwork/Hdfs").properties["UserData"].(string)
	for _, want := range []string{"'s3://bucket/r/hadoop-3.4.1.tar.gz'", "echo '" + sum + "  /tmp/hadoop.tar.gz'", "'hdfs://10.1.1.10:8020'"} {
		if !strings.Contains(script, want) {
			t.Errorf("the script lacks %s", want)
		}
	}
	if len(script) > 16384 {
		t.Errorf("user data of %d bytes: EC2 takes 16,384", len(script))
	}
	file := t.TempDir() + "/user-data"
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("bash", "-n", file).CombinedOutput(); err != nil {
		t.Errorf("bash -n: %v\n%s", err, out)
	}
	if program, err := exec.LookPath("shellcheck"); err != nil {
		t.Log("shellcheck is not installed: bash alone has checked the script")
	} else if out, err := exec.Command(program, "-e", "SC2050,SC2157", file).CombinedOutput(); err != nil { // what CloudFormation filled in is constant
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}

// same compares as JSON.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	a, err := json.MarshalIndent(got, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(want, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if string(a) != string(b) {
		t.Errorf("%s:\ngot  %s\nwant %s", what, a, b)
	}
}
