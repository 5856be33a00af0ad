// Package ec2 talks to EC2 and IMDS: the AWS session with its retries, the node's identity, the
// assignment of addresses, and what the errors of AWS mean.
//
// This file, clock.go and explain.go are the only ones that match the codes and texts of errors.
package ec2

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
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
func serviceName(id string) string {
	if id == "EMR" {
		return "elasticmapreduce"
	}
	return strings.ToLower(strings.ReplaceAll(id, " ", ""))
}

// ErrorCode returns the code of AWS's error, or "".
func ErrorCode(err error) string {
	if api := smithy.APIError(nil); errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// ErrorMessage returns the message of AWS's error, or the text of another error. An error of AWS
// without a message has its code for one.
func ErrorMessage(err error) string {
	api := smithy.APIError(nil)
	if !errors.As(err, &api) {
		return err.Error()
	}
	if m := api.ErrorMessage(); m != "" && m != noMessage {
		return m
	}
	return api.ErrorCode()
}

// noMessage is what the SDK has in place of a code or a message that AWS did not send.
const noMessage = "UnknownError"

// IsThrottle reports whether AWS throttled the call.
func IsThrottle(err error) bool {
	return isThrottleCode(ErrorCode(err)) || statusOf(err) == http.StatusTooManyRequests
}

// isThrottleCode reports whether the service itself throttled the call, which then had no effect.
func isThrottleCode(code string) bool {
	switch code {
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
	return strings.Contains(m, "does not fall within") || strings.Contains(m, "reserved range")
}

// isOfAddress reports whether EC2 refused this address with an unknown message: the next address of
// the list may be fine. Delegated prefixes and InvalidIPAddress.InUse are such cases. An unknown
// code is about the address if its message names the address.
func isOfAddress(err error, addr netip.Addr) bool {
	code := ErrorCode(err)
	for _, prefix := range []string{"InvalidIPAddress", "InvalidPrivateIpAddress", "InvalidAddress", "InsufficientFreeAddressesInSubnet"} {
		if strings.HasPrefix(code, prefix) {
			return true
		}
	}
	words := strings.FieldsFunc(ErrorMessage(err), func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	return isUnknownRefusal(err) && slices.ContainsFunc(words, func(w string) bool { return strings.Trim(w, ".") == addr.String() })
}

// isUnknownRefusal reports whether EC2 refused the call for a reason that is not known here.
func isUnknownRefusal(err error) bool {
	code, status := ErrorCode(err), statusOf(err)
	_, definite := definiteRefusals[code]
	return status >= 400 && status < 500 && !definite && !IsPermission(err) && !isCredentialError(code) && !mayPass(status) && !IsThrottle(err) && !isENIFull(err)
}

// isENIFull reports whether the ENI has as many addresses as its instance type allows.
func isENIFull(err error) bool { return ErrorCode(err) == "PrivateIpAddressLimitExceeded" }

// isCredentialError reports whether AWS does not accept the credentials. ClockError reports a wrong
// clock.
func isCredentialError(code string) bool {
	switch code {
	case "ExpiredToken", "ExpiredTokenException", "InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure",
		"UnrecognizedClientException", "InvalidClientTokenId", "IncompleteSignature", "MissingAuthenticationToken", "MissingAuthenticationTokenException":
		return true
	}
	return false
}

// imdsService is the SDK's name of IMDS as a service.
const imdsService = "ec2imds"

// imdsCode returns the code with which IMDS says why it has no credentials of the role, or "". It
// says so with HTTP 200.
func imdsCode(err error) string {
	api := (*smithy.GenericAPIError)(nil)
	if errors.As(err, &api) && statusOf(err) == 0 && strings.Contains(err.Error(), "EC2 IMDS role credentials") {
		return api.Code
	}
	return ""
}

// isEmptyRoleList reports whether IMDS lists no role.
func isEmptyRoleList(err error) bool {
	return strings.Contains(err.Error(), "empty EC2 IMDS role list")
}

// isOddCredentials reports whether something other than IMDS answered in its place, or IMDS gave
// something other than credentials.
func isOddCredentials(err error) bool {
	m := err.Error()
	return isPageError(err) || strings.Contains(m, "failed to decode") && strings.Contains(m, "EC2 IMDS role credentials")
}

// isNoHTTP reports whether the server that answered does not speak HTTP, or not as AWS does.
func isNoHTTP(err error) bool {
	m := err.Error()
	return strings.Contains(m, "malformed HTTP ") || strings.Contains(m, headerExceeds)
}

// headerExceeds is in net/http's error of an answer whose header is longer than maxHeader.
const headerExceeds = "server response headers exceeded "

// servicesOf returns the services whose calls err is about.
func servicesOf(err error) (services []string) {
	for _, op := range operationsOf(err) {
		if s := serviceName(op.Service()); !slices.Contains(services, s) {
			services = append(services, s)
		}
	}
	return services
}

// operationsOf returns the outermost failed calls in the tree of an error.
func operationsOf(err error) (ops []*smithy.OperationError) {
	switch e := err.(type) { //nolint:errorlint // each error of the tree is looked at on its own
	case *smithy.OperationError:
		return []*smithy.OperationError{e}
	case interface{ Unwrap() error }:
		return operationsOf(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			ops = append(ops, operationsOf(part)...)
		}
	}
	return ops
}

// innermostService returns the service of the innermost failed call: a call to EC2 may fail since
// that to STS for its credentials does. Without a call it returns otherwise.
func innermostService(err error, otherwise string) string {
	for {
		op := (*smithy.OperationError)(nil)
		if !errors.As(err, &op) {
			return otherwise
		}
		otherwise, err = serviceName(op.Service()), op.Err
	}
}

// AskedIMDS reports whether credentials are missing because IMDS, which was asked last, has none:
// no settings name others.
func AskedIMDS(err error) bool {
	return innermostService(err, "") == imdsService || isEmptyRoleList(err)
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

// IsUnreachable reports whether an endpoint has never answered.
func IsUnreachable(err error) bool {
	u := (*UnreachableError)(nil)
	return errors.As(err, &u)
}
