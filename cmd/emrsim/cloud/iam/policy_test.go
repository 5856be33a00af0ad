package iam

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// policyWith returns a policy with one statement. Elements that are not given allow everything.
func policyWith(t *testing.T, elements string) *Policy {
	t.Helper()
	text := `{"Version": "2012-10-17", "Statement": {` + elements
	for name, value := range map[string]string{"Effect": `"Allow"`, "Action": `"*"`, "Resource": `"*"`} {
		if !strings.Contains(elements, name+`"`) {
			text += fmt.Sprintf(`, %q: %s`, name, value)
		}
	}
	return mustPolicy(t, strings.Replace(text, "{,", "{", 1)+"}}")
}

func mustPolicy(t *testing.T, text string) *Policy {
	t.Helper()
	p, err := ParsePolicy([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

func TestPolicyActions(t *testing.T) {
	for _, tt := range []struct {
		elements, action string
		want             bool
	}{
		{`"Action": "ec2:CreateTags"`, "ec2:CreateTags", true},
		{`"Action": "EC2:createtags"`, "ec2:CreateTags", true},
		{`"Action": "ec2:CreateTag"`, "ec2:CreateTags", false},
		{`"Action": ["ssm:GetParameter", "ec2:CreateTags"]`, "ec2:CreateTags", true},
		{`"Action": "ec2:Describe*"`, "ec2:DescribeInstances", true},
		{`"Action": "ec2:Describe*"`, "ec2:CreateTags", false},
		{`"Action": "ec2:?reateTags"`, "ec2:CreateTags", true},
		{`"Action": "ssm:*"`, "ec2:CreateTags", false},
		{`"Action": "*"`, "ec2:CreateTags", true},
		{`"NotAction": "ssm:*"`, "ec2:CreateTags", true},
		{`"NotAction": ["ssm:*", "ec2:Create*"]`, "ec2:CreateTags", false},
		{`"Effect": "Deny", "NotAction": "ssm:*"`, "ec2:CreateTags", false},
	} {
		err := Policies{policyWith(t, tt.elements)}.Authorize(Request{Action: tt.action, Resources: []string{"*"}})
		if (err == nil) != tt.want {
			t.Errorf("%s, %s: %v", tt.elements, tt.action, err)
		}
	}
}

func TestPolicyResources(t *testing.T) {
	const parameter = "arn:aws:ssm:us-east-1:123456789012:parameter/a/b"
	for _, tt := range []struct {
		elements, resource string
		want               bool
	}{
		{`"Resource": "*"`, parameter, true},
		{`"Resource": "*"`, "*", true},
		{`"Resource": "arn:aws:ssm:*:*:*"`, "*", false}, // an action without resources needs "*"
		{`"Resource": "` + parameter + `"`, parameter, true},
		{`"Resource": "` + parameter + `"`, parameter + "c", false},
		{`"Resource": "` + parameter + `"`, strings.ToUpper(parameter), false},
		{`"Resource": "arn:aws:ssm:*:*:parameter/a/*"`, parameter, true},
		{`"Resource": "arn:aws:ssm:*:*:parameter/a/*"`, "arn:aws:ssm:us-east-1:123456789012:parameter/a/", true},
		{`"Resource": "arn:aws:ssm:*:*:parameter/a/*"`, "arn:aws:ssm:us-east-1:123456789012:parameter/a", false},
		{`"Resource": "arn:aws:ssm:*:*:parameter/a/*"`, parameter + "/c/d", true},
		{`"Resource": "arn:aws:ssm:*:*:parameter/?/b"`, parameter, true},
		{`"Resource": "arn:aws:ssm:*:*:parameter/*/b"`, parameter, true},
		{`"Resource": "arn:aws:ssm:us-*-1:123456789012:parameter/a/b"`, parameter, true},
		{`"Resource": "arn:aws:ssm:us-*1:12:parameter/a/b"`, "arn:aws:ssm:us-east-1:1:12:parameter/a/b", false}, // does not match beyond a colon
		{`"Resource": "arn:aws:ssm:us-?east-1:123456789012:parameter/a/b"`, parameter, false},
		{`"Resource": "arn:aws:ssm:us*:1*:b"`, "arn:aws:ssm:us-east-1:12:parameter/a:b", true}, // matches beyond the colon at the end of a segment
		{`"Resource": ["arn:aws:ssm:*:*:x", "arn:aws:ssm:*:*:parameter/a/b"]`, parameter, true},
		{`"NotResource": "arn:aws:ssm:*:*:parameter/x/*"`, parameter, true},
		{`"NotResource": "arn:aws:ssm:*:*:parameter/a/*"`, parameter, false},
		{`"Resource": "arn:aws:ssm:*:*:parameter/${aws:userid}/b"`, parameter, true},
		{`"Resource": "arn:aws:ssm:*:*:parameter/${aws:UserId}/b"`, parameter, true},
		{`"Resource": "arn:aws:ssm:*:*:parameter/${ec2:InstanceID}/b"`, parameter, false}, // the request does not have the key
		{`"Resource": "arn:aws:ssm:*:*:parameter/${ec2:InstanceID, 'a'}/b"`, parameter, true},
		{`"Resource": "arn:aws:ssm:*:*:parameter/${*}/b"`, parameter, false},
		{`"Resource": "arn:aws:ssm:*:*:parameter/${*}/b"`, "arn:aws:ssm:us-east-1:123456789012:parameter/*/b", true},
	} {
		r := Request{Action: "x:Y", Resources: []string{tt.resource}, Contexts: []Keys{{KeyUserID: {"a"}}}}
		if err := (Policies{policyWith(t, tt.elements)}).Authorize(r); (err == nil) != tt.want {
			t.Errorf("%s, %s: %v", tt.elements, tt.resource, err)
		}
	}
	old := mustPolicy(t, `{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:ssm:::parameter/${aws:userid}"}}`)
	r := Request{Action: "x:Y", Resources: []string{"arn:aws:ssm:::parameter/${aws:userid}"}}
	if err := (Policies{old}).Authorize(r); err != nil {
		t.Errorf("version 2008-10-17 evaluates variables: %v", err)
	}
}

// TestPolicyConditions checks every operator with a key that matches, that differs, and that is
// missing.
func TestPolicyConditions(t *testing.T) {
	arn := "arn:aws:ec2:us-east-1:1:subnet/subnet-1"
	keys := Keys{KeyRequestedRegion: {"us-east-1"}, KeySubnet: {arn}, KeyOverwrite: {"true"}, KeyTagKeys: {"Name", "x"}, "aws:requesttag/name": {"v"}}
	for _, tt := range []struct {
		condition string
		want      bool
	}{
		{`"StringEquals": {"aws:RequestedRegion": "us-east-1"}`, true},
		{`"StringEquals": {"AWS:requestedregion": ["eu-west-1", "us-east-1"]}`, true},
		{`"StringEquals": {"aws:RequestedRegion": "US-EAST-1"}`, false},
		{`"StringEquals": {"aws:RequestedRegion": "us-*"}`, false}, // StringEquals has no wildcards
		{`"StringEqualsIgnoreCase": {"aws:RequestedRegion": "US-EAST-1"}`, true},
		{`"StringNotEqualsIgnoreCase": {"aws:RequestedRegion": "US-EAST-1"}`, false},
		{`"StringNotEquals": {"aws:RequestedRegion": ["eu-west-1", "us-east-1"]}`, false}, // none of the values may match
		{`"StringNotEquals": {"aws:RequestedRegion": ["eu-west-1", "eu-west-2"]}`, true},
		{`"StringLike": {"aws:RequestedRegion": "us-*"}`, true},
		{`"StringLike": {"aws:RequestedRegion": "us-????-?"}`, true},
		{`"StringNotLike": {"aws:RequestedRegion": "us-*"}`, false},
		{`"StringEquals": {"aws:RequestTag/Name": "v"}`, true},
		{`"StringEquals": {"aws:RequestedRegion": "us-east-1", "aws:RequestTag/Name": "other"}`, false},              // all keys must match
		{`"StringEquals": {"aws:RequestedRegion": "us-east-1"}, "StringLike": {"aws:RequestTag/Name": "o*"}`, false}, // all operators must match
		{`"ArnEquals": {"ec2:Subnet": "` + arn + `"}`, true},
		{`"ArnEquals": {"ec2:Subnet": "arn:aws:ec2:*:*:subnet/*"}`, true}, // like ArnLike
		{`"ArnLike": {"ec2:Subnet": "arn:aws:ec2:*:*:*:subnet/subnet-1"}`, false},
		{`"ArnLike": {"ec2:Subnet": "arn:aws:ec2:*:1:subnet/subnet-?"}`, true},
		{`"ArnNotLike": {"ec2:Subnet": "arn:aws:ec2:*:1:subnet/subnet-?"}`, false},
		{`"ArnNotEquals": {"ec2:Subnet": "arn:aws:ec2:*:1:subnet/subnet-2"}`, true},
		{`"ArnEquals": {"ec2:Subnet": "arn:aws:ec2:${aws:RequestedRegion}:1:subnet/subnet-1"}`, true},
		{`"ArnEquals": {"ec2:Subnet": "arn:aws:ec2:${ec2:Region}:1:subnet/subnet-1"}`, false},
		{`"Bool": {"ssm:Overwrite": "true"}`, true},
		{`"Bool": {"ssm:Overwrite": false}`, false},
		{`"Null": {"aws:RequestedRegion": "false"}`, true},
		{`"Null": {"aws:RequestedRegion": "true"}`, false},
		{`"Null": {"ec2:Vpc": true}`, true},
		{`"Null": {"ec2:Vpc": "false"}`, false},
		// A missing key.
		{`"StringEquals": {"ec2:InstanceType": "a"}`, false},
		{`"StringLike": {"ec2:InstanceType": "*"}`, false},
		{`"StringNotEquals": {"ec2:InstanceType": "a"}`, true},
		{`"ArnNotLike": {"ec2:Vpc": "arn:aws:ec2:*:*:*"}`, true},
		{`"ArnLike": {"ec2:Vpc": "arn:aws:ec2:*:*:*"}`, false},
		{`"Bool": {"ssm:Recursive": "true"}`, false},
		{`"StringEqualsIfExists": {"ec2:InstanceType": "a"}`, true},
		{`"StringEqualsIfExists": {"aws:RequestedRegion": "a"}`, false},
		{`"ArnLikeIfExists": {"ec2:Vpc": "arn:aws:ec2:*:*:*"}`, true},
		// Several values.
		{`"ForAllValues:StringEquals": {"aws:TagKeys": ["Name", "x", "y"]}`, true},
		{`"ForAllValues:StringEquals": {"aws:TagKeys": ["Name"]}`, false},
		{`"ForAllValues:StringLike": {"aws:TagKeys": "?*"}`, true},
		{`"ForAllValues:StringNotEquals": {"aws:TagKeys": ["y", "z"]}`, true},
		{`"ForAllValues:StringNotEquals": {"aws:TagKeys": ["x", "z"]}`, false},
		{`"ForAnyValue:StringEquals": {"aws:TagKeys": ["x", "z"]}`, true},
		{`"ForAnyValue:StringEquals": {"aws:TagKeys": ["y", "z"]}`, false},
		{`"ForAnyValue:StringNotEquals": {"aws:TagKeys": ["x"]}`, true},
		{`"ForAnyValue:StringNotEquals": {"aws:TagKeys": ["x", "Name"]}`, false},
		{`"ForAllValues:StringEquals": {"ec2:Vpc": "a"}`, true}, // holds for a missing key: such a condition needs a Null beside it
		{`"ForAllValues:StringEquals": {"ec2:Vpc": "a"}, "Null": {"ec2:Vpc": "false"}`, false},
		{`"ForAnyValue:StringEquals": {"ec2:Vpc": "a"}`, false},
		{`"ForAnyValue:StringEqualsIfExists": {"ec2:Vpc": "a"}`, true},
	} {
		p := policyWith(t, `"Condition": {`+tt.condition+`}`)
		err := Policies{p}.Authorize(Request{Action: "x:Y", Resources: []string{"*"}, Contexts: []Keys{keys}})
		if (err == nil) != tt.want {
			t.Errorf("%s: %v", tt.condition, err)
		}
	}
}

// TestPolicyOrder checks that a Deny statement wins over every Allow statement, in any policy and
// in any order, and that nothing is allowed without an Allow statement.
func TestPolicyOrder(t *testing.T) {
	allow := policyWith(t, `"Sid": "Yes"`)
	deny := policyWith(t, `"Sid": "No", "Effect": "Deny", "Resource": "arn:aws:x:::two"`)
	other := policyWith(t, `"Resource": "arn:aws:x:::one"`)
	for _, tt := range []struct {
		name      string
		policies  Policies
		resources []string
		want      Denial
	}{
		{"no policy", nil, []string{"*"}, Denial{Action: "x:Y", Resource: "*"}},
		{"a permission", Policies{allow}, []string{"arn:aws:x:::two"}, Denial{}},
		{"denied, then allowed", Policies{deny, allow}, []string{"arn:aws:x:::two"}, Denial{"x:Y", "arn:aws:x:::two", true, "No"}},
		{"allowed, then denied", Policies{allow, deny}, []string{"arn:aws:x:::two"}, Denial{"x:Y", "arn:aws:x:::two", true, "No"}},
		{"denied elsewhere", Policies{allow, deny}, []string{"arn:aws:x:::one"}, Denial{}},
		{"one of two resources", Policies{other}, []string{"arn:aws:x:::one", "arn:aws:x:::two"}, Denial{Action: "x:Y", Resource: "arn:aws:x:::two"}},
		{"two policies, two resources", Policies{other, allow}, []string{"arn:aws:x:::one", "arn:aws:x:::two"}, Denial{}},
	} {
		err := tt.policies.Authorize(Request{Action: "x:Y", Resources: tt.resources})
		d := (*Denial)(nil)
		if errors.As(err, &d); (d == nil) != (tt.want == Denial{}) || d != nil && *d != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, d, tt.want)
		}
	}
	if err := (Policies{}).OnInstances(Request{Action: "x:Y", Resources: []string{"*"}}); err != nil {
		t.Errorf("the operator is denied: %v", err)
	}
}

func TestPolicyErrors(t *testing.T) {
	const tail = `"Effect": "Allow", "Action": "a:b", "Resource": "*"}}`
	for _, tt := range []struct{ text, want string }{
		{``, "ends in the middle"},
		{`[]`, "not an object"},
		{`{"Version": "2012-10-17"}`, "no Statement"},
		{`{"Statement": []}`, "no Statement"},
		{`{"Statement": 1}`, "neither an object nor a list"},
		{`{"Statement": [1]}`, "statement 1: not an object"},
		{`{"Version": "2012-10-18", "Statement": {` + tail, "version"},
		{`{"version": "2012-10-17", "Statement": {` + tail, `"version"`},
		{`{"Id": 3, "Statement": {` + tail, "Id"},
		{`{"Statement": {` + tail + ` {}`, "more than one"},
		{`{"Statement": {"Effect": "Deny", ` + tail, `two members "Effect"`},
		{`{"Statement": {"Principal": "*", ` + tail, "Principal"},
		{`{"Statement": {"Sid": "a b", ` + tail, "Sid"},
		{`{"Statement": [{"Sid": "a", "Effect": "Allow", "Action": "a:b", "Resource": "*"}, {"Sid": "a", "Effect": "Allow", "Action": "a:b", "Resource": "*"}]}`, "same Sid"},
		{`{"Statement": {"Action": "a:b", "Resource": "*"}}`, "Effect"},
		{`{"Statement": {"Effect": "allow", "Action": "a:b", "Resource": "*"}}`, "neither Allow nor Deny"},
		{`{"Statement": {"Effect": "Allow", "Resource": "*"}}`, "either Action or NotAction"},
		{`{"Statement": {"NotAction": "a:c", ` + tail, "either Action or NotAction"},
		{`{"Statement": {"NotResource": "*", ` + tail, "either Resource or NotResource"},
		{`{"Statement": {"Effect": "Allow", "Action": "a:b"}}`, "either Resource or NotResource"},
		{`{"Statement": {"Effect": "Allow", "Action": [], "Resource": "*"}}`, "list of texts"},
		{`{"Statement": {"Effect": "Allow", "Action": ["a:b", 1], "Resource": "*"}}`, "something else than texts"},
		{`{"Statement": {"Effect": "Allow", "Action": "b", "Resource": "*"}}`, "no action"},
		{`{"Statement": {"Effect": "Allow", "Action": "a*:b", "Resource": "*"}}`, "no action"},
		{`{"Statement": {"Effect": "Allow", "Action": "a:b", "Resource": "parameter/x"}}`, "neither * nor an ARN"},
		{`{"Statement": {"Effect": "Allow", "Action": "a:b", "Resource": "arn:aws:*:::x"}}`, "neither * nor an ARN"},
		{`{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "a:b", "Resource": "arn:aws:s3:::${x"}}`, "without an end"},
		{`{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "a:b", "Resource": "arn:aws:s3:::${aws:Nothing}"}}`, "aws:Nothing"},
		{`{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "a:b", "Resource": "arn:aws:s3:::${aws:TagKeys}"}}`, "aws:TagKeys"},
		{`{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "a:b", "Resource": "arn:aws:s3:::${aws:userid, x}"}}`, "single quotes"},
		{`{"Statement": {"Condition": [], ` + tail, "Condition"},
		{`{"Statement": {"Condition": {"StringEqual": {"aws:userid": "x"}}, ` + tail, "StringEqual"},
		{`{"Statement": {"Condition": {"DateLessThan": {"aws:CurrentTime": "x"}}, ` + tail, "DateLessThan"},
		{`{"Statement": {"Condition": {"NullIfExists": {"aws:userid": "true"}}, ` + tail, "Null stands alone"},
		{`{"Statement": {"Condition": {"StringEquals": {}}, ` + tail, "no keys"},
		{`{"Statement": {"Condition": {"StringEquals": {"aws:userid": {}}}, ` + tail, "list of texts"},
		{`{"Statement": {"Condition": {"StringEquals": {"aws:userid": "a", "aws:UserId": "b"}}, ` + tail, "two keys"},
		{`{"Statement": {"Condition": {"StringEquals": {"aws:SourceVpce": "vpce-1"}}, ` + tail, "aws:SourceVpce"},
		{`{"Statement": {"Condition": {"StringEquals": {"aws:ResourceTag/": "x"}}, ` + tail, "aws:ResourceTag/"},
		{`{"Statement": {"Condition": {"StringEquals": {"aws:TagKeys": "Name"}}, ` + tail, "ForAllValues"},
		{`{"Statement": {"Condition": {"Bool": {"ssm:Overwrite": "yes"}}, ` + tail, "neither true nor false"},
		{`{"Statement": {"Condition": {"Null": {"ssm:Overwrite": "no"}}, ` + tail, "neither true nor false"},
		{`{"Statement": {"Condition": {"ArnEquals": {"ec2:Subnet": "subnet-1"}}, ` + tail, "no ARN"},
		{strings.Repeat("[", 100), "nested"},
		{"{\"Statement\": \"\xff\"}", "UTF-8"},
		{strings.Repeat(" ", maxPolicy) + "{}", "longer"},
	} {
		if _, err := ParsePolicy([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.120s: %v, want %q", tt.text, err, tt.want)
		}
	}
	_, err := ParsePolicy([]byte(`{"Statement": [{"Effect": "x", "Action": "y"}, {}]}`))
	for _, want := range []string{"statement 1: Effect", "statement 1: Action:", "statement 1: Resource:", "statement 2: Effect"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("not all problems are reported: %q is missing in %v", want, err)
		}
	}
}
