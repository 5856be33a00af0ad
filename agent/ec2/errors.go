// Package ec2 talks to EC2 and IMDS: the AWS session with its retries, the node's identity, the
// assignment of addresses, and what the errors of AWS mean.
//
// This file is the only one that matches the codes and texts of AWS's errors.
package ec2

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

// UnreachableError is the error of an endpoint that never answered.
type UnreachableError struct {
	Service string // ssm, ec2
	Err     error
}

// Error returns the message.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("the %s endpoint does not answer: %v", e.Service, e.Err)
}

// Unwrap returns the error of the last attempt.
func (e *UnreachableError) Unwrap() error { return e.Err }

// serviceName returns the prefix of a service's IAM actions.
func serviceName(id string) string { return strings.ToLower(strings.ReplaceAll(id, " ", "")) }

// ErrorCode returns the code of AWS's error, or "".
func ErrorCode(err error) string {
	if api := smithy.APIError(nil); errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// ErrorMessage returns the message of AWS's error, or the text of another error.
func ErrorMessage(err error) string {
	if api := smithy.APIError(nil); errors.As(err, &api) {
		return api.ErrorMessage()
	}
	return err.Error()
}

// IsThrottle reports whether AWS throttled the call.
func IsThrottle(err error) bool {
	switch ErrorCode(err) {
	case "ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException", "EC2ThrottledException":
		return true
	}
	return false
}

// hasResponse reports whether the endpoint has answered, with a success or an error.
func hasResponse(err error) bool { return err == nil || statusOf(err) != 0 }

// HasStatus reports whether the answer had this HTTP status.
func HasStatus(err error, status int) bool { return statusOf(err) == status }

// statusOf returns the HTTP status of the answer, or 0 if there was none.
func statusOf(err error) int {
	if refused := (*refusedMetadata)(nil); errors.As(err, &refused) {
		return refused.status
	}
	if r := (*smithyhttp.ResponseError)(nil); errors.As(err, &r) {
		return r.HTTPStatusCode()
	}
	return 0
}

// IsPermission reports whether the caller lacks a permission.
func IsPermission(err error) bool {
	switch ErrorCode(err) {
	case "AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "UnauthorizedException":
		return true
	}
	return false
}

// isHeldElsewhere reports whether AssignPrivateIpAddresses was refused because an ENI has the
// address, as a secondary one ("[10.0.1.21] assigned, but move is not allowed.") or as its primary
// one ("secondary-addresses"). That ENI may be the node's own.
func isHeldElsewhere(err error) bool {
	if ErrorCode(err) != "InvalidParameterValue" {
		return false
	}
	m := ErrorMessage(err)
	return strings.Contains(m, "move is not allowed") || strings.Contains(m, "secondary-addresses") || strings.Contains(m, "already assigned")
}

// isBadAddress reports whether EC2 will never give the address, since it is outside the subnet or
// reserved there.
func isBadAddress(err error) bool {
	if ErrorCode(err) != "InvalidParameterValue" {
		return false
	}
	m := strings.ToLower(ErrorMessage(err))
	return strings.Contains(m, "does not fall within") || strings.Contains(m, "reserved")
}

// isOfAddress reports whether EC2 refused the address in words that are not known here: the next
// address of the list may be fine. Such are delegated prefixes and InvalidIPAddress.InUse.
func isOfAddress(err error) bool {
	code := ErrorCode(err)
	for _, prefix := range []string{"InvalidParameterValue", "InvalidIPAddress", "InvalidPrivateIpAddress", "InvalidAddress", "InsufficientFreeAddressesInSubnet"} {
		if strings.HasPrefix(code, prefix) {
			return true
		}
	}
	return false
}

// isENIFull reports whether the ENI has as many addresses as its instance type allows.
func isENIFull(err error) bool { return ErrorCode(err) == "PrivateIpAddressLimitExceeded" }

// WithoutRequest returns the text of an error without the SDK's words that differ from call to
// call.
func WithoutRequest(text string) string {
	return requestID.ReplaceAllString(text, "")
}

var requestID = regexp.MustCompile(`https? response error StatusCode: [0-9]*, RequestID: [^,]*, `)

// Explain gives an error of a call to AWS its exit code and its remedy.
func Explain(err error, region, prefix string) error {
	return ExplainAt(err, iam.Place{Region: region, Prefix: prefix})
}

// ExplainAt is Explain for a known subnet.
func ExplainAt(err error, at iam.Place) error {
	if err == nil || exit.HasCode(err) {
		return err
	}
	if clock := ClockError(err, time.Now()); clock != nil {
		return clock
	}
	if IsPermission(err) {
		// The statement stands at the end of a remedy, so that it can be copied.
		return &exit.Error{Code: exit.Permission, Remedy: PermissionRemedy(err, at), Err: &exit.Error{Code: exit.Permission, Remedy: InForceRemedy(err), Err: err}}
	}
	service := ""
	if u := (*UnreachableError)(nil); errors.As(err, &u) {
		service = u.Service
	} else if op := (*smithy.OperationError)(nil); errors.As(err, &op) && IsNetwork(err) {
		service = serviceName(op.Service())
	}
	if dns := (*net.DNSError)(nil); service != "" && errors.As(err, &dns) {
		return exit.With(exit.Unreachable, err, fmt.Sprintf(
			"the name of the endpoint cannot be resolved: in a subnet without NAT create the VPC endpoint com.amazonaws.%s.%s (interface, private DNS on), "+
				"with enableDnsSupport and enableDnsHostnames on in the VPC; otherwise check the resolver of the node (/etc/resolv.conf, DHCP options)", at.Region, service))
	}
	if service != "" {
		return exit.With(exit.Unreachable, err, fmt.Sprintf(
			"in a subnet without NAT create the VPC endpoint com.amazonaws.%s.%s (interface, private DNS on) whose security group admits TCP 443 from the nodes; "+
				"otherwise check routes, network ACLs, DNS and HTTPS_PROXY", at.Region, service))
	}
	if odd := (*oddAnswerError)(nil); errors.As(err, &odd) {
		return exit.With(exit.Unreachable, err, "something else than AWS answers in its place: check HTTPS_PROXY, AWS_ENDPOINT_URL and DNS")
	}
	switch ErrorCode(err) {
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure",
		"UnrecognizedClientException", "InvalidClientTokenId":
		return exit.With(exit.Permission, err, "AWS does not accept the node's credentials: check its clock (chronyc tracking) and the AWS_* environment variables")
	}
	if r := (*smithyhttp.ResponseError)(nil); errors.As(err, &r) && (r.HTTPStatusCode() >= http.StatusInternalServerError || IsThrottle(err)) {
		return exit.With(exit.Deadline, err, "AWS kept failing; run again")
	}
	return err
}

// IsNetwork reports whether the network kept the answer away: refused, reset, no such host, timed
// out.
func IsNetwork(err error) bool {
	if hasResponse(err) {
		return false
	}
	n := net.Error(nil)
	return errors.As(err, &n)
}
