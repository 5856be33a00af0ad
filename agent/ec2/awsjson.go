package ec2

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// AWSJSON is the protocol AWS JSON 1.1. A call is a JSON object, and so is its answer.
// https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
type AWSJSON struct {
	Target string // in the header X-Amz-Target, before the action
}

func (p AWSJSON) encode(action string, in any, header http.Header) ([]byte, error) {
	header.Set("Content-Type", "application/x-amz-json-1.1")
	header.Set("X-Amz-Target", p.Target+"."+action)
	return json.Marshal(in)
}

func (AWSJSON) decode(_ string, answer *http.Response, body []byte, out any) (requestID string, err error) {
	if success(answer.StatusCode) {
		if err := json.Unmarshal(body, out); err != nil {
			return "", &smithy.DeserializationError{Err: text.JSONError(err)}
		}
		return "", nil
	}
	var e struct {
		Type    string `json:"__type"`
		Message string // also in lower case
	}
	code := answer.Header.Get("X-Amzn-ErrorType")
	if err := json.Unmarshal(body, &e); err != nil && code == "" {
		return "", &smithy.DeserializationError{Err: text.JSONError(err)}
	}
	if code == "" {
		code = e.Type
	}
	return "", &smithy.GenericAPIError{Code: bareCode(code), Message: e.Message}
}

// bareCode returns the name in an error's type, which may have a namespace before it and an address
// behind it: com.amazon.coral.service#ThrottlingException:http://...
func bareCode(code string) string {
	code, _, _ = strings.Cut(code, ":")
	if _, name, ok := strings.Cut(code, "#"); ok {
		code = name
	}
	if code == "" {
		return noMessage
	}
	return code
}
