package ec2

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
)

// IAMAction returns the action that a denied call needs. AWS's message may name another one than
// the call: PutParameter with tags also needs ssm:AddTagsToResource.
func IAMAction(err error) string {
	op := (*smithy.OperationError)(nil)
	if !errors.As(err, &op) {
		return ""
	}
	service := serviceName(op.Service())
	_, rest, _ := strings.Cut(ErrorMessage(err), " perform: "+service+":")
	name, _, _ := strings.Cut(rest, " ")
	if name == "" || len(name) > maxAction || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
		name = op.Operation()
	}
	return service + ":" + name
}

// endpointPolicy is what AWS calls the policy of a VPC endpoint in its messages.
const endpointPolicy = "VPC endpoint policy"

// maxAction limits the name of an action that is taken from a message. The product's actions have
// shorter names.
const maxAction = 64

// PermissionRemedy returns what to do about a denied call: the statement of the shipped policy that
// allows it, or where to look for the statement that denies it.
func PermissionRemedy(err error, at iam.Place) string {
	action, message := IAMAction(err), ErrorMessage(err)
	if strings.Contains(message, "explicit deny") {
		tags := ""
		if action == "ssm:PutParameter" {
			tags = "; if it demands tags (aws:RequestTag), name them with --claim-tag KEY=VALUE"
		}
		return fmt.Sprintf("a policy denies %s: look for its Deny statement in the policies of the role and its permissions boundary, "+
			"in the organization's service control policies, and in the policy of the VPC endpoint%s", action, tags)
	}
	where := "the role of the instance profile"
	if !at.Plain {
		where += " (EMR: JobFlowRole)"
	}
	for _, kind := range []string{endpointPolicy, "permissions boundary", "session policy", "service control policy", "resource control policy"} {
		if strings.Contains(message, "no "+kind+" allows") {
			where = "the " + kind
		}
	}
	at.Account, at.Partition = AccountIn(message), Partition(at.Region)
	if prefix := prefixIn(message, at.Subnet); prefix != "" {
		at.Prefix = prefix // of an earlier run, whose claim is to go
	}
	statement := ""
	for _, file := range []string{iam.InstanceProfile, iam.ClaimTags, iam.Doctor} {
		if statement == "" {
			statement = at.Statement(file, action)
		}
	}
	if statement == "" {
		statement = fmt.Sprintf(`{"Effect": "Allow", "Action": %q, "Resource": "*"}`, action)
	}
	if where == "the "+endpointPolicy {
		statement = iam.ForEndpoint(statement)
	}
	return fmt.Sprintf("allow %s in %s: %s", action, where, statement)
}

// InForceRemedy returns where to look if the statement of PermissionRemedy is in force already, or
// "". An older policy may have the own account in the ARN of a shared subnet.
func InForceRemedy(err error) string {
	message := ErrorMessage(err)
	const compare = "if such a statement is in force already, compare its region, accounts, subnet and prefix"
	switch {
	case strings.Contains(message, "explicit deny"):
		return ""
	case strings.Contains(message, "because no "):
		return compare
	}
	return compare + "; then look at the permissions boundary, the organization's policies and the VPC endpoint's policy"
}

// AccountIn returns the account in AWS's message about a denied call, or "": User:
// arn:aws:sts::123456789012:assumed-role/...
func AccountIn(message string) string {
	before, _, ok := strings.Cut(message, ":assumed-role/")
	if !ok {
		before, _, _ = strings.Cut(message, ":user/")
	}
	const digits = 12
	account := before[max(0, len(before)-digits):]
	if len(account) != digits || strings.Trim(account, "0123456789") != "" || !strings.HasSuffix(before, "::"+account) {
		return ""
	}
	return account
}

// prefixIn returns the prefix of the records in AWS's message about a denied call, or "": ... on
// resource: arn:...:parameter/PREFIX/SUBNET/10.0.1.10 ...
func prefixIn(message, subnet string) string {
	_, rest, _ := strings.Cut(message, ":parameter/")
	prefix, _, ok := strings.Cut(rest, "/"+subnet)
	if !ok || subnet == "" || prefix == "" || strings.Trim(prefix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-/") != "" {
		return ""
	}
	return "/" + prefix
}
