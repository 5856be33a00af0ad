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

// mustEvaluate returns the evaluated main template with the required parameters and more parameters
// in pairs.
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

// TestEveryCondition evaluates all combinations of the parameters that have conditions. evaluate
// returns an error for a reference to a resource that is not created.
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

// TestRefusals checks that parameters that cannot work are refused before anything is created.
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
		{"three masters in fleets, too early", "rule ThreeMastersInFleets", []any{"MasterCount", 3, "Provisioning", "instance-fleets", "ReleaseLabel", "emr-6.11.0"}},
		{"several subnets for groups", "rule SecondSubnet", subnet2()},
		{"a second subnet without pools", "rule SecondSubnet", []any{"Provisioning", "instance-fleets", "NodeSubnetCidr2", "10.0.2.0/24"}},
		{"a second subnet without a pool of task nodes", "rule SecondSubnet", append(subnet2("Provisioning", "instance-fleets"), "TaskIps", "10.0.1.48/28")},
		{"a pool without its subnet", "rule NoSecondSubnet", []any{"CoreIps2", "10.0.2.40/29"}},
		{"a third subnet without a second", "rule NoSecondSubnet", []any{"NodeSubnetCidr3", "10.0.3.0/24", "MasterIps3", "10.0.3.32/30", "CoreIps3", "10.0.3.40/29", "Provisioning", "instance-fleets"}},
		{"a pool without its third subnet", "rule NoThirdSubnet", []any{"MasterIps3", "10.0.3.32/30"}},
		{"two subnets that may be in one zone", "rule ZoneOfEach", append(subnet2("Provisioning", "instance-fleets"), "AvailabilityZone", "us-east-1b")},
		{"a zone without addresses", "rule ZoneNeedsAddresses", []any{"ZoneName", "emr.example.internal"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := evaluate("main", mapping(append([]any{"Bucket", "bucket"}, tt.pairs...)...)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want a refusal with %q", err, tt.want)
			}
		})
	}
}

// subnet2 returns the parameters of a second subnet after the given ones.
func subnet2(pairs ...any) []any {
	return append(pairs, "NodeSubnetCidr2", "10.0.2.0/24", "MasterIps2", "10.0.2.32/30", "CoreIps2", "10.0.2.40/29")
}

// TestThreeMasters checks the releases whose instance fleets can have three masters:
// https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-plan-ha.html
func TestThreeMasters(t *testing.T) {
	m := newMaker()
	for _, tt := range []struct {
		provisioning string
		can, cannot  []string
	}{
		{"instance-fleets", []string{"emr-5.36.1", "emr-5.36.2", "emr-6.8.1", "emr-6.9.1", "emr-6.10.1", "emr-6.11.1", "emr-6.12.0", "emr-6.15.0", "emr-7.0.0", "emr-7.13.0", "emr-spark-8.1.0"},
			[]string{"emr-5.32.0", "emr-5.33.1", "emr-5.36.0", "emr-6.2.0", "emr-6.7.0", "emr-6.8.0", "emr-6.9.0", "emr-6.10.0", "emr-6.11.0"}},
		{"instance-groups", []string{"emr-5.32.0", "emr-6.2.0", "emr-6.11.0", "emr-7.13.0"}, nil},
	} {
		for i, release := range slices.Concat(tt.can, tt.cannot) {
			_, err := m.evaluate("main", object{"Bucket": "bucket", "MasterCount": 3, "Provisioning": tt.provisioning, "ReleaseLabel": release})
			if want := i < len(tt.can); (err == nil) != want {
				t.Errorf("%s, %s: accepted: want %t; error %v", tt.provisioning, release, want, err)
			}
		}
	}
}

