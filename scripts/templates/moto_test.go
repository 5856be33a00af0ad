package templates

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// notInMoto are the resource types that moto 5.2.1 does not create, or creates without an ID
// (SecurityGroupIngress).
var notInMoto = []string{"AWS::EC2::SubnetCidrReservation", "AWS::EC2::SecurityGroupIngress",
	"AWS::EC2::SecurityGroupEgress", "AWS::EMR::InstanceFleetConfig"}

// deploy creates a stack and returns its outputs and its physical IDs by logical ID. The template
// is passed as JSON with the long form of functions, because moto does not understand !Condition.
func (m *moto) deploy(t *testing.T, stack, name string, parameters object) (outputs map[string]any, ids map[string]string) {
	t.Helper()
	root := load(t, name).root
	s, err := newMaker().evaluate(name, parameters)
	if err != nil {
		t.Fatal(err)
	}
	root["Resources"] = s.chosen(root["Resources"])
	for _, r := range root["Resources"].(object) { // moto's instances ignore launch templates
		if resource := r.(object); resource["Type"] == "AWS::EC2::Instance" {
			resource["Properties"].(object)["ImageId"] = "ami-12c6146b"
		}
	}
	body, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	pairs := []string{"StackName", stack, "TemplateBody", string(body), "Capabilities.member.1", "CAPABILITY_IAM"}
	for i, key := range slices.Sorted(maps.Keys(parameters)) {
		pairs = append(pairs, fmt.Sprintf("Parameters.member.%d.ParameterKey", i+1), key, fmt.Sprintf("Parameters.member.%d.ParameterValue", i+1), fmt.Sprint(parameters[key]))
	}
	if _, err := m.query(t, "cloudformation", "CreateStack", pairs...); err != nil {
		log, _ := os.ReadFile(m.log)
		t.Fatalf("%s: %v\n%s", name, err, log[max(0, len(log)-2000):])
	}
	answer := m.mustQuery(t, "cloudformation", "DescribeStacks", "StackName", stack)
	if status := answer.text("DescribeStacksResult/Stacks/member/StackStatus"); status != "CREATE_COMPLETE" {
		t.Errorf("stack %s: %s", stack, status)
	}
	outputs, ids = map[string]any{}, map[string]string{}
	for _, o := range answer.all("DescribeStacksResult/Stacks/member/Outputs/member") {
		outputs[o.text("OutputKey")] = o.text("OutputValue")
	}
	for _, r := range m.mustQuery(t, "cloudformation", "DescribeStackResources", "StackName", stack).all("DescribeStackResourcesResult/StackResources/member") {
		ids[r.text("LogicalResourceId")] = r.text("PhysicalResourceId")
	}
	return outputs, ids
}

// chosen returns v without list items that are AWS::NoValue by their condition. moto 5.2.1 treats
// such items as rules.
func (s *stack) chosen(v any) any {
	switch v := v.(type) {
	case []any:
		list := []any{}
		for _, item := range v {
			if o, ok := item.(object); ok && o["Fn::If"] != nil && s.value(item) == (noValue{}) {
				continue
			}
			list = append(list, s.chosen(item))
		}
		return list
	case object:
		for key, item := range v {
			if key == "Fn::If" || key == "Fn::Join" || key == "Fn::Sub" { // the list has the function's arguments
				continue
			}
			v[key] = s.chosen(item)
		}
	}
	return v
}

