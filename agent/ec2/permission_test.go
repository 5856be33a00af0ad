package ec2

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/smithy-go"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// denied is what the SDK returns for a call that AWS refused for want of a permission.
func denied(service, operation, message string) error {
	code := "AccessDeniedException"
	if service == "EC2" {
		code = "UnauthorizedOperation"
	}
	return fmt.Errorf("doing something: %w", &smithy.OperationError{ServiceID: service, OperationName: operation, Err: &smithy.GenericAPIError{Code: code, Message: message}})
}

// The remedy is the statement of the shipped policy, where this node is; or what else to look for.
func TestPermissionRemedy(t *testing.T) {
	messages := golden.Open(t, "permission-remedies.txt")
	const user = "User: arn:aws:sts::111122223333:assumed-role/EMR_EC2_DefaultRole/i-0123 is not authorized to perform: "
	place := iam.Place{Region: "eu-west-1", Account: "111122223333", Subnet: "subnet-0a", Prefix: "/team/ips"}
	for _, tt := range []struct {
		service, operation, message string
	}{
		{"SSM", "PutParameter", user + "ssm:PutParameter on resource: arn:aws:ssm:eu-west-1:111122223333:parameter/team/ips/subnet-0a/10.0.1.9 because no identity-based policy allows the ssm:PutParameter action"},
		{"SSM", "DeleteParameter", user + "ssm:DeleteParameter on resource: arn:aws:ssm:eu-west-1:111122223333:parameter/old/subnet-0a/10.0.1.9 because no identity-based policy allows the ssm:DeleteParameter action"},
		{"EC2", "DescribeInstances", "You are not authorized to perform this operation. " + user + "ec2:DescribeInstances because no identity-based policy allows the ec2:DescribeInstances action"},
		{"EC2", "UnassignPrivateIpAddresses", "You are not authorized to perform this operation."},
		{"SSM", "GetParameters", user + "ssm:GetParameters on resource: x because no VPC endpoint policy allows the ssm:GetParameters action"},
		{"SSM", "GetParameters", user + "ssm:GetParameters on resource: x because no permissions boundary allows the ssm:GetParameters action"},
		{"SSM", "GetParameters", user + "ssm:GetParameters on resource: x with an explicit deny in a service control policy"},
		// With tags, AWS names another action than that of the call.
		{"SSM", "PutParameter", user + "ssm:AddTagsToResource on resource: arn:aws:ssm:eu-west-1:111122223333:parameter/team/ips/subnet-0a/10.0.1.9 because no identity-based policy allows the ssm:AddTagsToResource action"},
		{"SSM", "PutParameter", user + "ec2:TerminateInstances on resource: x"},
		{"SSM", "PutParameter", user + "ssm:Put\x1bParameter on resource: x"},
		{"Organizations", "LeaveOrganization", user + "it"},
	} {
		err := ExplainAt(denied(tt.service, tt.operation, tt.message), iam.Place{Region: place.Region, Subnet: place.Subnet, Prefix: place.Prefix})
		e := (*exit.Error)(nil)
		if !errors.As(err, &e) || e.Code != exit.Permission {
			t.Fatalf("%s: %v", tt.operation, err)
		}
		messages.Is(t, text.Clean(tt.operation+": "+strings.TrimPrefix(tt.message, user), text.MaxLine), e.Remedy)
	}
}

// TestStatementInForce checks that the remedy says what to look at if the role has the statement
// already, as in a shared subnet under a policy with the own account in the subnet's ARN.
func TestStatementInForce(t *testing.T) {
	const user = "You are not authorized to perform this operation. User: arn:aws:sts::111122223333:assumed-role/EMR_EC2_DefaultRole/i-0123 is not authorized to perform: " +
		"ec2:AssignPrivateIpAddresses on resource: arn:aws:ec2:eu-west-1:111122223333:network-interface/eni-1"
	messages := golden.Open(t, "statement-in-force.txt")
	for name, message := range map[string]string{
		"no identity-based policy": user + " because no identity-based policy allows the ec2:AssignPrivateIpAddresses action",
		"no reason":                user,
	} {
		err := ExplainAt(denied("EC2", "AssignPrivateIpAddresses", message), iam.Place{Region: "eu-west-1", Subnet: "subnet-0a"})
		messages.Is(t, name, strings.Join(exit.Remedies(err), "\n"))
	}
}

func TestAccountAndPrefixIn(t *testing.T) {
	for message, want := range map[string]string{
		"": "", ":assumed-role/": "", ":user/": "", "arn:aws:sts::12345678901:assumed-role/x": "", "arn:aws:sts::1234567890123:assumed-role/x": "",
		"arn:aws:sts::12345678901x:assumed-role/x": "", "arn:aws:iam::123456789012:user/x": "123456789012",
	} {
		if got := AccountIn(message); got != want {
			t.Errorf("accountIn(%q) = %q, want %q", message, got, want)
		}
	}
	for message, want := range map[string]string{
		"": "", ":parameter/a/b/subnet-1/10.0.0.1 x": "/a/b", ":parameter/a": "", ":parameter//subnet-1": "", ":parameter/a\x1b[/subnet-1": "", ":parameter/a b/subnet-1": "",
	} {
		if got := prefixIn(message, "subnet-1"); got != want {
			t.Errorf("prefixIn(%q) = %q, want %q", message, got, want)
		}
	}
	if got := prefixIn(":parameter/a/subnet-1", ""); got != "" {
		t.Errorf("no subnet: %q", got)
	}
}

// FuzzDenied: what is taken from AWS's words about a denied call is an account of twelve digits
// that they have, or a prefix that can be one, and nothing else; so the remedy has nothing in it
// that was not checked.
func FuzzDenied(f *testing.F) {
	const user = "User: arn:aws:sts::111122223333:assumed-role/EMR_EC2_DefaultRole/i-0123 is not authorized to perform: ssm:PutParameter on resource: "
	for _, message := range []string{
		"", user, user + "arn:aws:ssm:eu-west-1:111122223333:parameter/team/ips/subnet-0a/10.0.1.9 because", user + ":parameter/a\x1b[2J/subnet-0a", user + ":parameter//subnet-0a/x",
		"arn:aws:iam::123456789012:user/x", "::\u0661\u0662\u0663:user/", ":parameter/subnet-0a/subnet-0a", "with an explicit deny", "no VPC endpoint policy allows",
	} {
		f.Add(message, "subnet-0a")
	}
	f.Add(":parameter/a/b", "")
	f.Fuzz(func(t *testing.T, message, subnet string) {
		if a := AccountIn(message); a != "" && (len(a) != 12 || strings.Trim(a, "0123456789") != "" || !strings.Contains(message, "::"+a+":")) {
			t.Errorf("account %q", a)
		}
		if p := prefixIn(message, subnet); p != "" && (subnet == "" || text.Clean(p, len(p)) != p || strings.ContainsAny(p, " \"\\*:?") || !strings.Contains(message, ":parameter"+p+"/"+subnet)) {
			t.Errorf("prefix %q", p)
		}
		at := iam.Place{Region: "eu-west-1", Subnet: "subnet-0a", Prefix: "/ips"}
		for _, err := range []error{denied("SSM", "PutParameter", message), denied("EC2", "AssignPrivateIpAddresses", message)} {
			checkShown(t, ExplainAt(err, at))
		}
	})
}
