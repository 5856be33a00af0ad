package agent

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
)

// iamAction is the action that a denied call needs: the name of the operation.
func iamAction(err error) string {
	op := (*smithy.OperationError)(nil)
	if !errors.As(err, &op) {
		return ""
	}
	return serviceName(op.Service()) + ":" + op.Operation()
}

// permissionRemedy is what to do about a denied call: the statement of the shipped policy that allows it, or what to look for where it is
// no permission of the role that is missing.
func permissionRemedy(err error, at iam.Place) string {
	action, message := iamAction(err), errorMessage(err)
	if strings.Contains(message, "explicit deny") {
		return fmt.Sprintf("a policy denies %s: look for its Deny statement in the policies of the role and its permissions boundary, "+
			"in the organization's service control policies, and in the policy of the VPC endpoint", action)
	}
	where := "the role of the instance profile (EMR: JobFlowRole)"
	for _, kind := range []string{"VPC endpoint policy", "permissions boundary", "session policy", "service control policy", "resource control policy"} {
		if strings.Contains(message, "no "+kind+" allows") {
			where = "the " + kind
		}
	}
	at.Account = accountIn(message)
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
	return fmt.Sprintf("allow %s in %s: %s", action, where, statement)
}

// accountIn finds the account in what AWS says about a denied call: "User: arn:aws:sts::123456789012:assumed-role/...". Empty: it does
// not say.
func accountIn(message string) string {
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

// prefixIn finds the prefix of the claims in what AWS says about a denied call: "... on resource: arn:...:parameter/PREFIX/SUBNET/10.0.1.10 ...".
// Empty: it does not say.
func prefixIn(message, subnet string) string {
	_, rest, _ := strings.Cut(message, ":parameter/")
	prefix, _, ok := strings.Cut(rest, "/"+subnet)
	if !ok || subnet == "" || prefix == "" || strings.Trim(prefix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-/") != "" {
		return ""
	}
	return "/" + prefix
}