// TestDeploy creates all parts in moto with the parameters that the main template passes to them,
// and checks the created resources. moto has no outputs of nested stacks, so this test evaluates
// the main template itself.
func TestDeploy(t *testing.T) {
	moto := startMoto(t)
	ids, stacks := map[string]string{}, 0
	m := newMaker()
	m.deployed = func(logical, name string, parameters object) (map[string]any, error) {
		outputs, made := moto.deploy(t, "emr-"+logical, name, parameters)
		for resource, id := range made {
			ids[logical+"/"+resource] = id
		}
		stacks++
		for output := range load(t, name).outputs {
			if outputs[output] == nil && name != "reservation" {
				t.Errorf("%s has no output %s", logical, output)
			}
			if outputs[output] == nil {
				outputs[output] = "" // moto does not create resources of this type
			}
		}
		return outputs, nil
	}
	s := m.must(t, "TaskCount", 1, "TaskIps", "10.0.1.48/28", "NatGateway", "true", "HdfsHost", "true", "HadoopKey", "hadoop.tar.gz",
		"ZoneName", "emr.example.internal", "MasterAddresses", "10.0.1.32", "ClaimTags", "team=data")
	for logical, child := range s.nested {
		compareMade(t, child, logical+"/", ids)
	}
	t.Logf("%d resources in %d stacks; no ID from moto for %s", len(ids), stacks, strings.Join(notInMoto, ", "))

	t.Run("firewall", func(t *testing.T) {
		var got []string
		group := moto.mustQuery(t, "ec2", "DescribeSecurityGroups", "GroupId.1", ids["DataCentreNetwork/Firewall"])
		for _, rule := range group.all("securityGroupInfo/item/ipPermissions/item") {
			for _, source := range rule.all("ipRanges/item") {
				got = append(got, fmt.Sprintf("%s %s %s-%s", source.text("cidrIp"), rule.text("ipProtocol"), rule.text("fromPort"), rule.text("toPort")))
			}
			if len(rule.all("groups/item"))+len(rule.all("ipv6Ranges/item"))+len(rule.all("prefixListIds/item")) > 0 {
				t.Error("the firewall admits sources that are not addresses")
			}
		}
		slices.Sort(got)
		var want []string
		for _, pool := range []string{"10.0.1.32/30", "10.0.1.40/29", "10.0.1.48/28"} {
			want = append(want, pool+" tcp 8020-8020", pool+" tcp 9866-9866")
		}
		same(t, "rules", got, want)
	})
	t.Run("routes", func(t *testing.T) {
		for table, want := range map[string][]string{
			"Network/NodeRouteTable":       {"0.0.0.0/0 " + ids["Network/Nat"], "10.0.0.0/16 local", "10.1.0.0/16 " + ids["Peering/Peering"]},
			"Network/EndpointRouteTable":   {"10.0.0.0/16 local"},
			"DataCentreNetwork/RouteTable": {"10.0.0.0/16 " + ids["Peering/Peering"], "10.1.0.0/16 local"},
		} {
			var got []string
			answer := moto.mustQuery(t, "ec2", "DescribeRouteTables", "RouteTableId.1", ids[table])
			for _, r := range answer.all("routeTableSet/item/routeSet/item") {
				if r.text("destinationCidrBlock") != "" { // S3's rule has a prefix list
					got = append(got, r.text("destinationCidrBlock")+" "+r.text("gatewayId")+r.text("natGatewayId")+r.text("vpcPeeringConnectionId"))
				}
			}
			slices.Sort(got)
			same(t, table, got, want)
		}
	})
	t.Run("peering", func(t *testing.T) {
		p := moto.mustQuery(t, "ec2", "DescribeVpcPeeringConnections", "VpcPeeringConnectionId.1", ids["Peering/Peering"])
		same(t, "ends", []string{p.text("vpcPeeringConnectionSet/item/requesterVpcInfo/vpcId"), p.text("vpcPeeringConnectionSet/item/accepterVpcInfo/vpcId")},
			[]string{ids["Network/Vpc"], ids["DataCentreNetwork/Vpc"]})
	})
	t.Run("endpoints", func(t *testing.T) {
		var got []string
		for _, e := range moto.mustQuery(t, "ec2", "DescribeVpcEndpoints").all("vpcEndpointSet/item") {
			got = append(got, strings.Join([]string{e.text("vpcId"), e.text("serviceName"), e.text("vpcEndpointType"), e.text("routeTableIdSet/item"), e.text("subnetIdSet/item"),
				e.text("groupSet/item/groupId"), e.text("privateDnsEnabled")}, " "))
		}
		slices.Sort(got)
		inside := " " + ids["Network/EndpointSubnet"] + " " + ids["Network/EndpointSecurityGroup"] + " true"
		want := []string{
			ids["Network/Vpc"] + " com.amazonaws.us-east-1.s3 Gateway " + ids["Network/NodeRouteTable"] + "   ",
			ids["Network/Vpc"] + " com.amazonaws.us-east-1.ssm Interface " + inside,
			ids["Network/Vpc"] + " com.amazonaws.us-east-1.ec2 Interface " + inside,
			ids["DataCentreNetwork/Vpc"] + " com.amazonaws.us-east-1.s3 Gateway " + ids["DataCentreNetwork/RouteTable"] + "   ",
		}
		slices.Sort(want)
		same(t, "endpoints", got, want)
	})
	t.Run("cluster", func(t *testing.T) {
		cluster := moto.emr(t, "DescribeCluster", object{"ClusterId": ids["Cluster/Cluster"]})["Cluster"].(object)
		attributes := cluster["Ec2InstanceAttributes"].(object)
		same(t, "cluster", []any{cluster["Name"], cluster["LogUri"], cluster["ReleaseLabel"], attributes["Ec2SubnetId"], attributes["EmrManagedMasterSecurityGroup"],
			attributes["EmrManagedSlaveSecurityGroup"], attributes["ServiceAccessSecurityGroup"], attributes["IamInstanceProfile"], cluster["ServiceRole"]},
			[]any{"emr-static-ip", "s3://bucket/emr-logs/", "emr-7.13.0", ids["Network/NodeSubnet"], ids["Groups/MasterGroup"], ids["Groups/CoreGroup"],
				ids["Groups/ServiceGroup"], ids["Roles/NodeProfile"], ids["Roles/ServiceRole"]})
		configuration := moto.emr(t, "DescribeSecurityConfiguration", object{"Name": ids["Cluster/SecurityConfiguration"]})
		if text := fmt.Sprint(configuration["SecurityConfiguration"]); !strings.Contains(text, "MinimumInstanceMetadataServiceVersion") {
			t.Errorf("security configuration: %s", text)
		}
	})
	t.Run("groups", func(t *testing.T) {
		names := map[string]string{ids["Groups/MasterGroup"]: "master", ids["Groups/CoreGroup"]: "core", ids["Groups/ServiceGroup"]: "service"}
		var got []string
		for id, to := range names {
			for _, rule := range moto.mustQuery(t, "ec2", "DescribeSecurityGroups", "GroupId.1", id).all("securityGroupInfo/item/ipPermissions/item") {
				for _, from := range rule.all("groups/item") {
					got = append(got, fmt.Sprintf("%s < %s %s %s-%s", to, names[from.text("groupId")], rule.text("ipProtocol"), rule.text("fromPort"), rule.text("toPort")))
				}
			}
		}
		slices.Sort(got)
		same(t, "rules", got, emrRules())
	})
}

// compareMade checks that CloudFormation created the resources of the evaluation, and no others.
func compareMade(t *testing.T, s *stack, path string, ids map[string]string) {
	t.Helper()
	for logical, r := range s.resources {
		id := ids[path+logical]
		switch {
		case r == nil && id != "":
			t.Errorf("%s%s was created although its condition does not hold", path, logical)
		case r != nil && id == "" && !slices.Contains(notInMoto, r.kind):
			t.Errorf("%s%s (%s) was not created", path, logical, r.kind)
		}
	}
}
