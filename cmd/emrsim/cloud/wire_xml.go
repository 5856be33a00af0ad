package cloud

import (
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// xmlWriter writes EC2's responses. It does not use encoding/xml, which would be most of the cost
// of a call.
type xmlWriter struct{ b []byte }

var xmlEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;", "\r", "&#xD;", "\n", "&#xA;", "\t", "&#x9;")

func (x *xmlWriter) open(name string)  { x.b = append(append(append(x.b, '<'), name...), '>') }
func (x *xmlWriter) close(name string) { x.b = append(append(append(x.b, '<', '/'), name...), '>') }

// text writes an element with text. It writes nothing if the text is empty.
func (x *xmlWriter) text(name, value string) {
	if value == "" {
		return
	}
	x.open(name)
	if strings.ContainsAny(value, "&<>\"'\r\n\t") {
		value = xmlEscapes.Replace(value)
	}
	x.b = append(x.b, value...)
	x.close(name)
}

func (x *xmlWriter) number(name string, n int) {
	x.open(name)
	x.b = strconv.AppendInt(x.b, int64(n), 10)
	x.close(name)
}

func (x *xmlWriter) flag(name string, v bool) {
	x.open(name)
	x.b = strconv.AppendBool(x.b, v)
	x.close(name)
}

func (x *xmlWriter) time(name string, t time.Time) {
	x.open(name)
	x.b = t.UTC().AppendFormat(x.b, "2006-01-02T15:04:05.000Z")
	x.close(name)
}

func (x *xmlWriter) tags(s tagSet) {
	x.open("tagSet")
	for _, t := range s {
		x.open("item")
		x.text("key", t.key)
		x.open("value")
		x.b = append(x.b, xmlEscapes.Replace(t.value)...)
		x.close("value")
		x.close("item")
	}
	x.close("tagSet")
}

const xmlHeader = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

func renderEC2(call *Call, body []byte, err *Error) *reply {
	id := requestID(call)
	var x xmlWriter
	if err != nil {
		x.b = append(x.b, xmlHeader...)
		x.open("Response")
		x.open("Errors")
		x.open("Error")
		x.text("Code", err.Code)
		x.text("Message", err.Message)
		x.close("Error")
		x.close("Errors")
		x.text("RequestID", id)
		x.close("Response")
		return &reply{status: err.Status, contentType: "text/xml;charset=UTF-8", body: x.b, requestID: id}
	}
	name := call.Action + "Response"
	x.b = make([]byte, 0, len(body)+256)
	x.b = append(x.b, xmlHeader...)
	x.b = append(x.b, `<`+name+` xmlns="http://ec2.amazonaws.com/doc/`+ec2Version+`/">`...)
	x.text("requestId", id)
	x.b = append(x.b, body...)
	x.close(name)
	return &reply{status: http.StatusOK, contentType: "text/xml;charset=UTF-8", body: x.b, requestID: id}
}

func renderSTS(call *Call, body []byte, err *Error) *reply {
	return renderQuery("https://sts.amazonaws.com/doc/"+stsVersion+"/", call, body, err)
}

// renderQuery writes an answer of the AWS query protocol.
func renderQuery(namespace string, call *Call, body []byte, err *Error) *reply {
	id := requestID(call)
	ns := ` xmlns="` + namespace + `">`
	var x xmlWriter
	if err != nil {
		x.b = append(x.b, `<ErrorResponse`+ns...)
		x.open("Error")
		x.text("Type", "Sender")
		x.text("Code", err.Code)
		x.text("Message", err.Message)
		x.close("Error")
		x.text("RequestId", id)
		x.close("ErrorResponse")
		return &reply{status: err.Status, contentType: "text/xml", body: x.b, requestID: id}
	}
	x.b = append(x.b, `<`+call.Action+`Response`+ns...)
	x.open(call.Action + "Result")
	x.b = append(x.b, body...)
	x.close(call.Action + "Result")
	x.open("ResponseMetadata")
	x.text("RequestId", id)
	x.close("ResponseMetadata")
	x.close(call.Action + "Response")
	return &reply{status: http.StatusOK, contentType: "text/xml", body: x.b, requestID: id}
}

// requestID returns a UUID derived from the call's seed.
func requestID(call *Call) string {
	a, b := mixNumber(call.Seed, 2), mixNumber(call.Seed, 3)
	var raw [16]byte
	for i := range 8 {
		raw[i], raw[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80
	var out [36]byte
	hex.Encode(out[0:8], raw[0:4])
	hex.Encode(out[9:13], raw[4:6])
	hex.Encode(out[14:18], raw[6:8])
	hex.Encode(out[19:23], raw[8:10])
	hex.Encode(out[24:36], raw[10:16])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}
