package cloud

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

func mustPolicy(t *testing.T, text string) *iam.Policy {
	t.Helper()
	p, err := iam.ParsePolicy([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// TestConditionKeysOfCalls checks the action, the resources and the condition keys that each call
// is authorized with.
func TestConditionKeysOfCalls(t *testing.T) {
	var last []AccessRequest
	w := newWorld(t, Options{Authorize: func(r AccessRequest) error { last = append(last, r); return nil }})
	node := w.cores[0]
	c := w.on(node.InstanceID)
	const account = ":us-east-1:123456789012:"
	self := "arn:aws:ec2" + account + "instance/" + node.InstanceID
	tags := []ec2types.Tag{{Key: aws.String("Name"), Value: aws.String("x")}, {Key: aws.String("Other"), Value: aws.String("y")}}
	for _, tt := range []struct {
		call      func() error
		action    string
		resources []string
		keys      map[string]string // of the last resource; an empty value means that the key is missing
	}{
		{func() error { _, err := c.ssm.PutParameter(t.Context(), putInput("/p/one", "v")); return err },
			"ssm:PutParameter", []string{"arn:aws:ssm" + account + "parameter/p/one"}, map[string]string{
				"aws:RequestedRegion": "us-east-1", "aws:PrincipalArn": "arn:aws:iam::123456789012:role/EMR_EC2_DefaultRole", "aws:PrincipalAccount": "123456789012",
				"aws:userid": "AROAMODELEMREC2ROLE0:" + node.InstanceID, "ec2:SourceInstanceARN": self, "aws:Ec2InstanceSourceVpc": w.vpc, "ssm:Overwrite": "false",
				"aws:Ec2InstanceSourcePrivateIPv4": node.PrimaryIP.String(), "aws:TagKeys": "", "aws:username": "", "ec2:Subnet": ""}},
		{func() error {
			_, err := c.ssm.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"/p/one", "two"}})
			return err
		}, "ssm:GetParameters", []string{"arn:aws:ssm" + account + "parameter/p/one", "arn:aws:ssm" + account + "parameter/two"}, nil},
		{func() error {
			_, err := c.ssm.AddTagsToResource(t.Context(), &ssm.AddTagsToResourceInput{ResourceType: ssmtypes.ResourceTypeForTaggingParameter,
				ResourceId: aws.String("/p/one"), Tags: []ssmtypes.Tag{{Key: aws.String("A"), Value: aws.String("b")}}})
			return err
		}, "ssm:AddTagsToResource", []string{"arn:aws:ssm" + account + "parameter/p/one"}, map[string]string{"aws:TagKeys": "A", "aws:RequestTag/A": "b", "aws:ResourceTag/A": ""}},
		{func() error {
			_, err := c.ssm.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: aws.String("/p/one")})
			return err
		}, "ssm:DeleteParameter", []string{"arn:aws:ssm" + account + "parameter/p/one"}, map[string]string{"aws:ResourceTag/A": "b", "ssm:resourceTag/A": "b"}},
		// The policy is asked about the path itself, not about the parameters below it.
		{func() error {
			_, err := c.ssm.GetParametersByPath(t.Context(), &ssm.GetParametersByPathInput{Path: aws.String("/p/"), Recursive: aws.Bool(true)})
			return err
		}, "ssm:GetParametersByPath", []string{"arn:aws:ssm" + account + "parameter/p/"}, map[string]string{"ssm:Recursive": "true"}},
		{func() error {
			_, err := c.ssm.GetParametersByPath(t.Context(), &ssm.GetParametersByPathInput{Path: aws.String("/p")})
			return err
		}, "ssm:GetParametersByPath", []string{"arn:aws:ssm" + account + "parameter/p"}, map[string]string{"ssm:Recursive": "false"}},
		{func() error {
			_, err := c.ssm.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{})
			return err
		},
			"ssm:DescribeParameters", []string{"*"}, nil},
		{func() error {
			_, err := c.ec2.AssignPrivateIpAddresses(t.Context(), assignInput(node.ENI, false, "10.0.1.21"))
			return err
		}, "ec2:AssignPrivateIpAddresses", []string{"arn:aws:ec2" + account + "network-interface/" + node.ENI}, map[string]string{
			"ec2:Subnet": "arn:aws:ec2" + account + "subnet/" + w.subnet, "ec2:Vpc": "arn:aws:ec2" + account + "vpc/" + w.vpc,
			"ec2:NetworkInterfaceID": node.ENI, "ec2:AvailabilityZone": "us-east-1a", "ec2:Region": "us-east-1", "ec2:InstanceID": ""}},
		{func() error {
			_, err := c.ec2.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{w.master.ENI, node.InstanceID}, Tags: tags})
			return err
		}, "ec2:CreateTags", []string{"arn:aws:ec2" + account + "network-interface/" + w.master.ENI, self}, map[string]string{
			"aws:TagKeys": "Name,Other", "aws:RequestTag/Name": "x", "aws:RequestTag/Other": "y", "ec2:InstanceID": node.InstanceID, "ec2:InstanceType": "m5.xlarge",
			"aws:ResourceTag/aws:elasticmapreduce:job-flow-id": w.cluster.ID, "ec2:ResourceTag/aws:elasticmapreduce:instance-group-role": "CORE", "ec2:Subnet": ""}},
		{func() error {
			_, err := c.ec2.DeleteTags(t.Context(), &ec2.DeleteTagsInput{Resources: []string{node.InstanceID}, Tags: []ec2types.Tag{{Key: aws.String("Other")}}})
			return err
		}, "ec2:DeleteTags", []string{self}, map[string]string{"aws:TagKeys": "Other", "aws:RequestTag/Other": "", "aws:ResourceTag/Other": "y"}},
		{func() error {
			_, err := c.ec2.DeleteTags(t.Context(), &ec2.DeleteTagsInput{Resources: []string{node.InstanceID}})
			return err
		}, "ec2:DeleteTags", []string{self}, map[string]string{"aws:TagKeys": ""}},
		{func() error {
			_, err := c.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{})
			return err
		},
			"ec2:DescribeInstances", []string{"*"}, map[string]string{"aws:RequestedRegion": "us-east-1", "aws:ResourceAccount": ""}},
	} {
		last = nil
		if err := tt.call(); err != nil {
			t.Errorf("%s: %v", tt.action, err)
		}
		if len(last) != 1 || last[0].Action != tt.action || strings.Join(last[0].Resources, " ") != strings.Join(tt.resources, " ") || len(last[0].Contexts) != len(tt.resources) {
			t.Errorf("%s: authorized with %+v", tt.action, last)
			continue
		}
		keys := last[0].Contexts[len(tt.resources)-1]
		for name, want := range tt.keys {
			if got := strings.Join(keys[strings.ToLower(name)], ","); got != want {
				t.Errorf("%s: %s is %q, want %q", tt.action, name, got, want)
			}
		}
		for name := range keys {
			if _, known := iam.KnownKey(name); !known {
				t.Errorf("%s: policies do not know the condition key %s", tt.action, name)
			}
		}
	}
	last = nil
	w.on("").ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{})
	if keys := last[0].Contexts[0]; keys[iam.KeyUserName][0] != "operator" || keys[iam.KeySourceInstance] != nil || keys[iam.KeyPrincipalARN][0] != "arn:aws:iam::123456789012:user/operator" {
		t.Errorf("condition keys of the operator: %v", keys)
	}
}

