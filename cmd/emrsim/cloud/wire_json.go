package cloud

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const contentJSON = "application/x-amz-json-1.1"

// decode parses the parameters of an AWS JSON call into a struct that has a field for each
// implemented parameter. Any other parameter is refused.
func (r *request) decode(into any) *Error {
	body := r.body
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, more := d.Token(); more == io.EOF {
			return nil
		}
		return &Error{Code: "SerializationException", Message: "text after the parameters", Status: http.StatusBadRequest}
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return notImplemented("the parameter " + printable(field) + " of " + r.call.Key())
	}
	return &Error{Code: "SerializationException", Message: printable(err.Error()), Status: http.StatusBadRequest}
}

// encode returns a response without HTML escaping, as AWS does.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // the responses are plain structs, which can always be encoded
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// epoch is a time in AWS JSON: seconds with a fraction in milliseconds.
type epoch time.Time

// MarshalJSON encodes the seconds since 1970.
func (t epoch) MarshalJSON() ([]byte, error) { return appendSeconds(nil, time.Time(t)), nil }

func appendSeconds(b []byte, t time.Time) []byte {
	return strconv.AppendFloat(b, float64(t.UnixMilli())/1000, 'f', -1, 64)
}

// appendText appends a JSON string.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			return append(b, encode(s)...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// comma appends the separator unless b ends with the start of a list.
func comma(b []byte) []byte {
	if b[len(b)-1] == '[' {
		return b
	}
	return append(b, ',')
}

func renderJSON(call *Call, body []byte, err *Error) *reply {
	if err == nil {
		return &reply{status: http.StatusOK, contentType: contentJSON, body: body, requestID: requestID(call)}
	}
	return &reply{status: err.Status, contentType: contentJSON, requestID: requestID(call), errorType: err.Code,
		body: encode(struct {
			Type    string `json:"__type"`
			Message string `json:"message"`
		}{err.Code, err.Message})}
}
