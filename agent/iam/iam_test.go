package iam

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestFill(t *testing.T) {
	const text = `"arn:aws:ssm:REGION:ACCOUNT_ID:parameter/emr-static-ip/SUBNET_ID/*"`
	for _, tt := range []struct {
		place Place
		want  string
	}{
		{Place{}, text},
		{Place{Region: "us-east-1", Account: "123456789012", Subnet: "subnet-1", Prefix: "/emr-static-ip"}, `"arn:aws:ssm:us-east-1:123456789012:parameter/emr-static-ip/subnet-1/*"`},
		{Place{Region: "cn-north-1", Partition: "aws-cn", Prefix: "/a/b"}, `"arn:aws-cn:ssm:cn-north-1:ACCOUNT_ID:parameter/a/b/SUBNET_ID/*"`},
		{Place{Region: "eusc-de-east-1", Partition: "aws-eusc"}, `"arn:aws-eusc:ssm:eusc-de-east-1:ACCOUNT_ID:parameter/emr-static-ip/SUBNET_ID/*"`},
		{Place{Subnet: "subnet-1,subnet-2"}, `"arn:aws:ssm:REGION:ACCOUNT_ID:parameter/emr-static-ip/subnet-1/*", "arn:aws:ssm:REGION:ACCOUNT_ID:parameter/emr-static-ip/subnet-2/*"`},
		{Place{Region: "us-gov-west-1", Partition: "aws-us-gov", Subnet: "*"}, `"arn:aws-us-gov:ssm:us-gov-west-1:ACCOUNT_ID:parameter/emr-static-ip/*/*"`},
	} {
		if got := tt.place.Fill(text); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.place, got, tt.want)
		}
	}
}

// The statement of an action is that of the policy, for the action alone.
func TestStatement(t *testing.T) {
	place := Place{Region: "eu-west-1", Account: "123456789012", Subnet: "subnet-1", Prefix: "/x"}
	if got, want := place.Statement(InstanceProfile, "ssm:PutParameter"), `{"Effect": "Allow", "Action": "ssm:PutParameter", "Resource": "arn:aws:ssm:eu-west-1:123456789012:parameter/x/subnet-1/*"}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := place.Statement(InstanceProfile, "iam:CreateUser"); got != "" {
		t.Errorf("an action of no policy: %s", got)
	}
	plain := place
	plain.Plain = true
	if got, want := plain.Statement(InstanceProfile, "ec2:CreateTags"), place.Statement(PlainProfile, "ec2:CreateTags"); got != want || strings.Contains(got, "elasticmapreduce") {
		t.Errorf("outside EMR: %s, want %s", got, want)
	}
	type statement struct {
		Sid                         string `json:",omitempty"`
		Effect                      string
		Action, Resource, Condition any
	}
	for _, file := range []string{InstanceProfile, PlainProfile, Doctor, ClaimTags, Operator} {
		var policy struct{ Statement []statement }
		if err := json.Unmarshal([]byte(place.Policy(file)), &policy); err != nil {
			t.Fatal(err)
		}
		for _, s := range policy.Statement {
			actions, ok := s.Action.([]any)
			if !ok {
				actions = []any{s.Action}
			}
			for _, a := range actions {
				text := place.Statement(file, a.(string))
				var got statement
				if err := json.Unmarshal([]byte(text), &got); err != nil || strings.ContainsAny(text, "\n\t") || strings.Contains(text, "  ") {
					t.Errorf("%s: %v: %s", a, err, text)
				}
				want := s
				want.Sid, want.Action = "", a
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s:\n%v, the policy has\n%v", a, got, want)
				}
			}
		}
	}
}

// A policy for several subnets allows each of them what a policy for one allows this one, and
// nothing else.
func TestSeveralSubnets(t *testing.T) {
	type statement struct{ Sid, Effect, Action, Resource, Condition any }
	read := func(subnets string) (all []statement) {
		t.Helper()
		var policy struct{ Statement []statement }
		if err := json.Unmarshal([]byte(Place{Region: "us-east-1", Account: "123456789012", Subnet: subnets}.Policy(InstanceProfile)), &policy); err != nil {
			t.Fatal(err)
		}
		return policy.Statement
	}
	one, several := read("subnet-1"), read("subnet-1,subnet-2,subnet-3")
	for i, s := range several {
		text := fmt.Sprint(s)
		for _, n := range []string{"2", "3"} {
			if strings.Count(text, "subnet-"+n) != strings.Count(text, "subnet-1") {
				t.Errorf("not each subnet is there: %s", text)
			}
			text = strings.NewReplacer(" arn:aws:ssm:us-east-1:123456789012:parameter/emr-static-ip/subnet-"+n+"/*", "", " arn:aws:ssm:us-east-1:123456789012:parameter/emr-static-ip/subnet-"+n+"/", "",
				" arn:aws:ssm:us-east-1:123456789012:parameter/emr-static-ip/subnet-"+n, "", " arn:aws:ec2:us-east-1:*:subnet/subnet-"+n, "").Replace(text)
		}
		if plain := strings.NewReplacer("[", "", "]", ""); plain.Replace(text) != plain.Replace(fmt.Sprint(one[i])) {
			t.Errorf("several: %s\none: %v", text, one[i])
		}
	}
}

// A shared subnet's ARN has the account of its owner:
// https://docs.aws.amazon.com/vpc/latest/userguide/vpc-sharing.html
func TestSharedSubnet(t *testing.T) {
	const want = `"Condition": {"ArnLike": {"ec2:Subnet": "arn:aws:ec2:us-east-1:*:subnet/subnet-1"}}`
	if got := (Place{Region: "us-east-1", Account: "123456789012", Subnet: "subnet-1"}).Statement(InstanceProfile, "ec2:AssignPrivateIpAddresses"); !strings.Contains(got, want) {
		t.Errorf("%s has no %s", got, want)
	}
}

func TestEndpointStatement(t *testing.T) {
	const want = `{"Effect": "Allow", "Principal": "*", "Action": "ssm:PutParameter", "Resource": "arn:aws:ssm:us-east-1:ACCOUNT_ID:parameter/emr-static-ip/SUBNET_ID/*"}`
	if got := ForEndpoint(Place{Region: "us-east-1"}.Statement(InstanceProfile, "ssm:PutParameter")); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := ForEndpoint(Place{}.Statement(InstanceProfile, "iam:CreateUser")); got != "" {
		t.Errorf("an action of no policy: %s", got)
	}
}

// No placeholder is left in a policy that is filled in.
func TestPolicies(t *testing.T) {
	for _, file := range []string{InstanceProfile, PlainProfile, Doctor, ClaimTags, Operator} {
		text := Place{Region: "us-east-1", Account: "123456789012", Subnet: "subnet-1"}.Policy(file)
		for _, placeholder := range []string{region, account, subnet} {
			if strings.Contains(text, placeholder) {
				t.Errorf("%s: %s is left", file, placeholder)
			}
		}
	}
}
