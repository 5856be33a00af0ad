package certify

import (
	"encoding/json"
	"fmt"
)

type statement struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string
	Condition map[string]map[string]string `json:",omitempty"`
}

// Policy returns the IAM policy that a run needs: enough, and no more. partition is aws, aws-cn or
// aws-us-gov.
func Policy(partition, region, subnet, prefix string) string {
	arn := func(service, rest string) string {
		return fmt.Sprintf("arn:%s:%s:%s:*:%s", partition, service, region, rest)
	}
	interfaces := []string{arn("ec2", "network-interface/*")}
	own := map[string]map[string]string{"StringLike": {"ec2:ResourceTag/" + Tag: "*"}}
	list := []statement{
		{"MakeInSubnet", "Allow", []string{"ec2:CreateNetworkInterface"}, []string{arn("ec2", "subnet/"+subnet), arn("ec2", "security-group/*")}, nil},
		{"MakeTaggedInterfaces", "Allow", []string{"ec2:CreateNetworkInterface"}, interfaces, map[string]map[string]string{"StringLike": {"aws:RequestTag/" + Tag: "*"}}},
		{"TagNewInterfaces", "Allow", []string{"ec2:CreateTags"}, interfaces, map[string]map[string]string{"StringEquals": {"ec2:CreateAction": "CreateNetworkInterface"}}},
		{"UseOwnInterfaces", "Allow", []string{"ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses", "ec2:CreateTags", "ec2:DeleteNetworkInterface"}, interfaces, own},
		{"AskAboutNothing", "Allow", []string{"ec2:AssignPrivateIpAddresses", "ec2:CreateTags"}, []string{arn("ec2", "network-interface/"+noInterface), arn("ec2", "instance/"+noInstance)}, nil},
		{"Look", "Allow", []string{"ec2:DescribeInstances", "ec2:DescribeInstanceTypes", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:DescribeTags",
			"ec2:DescribeVpcs", "ec2:GetSubnetCidrReservations", "ssm:DescribeParameters"}, []string{"*"}, nil},
		{"UseOwnParameters", "Allow", []string{"ssm:AddTagsToResource", "ssm:DeleteParameter", "ssm:DeleteParameters", "ssm:GetParameter", "ssm:GetParameters",
			"ssm:GetParametersByPath", "ssm:PutParameter"}, []string{arn("ssm", "parameter"+prefix+"/"+rootStart+"*")}, nil},
		{"FindParametersOfOtherRuns", "Allow", []string{"ssm:GetParametersByPath"}, []string{arn("ssm", "parameter"+prefix)}, nil},
	}
	text, err := json.MarshalIndent(map[string]any{"Version": "2012-10-17", "Statement": list}, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("certify: %v", err)) // texts can always be encoded
	}
	return string(text) + "\n"
}