// TestSubnets checks an instance fleet that may be launched in any of three subnets. Each subnet
// has its own pools, reservations and zone. The firewall must admit the nodes of each.
func TestSubnets(t *testing.T) {
	three := append(subnet2("Provisioning", "instance-fleets", "TaskIps", "10.0.1.48/28", "TaskIps2", "10.0.2.48/28", "Bastion", "true", "KeyName", "k", "Name", strings.Repeat("a", 41)),
		"NodeSubnetCidr3", "10.0.3.0/24", "MasterIps3", "10.0.3.32/30", "CoreIps3", "10.0.3.40/29", "TaskIps3", "10.0.3.48/28")
	s := mustEvaluate(t, three...)
	nodes := []*resource{s.of("Network/NodeSubnet"), s.of("Network/NodeSubnet2"), s.of("Network/NodeSubnet3")}
	var ids, zones []any
	for i, subnet := range nodes {
		ids, zones = append(ids, subnet.id), append(zones, subnet.properties["AvailabilityZone"])
		tagged(t, subnet)
		name := fmt.Sprint("Reservation", []string{"", "2", "3"}[i])
		for role, block := range map[string]string{"Master": "32/30", "Core": "40/29", "Task": "48/28"} {
			r := s.of(name + "/" + role + "Reservation")
			same(t, name+" "+role, []any{r.properties["SubnetId"], r.properties["Cidr"]}, []any{subnet.id, fmt.Sprintf("10.0.%d.%s", i+1, block)})
		}
	}
	same(t, "zones", zones, []any{"us-east-1a", "us-east-1b", "us-east-1c"})
	in := s.of("Cluster/Cluster").properties["Instances"].(object)
	same(t, "the cluster's subnets", in["Ec2SubnetIds"], ids)
	same(t, "outputs", []any{s.outputs["NodeSubnetId"], s.outputs["NodeSubnetId2"], s.outputs["NodeSubnetId3"]}, ids)
	args := s.of("Cluster/Cluster").properties["BootstrapActions"].([]any)[0].(object)["ScriptBootstrapAction"].(object)["Args"]
	same(t, "arguments", args, []any{"--master-ips=10.0.1.32/30,10.0.2.32/30,10.0.3.32/30", "--core-ips=10.0.1.40/29,10.0.2.40/29,10.0.3.40/29", "--prefix=/emr-static-ip",
		"--task-ips=10.0.1.48/28,10.0.2.48/28,10.0.3.48/28"})
	for _, logical := range []string{"NodeRouteTableAssociation", "NodeRouteTableAssociation2", "NodeRouteTableAssociation3"} {
		same(t, logical, s.of("Network/" + logical).properties["RouteTableId"], s.of("Network/NodeRouteTable").id)
	}
	for group, want := range map[string][]string{"EndpointSecurityGroup": {"10.0.1.0/24 443", "10.0.2.0/24 443", "10.0.3.0/24 443"}, "BastionSecurityGroup": {"10.0.1.0/24 22", "10.0.2.0/24 22", "10.0.3.0/24 22"}} {
		direction := map[string]string{"EndpointSecurityGroup": "SecurityGroupIngress", "BastionSecurityGroup": "SecurityGroupEgress"}[group]
		same(t, group, blocks(s.of("Network/" + group).properties[direction]), want)
	}
	firewall := blocks(s.of("DataCentreNetwork/Firewall").properties["SecurityGroupIngress"])
	for i := range 3 {
		for _, block := range []string{"32/30", "40/29", "48/28"} {
			for _, port := range []string{"8020", "9866"} {
				if want := fmt.Sprintf("10.0.%d.%s %s", i+1, block, port); !slices.Contains(firewall, want) {
					t.Errorf("the firewall does not admit %s", want)
				}
			}
		}
	}

	s = mustEvaluate(t, append(subnet2("Provisioning", "instance-fleets"), "ReservePool", "false")...)
	same(t, "two subnets", s.of("Cluster/Cluster").properties["Instances"].(object)["Ec2SubnetIds"], []any{s.of("Network/NodeSubnet").id, s.of("Network/NodeSubnet2").id})
}

// blocks returns the networks and ports of rules.
func blocks(rules any) (list []string) {
	for _, r := range rules.([]any) {
		list = append(list, fmt.Sprintf("%v %v", r.(object)["CidrIp"], r.(object)["FromPort"]))
	}
	return list
}

