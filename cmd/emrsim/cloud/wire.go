package cloud

import (
	"net/url"
	"strconv"
	"strings"
)

// wire describes a request's protocol: the called action, and the form of the response.
type wire struct {
	service, action string
	act             *action // nil if err is set
	query           *query
	render          func(*Call, []byte, *Error) *reply
	err             *Error
}

// API versions of the query services.
const (
	ec2Version = "2016-11-15"
	stsVersion = "2011-06-15"
	iamVersion = "2010-05-08"
)

// identify returns the service and action of a request, from X-Amz-Target (AWS JSON 1.1) or else
// from the form's Action and Version.
func (c *Cloud) identify(in *inbound) wire {
	if target := in.header.Get("X-Amz-Target"); target != "" {
		return c.identifyJSON(target, in)
	}
	if p := in.header.Get("Smithy-Protocol"); p != "" {
		return wire{service: "unknown", action: printable(p), render: renderJSON, err: notImplemented("the protocol " + printable(p))}
	}
	form, err := url.ParseQuery(string(in.body))
	if err == nil && form.Get("Action") == "" && in.rawQuery != "" {
		form, err = url.ParseQuery(in.rawQuery)
	}
	if err != nil {
		return wire{service: "unknown", render: renderEC2, err: &Error{Code: "MalformedQueryString", Message: "the form cannot be read", Status: 400}}
	}
	q := newQuery(form)
	name, version := q.text("Action"), q.text("Version")
	w := wire{action: printable(name), query: q, render: renderEC2}
	switch version {
	case ec2Version:
		w.service = "ec2"
	case stsVersion:
		w.service, w.render = "sts", renderSTS
	case iamVersion:
		w.service, w.render = "iam", renderIAM
	default:
		w.service = "unknown"
		w.err = notImplemented("the service of Action=" + printable(name) + " Version=" + printable(version))
		return w
	}
	if name == "" {
		w.err = &Error{Code: "MissingAction", Message: "The request is missing an action or a required parameter.", Status: 400}
		return w
	}
	c.lookup(&w)
	return w
}

func (c *Cloud) identifyJSON(target string, in *inbound) wire {
	prefix, name, _ := strings.Cut(target, ".")
	w := wire{action: printable(name), render: renderJSON}
	switch prefix {
	case "AmazonSSM":
		w.service = "ssm"
	case "ElasticMapReduce":
		w.service = "elasticmapreduce"
	default:
		w.service = "unknown"
		w.err = notImplemented("the target " + printable(target))
		return w
	}
	if t := in.header.Get("Content-Type"); t != "application/x-amz-json-1.1" {
		w.err = &Error{Code: "UnsupportedMediaTypeException", Message: "content type " + printable(t), Status: 415}
		return w
	}
	c.lookup(&w)
	return w
}

func (c *Cloud) lookup(w *wire) {
	if w.act = c.actions[w.service+":"+w.action]; w.act == nil {
		w.err = notImplemented("the action " + w.service + ":" + w.action)
	}
}

// printable makes foreign text safe for an error message or the record of calls.
func printable(s string) string {
	if len(s) > 200 {
		s = s[:200]
	}
	q := strconv.QuoteToASCII(s)
	return q[1 : len(q)-1]
}

// allActions returns all actions that the model implements.
func allActions() map[string]*action {
	m := map[string]*action{}
	for _, list := range [][]*action{ssmActions(), ec2Actions(), emrActions(), stsActions(), iamActions()} {
		for _, a := range list {
			m[a.key()] = a
		}
	}
	return m
}
