package ec2

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// maxAnswer limits the body of an answer, in bytes after decompression. A page of 1000 instances
// with all their tags has a fourth of that.
const maxAnswer = 64 << 20

// oddAnswerError is the error if something other than AWS answered, such as a proxy with a page of
// its own.
type oddAnswerError struct {
	service, operation string
	status             int    // of HTTP
	what               string // the answer, in a few words
}

func (e *oddAnswerError) Error() string {
	return fmt.Sprintf("%s:%s was answered by something other than AWS (HTTP %d): the answer %s", e.service, e.operation, e.status, e.what)
}

// brokenAnswerError is the error of an answer that breaks off. The call may have had its effect.
type brokenAnswerError struct {
	service, operation string
	err                error
}

func (e *brokenAnswerError) Error() string {
	return fmt.Sprintf("the answer to %s:%s breaks off: %v", e.service, e.operation, e.err)
}

func (e *brokenAnswerError) Unwrap() error { return e.err }

// errCut is the reason if only the document in the body shows that something is missing.
var errCut = errors.New("it is not complete")

// readAnswers reads the whole of each answer before the SDK does, within maxAnswer. An answer that
// breaks off, or that is not AWS's, is an error. Otherwise the SDK would accept any document as
// EC2's, also an empty one, and read an empty list from it: "no interface has the address", "no
// such instance exists".
func readAnswers(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc(readAnswerID, readAnswer), middleware.After)
}

// readAnswerID is the name of readAnswer in a stack.
const readAnswerID = "ReadAnswer"

func readAnswer(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, meta, err := next.HandleDeserialize(ctx, in)
	response, ok := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !ok || response.Body == nil {
		return out, meta, err
	}
	service, operation := serviceName(awsmiddleware.GetServiceID(ctx)), awsmiddleware.GetOperationName(ctx)
	body, whole, err := readBounded(response.Body, maxAnswer)
	response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	switch {
	case !whole:
		return out, meta, &oddAnswerError{service, operation, response.StatusCode, fmt.Sprintf("is longer than %d bytes", maxAnswer)}
	case err != nil:
		odd := (*oddAnswerError)(nil)
		if len(body) > 0 && response.StatusCode >= 300 && errors.As(judgeAnswer(service, operation, response.Response, body), &odd) {
			return out, meta, odd // a page of which the beginning says enough
		}
		return out, meta, &brokenAnswerError{service, operation, err}
	}
	return out, meta, judgeAnswer(service, operation, response.Response, body)
}

// judgeAnswer returns an error for a whole body that is not the service's answer to the call.
func judgeAnswer(service, operation string, response *http.Response, body []byte) error {
	status := response.StatusCode
	odd := &oddAnswerError{service, operation, status, "begins with " + text.Quote(text.Line(string(body[:min(len(body), 4*text.MaxQuoted)])))}
	if len(body) == 0 {
		odd.what = "is empty"
	}
	broken := &brokenAnswerError{service, operation, errCut}
	isJSON, known := map[string]bool{"ssm": true, "elasticmapreduce": true, "ec2": false, "iam": false, "sts": false}[service]
	switch success := success(status); {
	case !known:
		return nil
	case status >= 300 && status < 400:
		odd.what = "is a redirect"
		if to, err := url.Parse(response.Header.Get("Location")); err == nil && to.Host != "" {
			odd.what = "is a redirect to " + text.Quote(to.Host)
		}
		return odd
	case isJSON && !success && response.Header.Get("X-Amzn-ErrorType") != "":
		return nil
	case isJSON:
		return judgeJSON(body, success, operation, odd, broken)
	case success:
		return judgeXML(body, operation+"Response", odd, broken)
	case service == "ec2":
		return judgeXML(body, "Response", odd, broken)
	default:
		return judgeXML(body, "ErrorResponse", odd, broken)
	}
}

// success reports whether an HTTP status is that of a call that was carried out.
func success(status int) bool { return status >= 200 && status < 300 }

// judgeJSON returns odd or broken if body is not a JSON object.
func judgeJSON(body []byte, success bool, operation string, odd *oddAnswerError, broken *brokenAnswerError) error {
	body = bytes.TrimSpace(body)
	switch {
	case len(body) == 0 && success && !reads(operation):
		return nil // there is nothing to be read from it
	case len(body) == 0 && success:
		return broken
	case len(body) == 0 || body[0] != '{':
		return odd
	case !json.Valid(body):
		return broken
	}
	return nil
}

// reads reports whether a call asks for something.
func reads(operation string) bool {
	return slices.ContainsFunc([]string{"Get", "Describe", "List"}, func(verb string) bool { return strings.HasPrefix(operation, verb) })
}

// judgeXML returns odd or broken if body is not one whole element of this name.
func judgeXML(body []byte, root string, odd *oddAnswerError, broken *brokenAnswerError) error {
	body = bytes.TrimSpace(body)
	name, whole := firstElement(body)
	switch {
	case name == root && whole:
		return nil
	case name == root, len(body) == 0 && odd.status < 300, name == "" && bytes.LastIndexByte(body, '<') > bytes.LastIndexByte(body, '>'):
		return broken
	}
	return odd
}

// firstElement returns the name of the first element of an XML text, or "", and whether the text
// has the end of that element.
func firstElement(text []byte) (name string, whole bool) {
	d := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := d.RawToken()
		if err != nil {
			return "", false
		}
		if start, ok := token.(xml.StartElement); ok {
			name = start.Name.Local
			break
		}
	}
	if bytes.HasSuffix(text, []byte("</"+name+">")) {
		return name, true // the usual case, without reading it all
	}
	d = xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := d.Token()
		if err != nil {
			return name, false
		}
		if _, ok := token.(xml.StartElement); ok {
			return name, d.Skip() == nil
		}
	}
}