// TestEmr8 checks the endpoint, the rules and the applications of EMR 8:
// https://docs.aws.amazon.com/emr/latest/ReleaseGuide/emr-spark-8.0.0.html
func TestEmr8(t *testing.T) {
	for _, release := range []string{"emr-spark-8.0.0", "emr-spark-8.1.0"} {
		s := mustEvaluate(t, "ReleaseLabel", release)
		same(t, "applications", s.of("Cluster/Cluster").properties["Applications"], []any{object{"Name": "Spark"}})
		groups := s.nested["Groups"]
		for _, r := range groups.resources {
			if r != nil && strings.HasPrefix(r.kind, "AWS::EC2::SecurityGroup") && (r.properties["FromPort"] == 8443 || r.properties["FromPort"] == 9443) {
				t.Errorf("%s: has a rule of earlier releases: %v", release, r.properties)
			}
		}
		same(t, "rule", groups.of("ServiceFromVpc").properties, object{"GroupId": groups.of("ServiceGroup").id, "CidrIp": "10.0.0.0/16", "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443})
		endpoint := groups.of("EmrEndpoint")
		same(t, "endpoint", []any{endpoint.properties["ServiceName"], endpoint.properties["PrivateDnsEnabled"], endpoint.properties["SubnetIds"], endpoint.properties["SecurityGroupIds"], endpoint.properties["VpcId"]},
			[]any{"aws.api.us-east-1.emr-service-cell01", true, []any{s.of("Network/EndpointSubnet").id}, []any{groups.of("ServiceGroup").id}, s.of("Network/Vpc").id})
		tagged(t, endpoint)
	}
	s := mustEvaluate(t)
	same(t, "applications before", s.of("Cluster/Cluster").properties["Applications"], []any{object{"Name": "Hadoop"}, object{"Name": "Spark"}})
	if s.of("Groups/EmrEndpoint") != nil || s.of("Groups/ServiceFromVpc") != nil {
		t.Error("the stack of an earlier release has the endpoint of EMR 8")
	}
	for _, label := range []string{"emr-8.0.0", "emr-8.1.0", "emr-9.0.0", "emr-spark-8.0", "emr-spark-7.0.0"} {
		if _, err := evaluate("main", object{"Bucket": "bucket", "ReleaseLabel": label}); err == nil {
			t.Errorf("the release %s is accepted", label)
		}
	}
	for _, name := range []string{"main", "cluster", "groups"} {
		if text := fmt.Sprint(load(t, name).parameters["ReleaseLabel"].(object)["ConstraintDescription"]); !strings.Contains(text, "there is no emr-8.0.0") || !strings.Contains(text, "emr-spark-8.0.0") {
			t.Errorf("%s refuses emr-8.0.0 with %q", name, text)
		}
	}
	if _, err := evaluate("groups", object{"VpcId": "vpc-1", "ReleaseLabel": "emr-spark-8.0.0"}); err == nil || !strings.Contains(err.Error(), "EndpointSubnetId") {
		t.Errorf("EMR 8 without a subnet for its endpoint: %v", err)
	}
}

// TestPartition checks the names of endpoint services and of service principals in each partition.
func TestPartition(t *testing.T) {
	for _, tt := range []struct{ region, partition, suffix, ec2, principal string }{
		{"cn-north-1", "aws-cn", "amazonaws.com.cn", "cn.com.amazonaws.cn-north-1.ec2", "amazonaws.com.cn"},
		{"us-gov-west-1", "aws-us-gov", "amazonaws.com", "com.amazonaws.us-gov-west-1.ec2", "amazonaws.com"},
		{"eusc-de-east-1", "aws-eusc", "amazonaws.eu", "com.amazonaws.eusc-de-east-1.ec2", "amazonaws.com"},
		{"us-iso-east-1", "aws-iso", "c2s.ic.gov", "gov.ic.c2s.us-iso-east-1.ec2", "c2s.ic.gov"},
		{"us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov", "gov.sgov.sc2s.us-isob-east-1.ec2", "sc2s.sgov.gov"},
		{"eu-isoe-west-1", "aws-iso-e", "cloud.adc-e.uk", "com.amazonaws.eu-isoe-west-1.ec2", "amazonaws.com"},
		{"us-isof-south-1", "aws-iso-f", "csp.hci.ic.gov", "com.amazonaws.us-isof-south-1.ec2", "amazonaws.com"},
	} {
		t.Run(tt.partition, func(t *testing.T) {
			m := newMaker()
			m.region, m.partition, m.suffix = tt.region, tt.partition, tt.suffix
			s := m.must(t, "HdfsHost", "true", "HadoopKey", "h.tar.gz", "AvailabilityZone", tt.region+"a")
			same(t, "EC2", s.of("Network/Ec2Endpoint").properties["ServiceName"], tt.ec2)
			same(t, "Parameter Store, S3", []any{s.of("Network/SsmEndpoint").properties["ServiceName"], s.of("Network/S3Endpoint").properties["ServiceName"]},
				[]any{"com.amazonaws." + tt.region + ".ssm", "com.amazonaws." + tt.region + ".s3"})
			for role, service := range map[string]string{"Roles/ServiceRole": "elasticmapreduce", "Roles/NodeRole": "ec2", "DataCentreNetwork/HdfsHostRole": "ec2"} {
				trust := s.of(role).properties["AssumeRolePolicyDocument"].(object)["Statement"].([]any)[0].(object)
				same(t, role, trust["Principal"], object{"Service": service + "." + tt.principal})
			}
			text, err := json.Marshal([]any{s.of("Roles/NodeRole").properties, s.of("Roles/ServiceRole").properties})
			if err != nil || strings.Contains(string(text), "arn:aws:") || !strings.Contains(string(text), "arn:"+tt.partition+":ec2:"+tt.region+":*:subnet/") {
				t.Errorf("ARNs: %v %s", err, text)
			}
		})
	}
}

// TestDns checks that both VPCs use the zone, and that it has the masters' addresses, which are
// known before the launch.
func TestDns(t *testing.T) {
	s := mustEvaluate(t, "ZoneName", "emr.example.internal", "MasterAddresses", "10.0.1.32,10.0.1.33,10.0.1.34", "MasterCount", 3)
	vpcs := []any{object{"VPCId": s.of("Network/Vpc").id, "VPCRegion": region}, object{"VPCId": s.of("DataCentreNetwork/Vpc").id, "VPCRegion": region}}
	same(t, "zone", []any{s.of("Dns/Zone").properties["Name"], s.of("Dns/Zone").properties["VPCs"]}, []any{"emr.example.internal", vpcs})
	record := s.of("Dns/MasterRecord").properties
	same(t, "record", []any{record["Name"], record["Type"], record["ResourceRecords"]}, []any{"master.emr.example.internal", "A", []any{"10.0.1.32", "10.0.1.33", "10.0.1.34"}})
	s = mustEvaluate(t, "ZoneName", "emr.example.internal", "MasterAddresses", "10.0.1.32", "DataCentre", "false")
	same(t, "VPCs without a data centre", s.of("Dns/Zone").properties["VPCs"], vpcs[:1])
	same(t, "no zone", mustEvaluate(t).outputs["MasterName"], "")
}

// TestClaimTags checks that each tag is a separate argument.
func TestClaimTags(t *testing.T) {
	args := mustEvaluate(t, "ClaimTags", "team=data cost-centre=42", "ExtraArguments", "--verbose").of("Cluster/Cluster").properties["BootstrapActions"].([]any)[0].(object)["ScriptBootstrapAction"].(object)["Args"]
	same(t, "arguments", args.([]any)[3:], []any{"--claim-tag=team=data", "--claim-tag=cost-centre=42", "--verbose"})
}

// TestSpotRole checks that EMR may create the service-linked role for the first Spot Instance of an
// account. EMR's current managed policy does not allow this.
func TestSpotRole(t *testing.T) {
	found := false
	for _, p := range mustEvaluate(t).of("Roles/ServiceRole").properties["Policies"].([]any) {
		for _, v := range p.(object)["PolicyDocument"].(object)["Statement"].([]any) {
			if statement := v.(object); statement["Action"] == "iam:CreateServiceLinkedRole" {
				found = true
				same(t, "statement", []any{statement["Resource"], statement["Condition"]}, []any{"arn:aws:iam::*:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot*",
					object{"StringLike": object{"iam:AWSServiceName": "spot.amazonaws.com"}}})
			}
		}
	}
	if !found {
		t.Error("the service role has no statement for Spot's service-linked role")
	}
}

// TestOnePool checks that reservation, bootstrap action and firewall have the same addresses, which
// are given once.
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
		t.Error("the stack creates a route in another account")
	}
	if _, err := evaluate("peering", map[string]any{"VpcId": "vpc-1", "RouteTableId": "rtb-1", "PeerVpcId": "vpc-2", "PeerOwnerId": account}); err == nil {
		t.Error("another account without a role is accepted")
	}
}

