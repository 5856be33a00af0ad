package agent

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/emr-static-ip/emr-static-ip/scripts/iam"
)

// This file is where the codes and texts of AWS's errors are matched.

// unreachableError is an endpoint that never answered.
type unreachableError struct {
	service string // ssm, ec2
	err     error
}

func (e *unreachableError) Error() string {
	return fmt.Sprintf("the %s endpoint does not answer: %v", e.service, e.err)
}
func (e *unreachableError) Unwrap() error { return e.err }

// serviceName is the prefix of a service's IAM actions.
func serviceName(id string) string { return strings.ToLower(strings.ReplaceAll(id, " ", "")) }

func errorCode(err error) string {
	if api := smithy.APIError(nil); errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

func errorMessage(err error) string {
	if api := smithy.APIError(nil); errors.As(err, &api) {
		return api.ErrorMessage()
	}
	return err.Error()
}

func isThrottle(err error) bool {
	switch errorCode(err) {
	case "ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException", "EC2ThrottledException":
		return true
	}
	return false
}

// hasResponse tells whether the endpoint has answered, be it with an error.
func hasResponse(err error) bool {
	if err == nil {
		return true
	}
	r := (*smithyhttp.ResponseError)(nil)
	return errors.As(err, &r) && r.HTTPStatusCode() != 0
}

// hasStatus tells whether the answer had this HTTP status.
func hasStatus(err error, status int) bool {
	r := (*smithyhttp.ResponseError)(nil)
	return errors.As(err, &r) && r.HTTPStatusCode() == status
}

func isPermission(err error) bool {
	switch errorCode(err) {
	case "AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "UnauthorizedException":
		return true
	}
	return false
}

// isHeldElsewhere tells whether AssignPrivateIpAddresses was refused because an ENI has the address: as a secondary one
// ("[10.0.1.21] assigned, but move is not allowed.") or as its primary one ("secondary-addresses"). That ENI may be the node's
// own.
func isHeldElsewhere(err error) bool {
	if errorCode(err) != "InvalidParameterValue" {
		return false
	}
	m := errorMessage(err)
	return strings.Contains(m, "move is not allowed") || strings.Contains(m, "secondary-addresses") || strings.Contains(m, "already assigned")
}

// isBadAddress tells whether EC2 will never give the address: outside the subnet, or reserved there.
func isBadAddress(err error) bool {
	if errorCode(err) != "InvalidParameterValue" {
		return false
	}
	m := strings.ToLower(errorMessage(err))
	return strings.Contains(m, "does not fall within") || strings.Contains(m, "reserved")
}

func isENIFull(err error) bool { return errorCode(err) == "PrivateIpAddressLimitExceeded" }

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

// explain gives an error of a call to AWS its exit code and its remedy.
func explain(err error, region, prefix string) error {
	return explainAt(err, iam.Place{Region: region, Prefix: prefix})
}

// explainAt is explain where the subnet is known.
func explainAt(err error, at iam.Place) error {
	if err == nil || hasCode(err) {
		return err
	}
	if isPermission(err) {
		return coded(ExitPermission, err, permissionRemedy(err, at))
	}
	service := ""
	if u := (*unreachableError)(nil); errors.As(err, &u) {
		service = u.service
	} else if op := (*smithy.OperationError)(nil); errors.As(err, &op) && isNetwork(err) {
		service = serviceName(op.Service())
	}
	if service != "" {
		return coded(ExitUnreachable, err, fmt.Sprintf(
			"in a subnet without NAT create the VPC endpoint com.amazonaws.%s.%s (interface, private DNS on) whose security group admits TCP 443 from the nodes; "+
				"otherwise check routes, network ACLs, DNS and HTTPS_PROXY", at.Region, service))
	}
	switch errorCode(err) {
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure",
		"UnrecognizedClientException", "InvalidClientTokenId":
		return coded(ExitPermission, err, "AWS does not accept the node's credentials: check its clock (chronyc tracking) and the AWS_* environment variables")
	}
	if r := (*smithyhttp.ResponseError)(nil); errors.As(err, &r) && (r.HTTPStatusCode() >= http.StatusInternalServerError || isThrottle(err)) {
		return coded(ExitDeadline, err, "AWS kept failing; run again")
	}
	return err
}

// isNetwork tells whether no answer came because of the network: refused, reset, no such host, timed out.
func isNetwork(err error) bool {
	if hasResponse(err) {
		return false
	}
	n := net.Error(nil)
	return errors.As(err, &n)
}

func hasCode(err error) bool {
	e := (*Error)(nil)
	return errors.As(err, &e)
}
