package ec2

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// maxPrologue limits what may come before the first element of an answer of EC2, in bytes.
const maxPrologue = 4096

// oddAnswerError is a success, by its HTTP status, that is not an answer to the call. A proxy may
// send a page of its own.
type oddAnswerError struct{ service, operation, begins string }

func (e *oddAnswerError) Error() string {
	return fmt.Sprintf("%s:%s was answered with something else, which begins with %s", e.service, e.operation, text.Quote(e.begins))
}

// refuseOddAnswers returns an error for an answer of EC2 that is not <OperationResponse>. The SDK
// accepts any document, also an empty one, and reads an empty list from it: nobody has the address,
// no such instance lives.
func refuseOddAnswers(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("RefuseOddAnswers", checkAnswer), middleware.After)
}

func checkAnswer(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, meta, err := next.HandleDeserialize(ctx, in)
	response, ok := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !ok || response.StatusCode != http.StatusOK || awsmiddleware.GetServiceID(ctx) != "EC2" {
		return out, meta, err
	}
	body := bufio.NewReaderSize(response.Body, maxPrologue)
	begins, err := body.Peek(maxPrologue)
	if err != nil && !errors.Is(err, io.EOF) {
		return out, meta, err
	}
	operation := awsmiddleware.GetOperationName(ctx)
	if firstElement(begins) != operation+"Response" {
		return out, meta, &oddAnswerError{"ec2", operation, string(begins)}
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{body, response.Body}
	return out, meta, nil
}

// firstElement returns the name of the first element of an XML text, or "".
func firstElement(text []byte) string {
	d := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := d.Token()
		if err != nil {
			return ""
		}
		if start, ok := token.(xml.StartElement); ok {
			return start.Name.Local
		}
	}
}
