package agent

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
func hasResponse(err error) bool { return err == nil || statusOf(err) != 0 }

// hasStatus tells whether the answer had this HTTP status.
func hasStatus(err error, status int) bool { return statusOf(err) == status }

// statusOf is the HTTP status of the answer; 0 where none came.
func statusOf(err error) int {
	if refused := (*refusedMetadata)(nil); errors.As(err, &refused) {
		return refused.status
	}
	if r := (*smithyhttp.ResponseError)(nil); errors.As(err, &r) {
		return r.HTTPStatusCode()
	}
	return 0
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

// isOfAddress reports whether EC2 refused the address in words that are not known here: the next
// address of the list may be fine. Such are delegated prefixes and InvalidIPAddress.InUse.
func isOfAddress(err error) bool {
	code := errorCode(err)
	for _, prefix := range []string{"InvalidParameterValue", "InvalidIPAddress", "InvalidPrivateIpAddress", "InvalidAddress", "InsufficientFreeAddressesInSubnet"} {
		if strings.HasPrefix(code, prefix) {
			return true
		}
	}
	return false
}

func isENIFull(err error) bool { return errorCode(err) == "PrivateIpAddressLimitExceeded" }

// withoutRequest is the text of an error without the SDK's words that are different for each call.
func withoutRequest(text string) string {
	return requestID.ReplaceAllString(text, "")
}

var requestID = regexp.MustCompile(`https? response error StatusCode: [0-9]*, RequestID: [^,]*, `)

// explain gives an error of a call to AWS its exit code and its remedy.
func explain(err error, region, prefix string) error {
	return explainAt(err, iam.Place{Region: region, Prefix: prefix})
}

// explainAt is explain where the subnet is known.
func explainAt(err error, at iam.Place) error {
	if err == nil || hasCode(err) {
		return err
	}
	if clock := clockError(err, time.Now()); clock != nil {
		return clock
	}
	if isPermission(err) {
		return exit.With(ExitPermission, err, permissionRemedy(err, at))
	}
	service := ""
	if u := (*unreachableError)(nil); errors.As(err, &u) {
		service = u.service
	} else if op := (*smithy.OperationError)(nil); errors.As(err, &op) && isNetwork(err) {
		service = serviceName(op.Service())
	}
	if dns := (*net.DNSError)(nil); service != "" && errors.As(err, &dns) {
		return exit.With(ExitUnreachable, err, fmt.Sprintf(
			"the name of the endpoint cannot be resolved: in a subnet without NAT create the VPC endpoint com.amazonaws.%s.%s (interface, private DNS on), "+
				"with enableDnsSupport and enableDnsHostnames on in the VPC; otherwise check the resolver of the node (/etc/resolv.conf, DHCP options)", at.Region, service))
	}
	if service != "" {
		return exit.With(ExitUnreachable, err, fmt.Sprintf(
			"in a subnet without NAT create the VPC endpoint com.amazonaws.%s.%s (interface, private DNS on) whose security group admits TCP 443 from the nodes; "+
				"otherwise check routes, network ACLs, DNS and HTTPS_PROXY", at.Region, service))
	}
	if odd := (*oddAnswerError)(nil); errors.As(err, &odd) {
		return exit.With(ExitUnreachable, err, "something else than AWS answers in its place: check HTTPS_PROXY, AWS_ENDPOINT_URL and DNS")
	}
	switch errorCode(err) {
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure",
		"UnrecognizedClientException", "InvalidClientTokenId":
		return exit.With(ExitPermission, err, "AWS does not accept the node's credentials: check its clock (chronyc tracking) and the AWS_* environment variables")
	}
	if r := (*smithyhttp.ResponseError)(nil); errors.As(err, &r) && (r.HTTPStatusCode() >= http.StatusInternalServerError || isThrottle(err)) {
		return exit.With(ExitDeadline, err, "AWS kept failing; run again")
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
