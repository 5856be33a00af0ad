package ec2

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/aws/smithy-go"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// awsQuery is the protocol AWS Query, also as EC2 has it. A call is a form (url.Values), and its
// answer an XML element with the name of the action and Response behind it.
// https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
// https://smithy.io/2.0/aws/protocols/aws-ec2-query-protocol.html
type awsQuery struct {
	version string // of the service's API
	refusal string // the element of an error
}

func (p awsQuery) encode(action string, in any, header http.Header) ([]byte, error) {
	form, ok := in.(url.Values)
	if !ok {
		return nil, fmt.Errorf("a call of type %T", in)
	}
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	form.Set("Action", action)
	form.Set("Version", p.version)
	return []byte(form.Encode()), nil
}

func (p awsQuery) decode(action string, answer *http.Response, body []byte, out any) (requestID string, err error) {
	if !success(answer.StatusCode) {
		return p.readRefusal(body)
	}
	if err := readElement(body, action+"Response", out); err != nil {
		return "", &smithy.DeserializationError{Err: err}
	}
	return "", nil
}

// readRefusal returns the error in an answer: of EC2 in a list of errors, of others by itself.
func (p awsQuery) readRefusal(body []byte) (requestID string, err error) {
	type refusal struct{ Code, Message string }
	var e struct {
		Listed    refusal `xml:"Errors>Error"`
		Alone     refusal `xml:"Error"`
		RequestID string  // of EC2
		RequestId string  // of others
	}
	if err := readElement(body, p.refusal, &e); err != nil {
		return "", &smithy.DeserializationError{Err: err}
	}
	return cmp.Or(e.RequestID, e.RequestId), &smithy.GenericAPIError{
		Code:    cmp.Or(e.Listed.Code, e.Alone.Code, noMessage),
		Message: cmp.Or(e.Listed.Message, e.Alone.Message, noMessage),
	}
}

// readElement reads the first element of an XML text, which must have this name, into out.
func readElement(body []byte, name string, out any) error {
	d := xml.NewDecoder(bytes.NewReader(body))
	for {
		token, err := d.Token()
		if err != nil {
			return errors.New("the answer is no XML") // what it is, others say
		}
		if start, ok := token.(xml.StartElement); ok {
			if start.Name.Local != name {
				return fmt.Errorf("the answer is %s, not %s", text.Quote(start.Name.Local), name)
			}
			return d.DecodeElement(out, &start)
		}
	}
}