// TestEndpoints checks that there is no NAT gateway by default, that the endpoints for the program
// exist, and that none of them is in the nodes' subnet, where it could take an address of the pool.
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
			t.Error("the stack has a route to the Internet by default")
		}
	}
	s := mustEvaluate(t, "NatGateway", "true").nested["Network"]
	same(t, "default route", s.of("NodeDefaultRoute").properties, object{"RouteTableId": s.of("NodeRouteTable").id, "DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": s.of("Nat").id})
	same(t, "NAT's subnet", s.of("Nat").properties["SubnetId"], s.of("PublicSubnet").id)
}

// TestEmrGroups checks the rules of EMR's documentation for private subnets, and the tags that
// AmazonEMRServicePolicy_v2 requires.
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
		if r == nil {
			continue
		}
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

// emrRules returns the inbound rules of EMR's managed security groups in a private subnet:
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
	t.Errorf("%s %s lacks the tag that AmazonEMRServicePolicy_v2 requires", r.kind, r.id)
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
		want  any // nil means no EncryptionConfiguration
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

// TestHdfsScript checks the script that the HDFS host runs at its first boot.
func TestHdfsScript(t *testing.T) {
	sum := strings.Repeat("0a", 64)
	script := mustEvaluate(t, "HdfsHost", "true", "HadoopKey", "r/hadoop-3.4.1.tar.gz", "HadoopSha512", sum).of("DataCentreNetwork/Hdfs").properties["UserData"].(string)
	for _, want := range []string{"'s3://bucket/r/hadoop-3.4.1.tar.gz'", "echo '" + sum + "  /tmp/hadoop.tar.gz'", "'hdfs://10.1.1.10:8020'"} {
		if !strings.Contains(script, want) {
			t.Errorf("the script lacks %s", want)
		}
	}
	if len(script) > 16384 {
		t.Errorf("user data has %d bytes, EC2 accepts 16,384", len(script))
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
	} else if out, err := exec.Command(program, "-e", "SC2050,SC2157", file).CombinedOutput(); err != nil { // CloudFormation's values are constant
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}

// same fails the test unless got and want are equal as JSON.
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
