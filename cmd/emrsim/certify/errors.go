package certify

import (
	"errors"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// code returns the code of an error that the judge answered with, or "".
func code(err error) string {
	if api := smithy.APIError(nil); errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

func message(err error) string {
	if api := smithy.APIError(nil); errors.As(err, &api) {
		return api.ErrorMessage()
	}
	return err.Error()
}

func statusOf(err error) int {
	if r := (*smithyhttp.ResponseError)(nil); errors.As(err, &r) {
		return r.HTTPStatusCode()
	}
	return 0
}

func isThrottled(err error) bool {
	switch code(err) {
	case "ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException":
		return true
	}
	return false
}

// isGone reports whether what was to be deleted is gone.
func isGone(err error) bool {
	switch code(err) {
	case "InvalidNetworkInterfaceID.NotFound", "ParameterNotFound":
		return true
	}
	return false
}
