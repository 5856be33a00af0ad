package ec2

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
)

// IAMAction returns the action that a denied call needs.
func IAMAction(err error) string {
	op := (*smithy.OperationError)(nil)
	if !errors.As(err, &op) {
		return ""
	}
	return serviceName(op.Service()) + ":" + op.Operation()
}

// endpointPolicy is what AWS calls the policy of a VPC endpoint in its messages.
const endpointPolicy = "VPC endpoint policy"

// PermissionRemedy returns what to do about a denied call: the statement of the shipped policy that
// allows the call, or where to look if the role has the permission.
func PermissionRemedy(err error, at iam.Place) string {
	action, message := IAMAction(err), ErrorMessage(err)
	if strings.Contains(message, "explicit deny") {
		return fmt.Sprintf("a policy denies %s: look for its Deny statement in the policies of the role and its permissions boundary, "+
			"in the organization's service control policies, and in the policy of the VPC endpoint", action)
	}
	where := "the role of the instance profile (EMR: JobFlowRole)"
	for _, kind := range []string{endpointPolicy, "permissions boundary", "session policy", "service control policy", "resource control policy"} {
		if strings.Contains(message, "no "+kind+" allows") {
			where = "the " + kind
		}
	}
	at.Account, at.Partition = AccountIn(message), Partition(at.Region)
	if prefix := prefixIn(message, at.Subnet); prefix != "" {
		at.Prefix = prefix // of an earlier run, whose claim is to go
	}
	statement := at.Statement(iam.InstanceProfile, action)
	if statement == "" {
		statement = at.Statement(iam.Doctor, action)
	}
	if statement == "" {
		statement = fmt.Sprintf(`{"Effect": "Allow", "Action": %q, "Resource": "*"}`, action)
	}
	if where == "the "+endpointPolicy {
		statement = iam.ForEndpoint(statement)
	}
	return fmt.Sprintf("allow %s in %s: %s", action, where, statement)
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