// TestPutParameterWithTags checks that creating a parameter with tags needs the permission to tag.
func TestPutParameterWithTags(t *testing.T) {
	p := mustPolicy(t, `{"Statement": {"Effect": "Allow", "Action": "ssm:PutParameter", "Resource": "*"}}`)
	w := newWorld(t, Options{Authorize: iam.Policies{p}.OnInstances})
	c := w.on(w.master.InstanceID)
	in := putInput("/x", "v")
	in.Tags = []ssmtypes.Tag{{Key: aws.String("A"), Value: aws.String("b")}}
	if _, err := c.ssm.PutParameter(t.Context(), in); code(err) != "AccessDeniedException" || !strings.Contains(message(err), "perform: ssm:AddTagsToResource on resource: arn:aws:ssm:") {
		t.Errorf("PutParameter with tags: %v", err)
	}
	if _, err := c.ssm.PutParameter(t.Context(), putInput("/x", "v")); err != nil {
		t.Errorf("PutParameter without tags: %v", err)
	}
}

// TestDenials checks the text of refusals. One name that is not allowed denies the whole call, and
// the error names it. A denial by a Deny statement says so. DryRun is authorized like the call.
func TestDenials(t *testing.T) {
	p := mustPolicy(t, `{"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:ssm:*:*:parameter/secret/*"},
		{"Effect": "Deny", "Action": ["ec2:Un*", "ec2:DescribeVpcs", "sts:*"], "Resource": "*"}]}`)
	w := newWorld(t, Options{Authorize: iam.Policies{p}.OnInstances})
	node := w.cores[0]
	c := w.on(node.InstanceID)
	user := "User: arn:aws:sts::123456789012:assumed-role/EMR_EC2_DefaultRole/" + node.InstanceID + " is not authorized to perform: "
	_, err := c.ssm.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"/open/1", "/secret/2", "/secret/1"}})
	want := user + "ssm:GetParameters on resource: arn:aws:ssm:us-east-1:123456789012:parameter/secret/2 because no identity-based policy allows the ssm:GetParameters action"
	if code(err) != "AccessDeniedException" || message(err) != want {
		t.Errorf("GetParameters: %v", err)
	}
	_, err = c.ec2.UnassignPrivateIpAddresses(t.Context(), &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: &node.ENI, PrivateIpAddresses: []string{"10.0.1.21"}})
	want = "You are not authorized to perform this operation. " + user + "ec2:UnassignPrivateIpAddresses on resource: arn:aws:ec2:us-east-1:123456789012:network-interface/" +
		node.ENI + " with an explicit deny in an identity-based policy. Encoded authorization failure message: "
	if code(err) != "UnauthorizedOperation" || !strings.HasPrefix(message(err), want) {
		t.Errorf("UnassignPrivateIpAddresses: %v", err)
	}
	_, err = c.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{DryRun: aws.Bool(true)})
	if want := "You are not authorized to perform this operation. " + user + "ec2:DescribeVpcs with an explicit deny in an identity-based policy"; message(err) != want {
		t.Errorf("DescribeVpcs: %v", err)
	}
	if err := w.authorize(w.actions["sts:GetCallerIdentity"], &operation{}, w.callerOf(node.InstanceID), &Call{}, w.now()); err != nil {
		t.Errorf("GetCallerIdentity is denied: %v", err)
	}
}
