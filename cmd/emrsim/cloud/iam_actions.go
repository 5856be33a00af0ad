package cloud

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// iamRegion is the region in which calls of IAM are signed: it is a global service.
// https://docs.aws.amazon.com/general/latest/gr/iam-service.html
const iamRegion = "us-east-1"

// role is a role of the account.
type role struct {
	name, path string
	policies   iam.Policies
	boundary   iam.Policies // permissions boundary; nil: none
}

// SetRole creates or changes a role: its policies, and its permissions boundary, which may be nil.
func (c *Cloud) SetRole(name string, policies, boundary iam.Policies) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roles = slices.DeleteFunc(c.roles, func(r role) bool { return r.name == name })
	c.roles = append(c.roles, role{name: name, path: "/", policies: policies, boundary: boundary})
}

func iamActions() []*action {
	return []*action{
		{service: "iam", name: "GetRole", prepare: prepareGetRole},
		{service: "iam", name: "SimulatePrincipalPolicy", prepare: prepareSimulate},
	}
}

func iamError(code, message string, status int) *Error {
	return &Error{Code: code, Message: message, Status: status}
}

func (c *Cloud) roleARN(r role) string {
	return "arn:aws:iam::" + c.opts.Account + ":role" + r.path + r.name
}

// prepareGetRole: https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetRole.html
func prepareGetRole(r *request) (*operation, *Error) {
	name := r.query.text("RoleName")
	op := &operation{params: printable(name), resources: []string{"arn:aws:iam::" + r.cloud.opts.Account + ":role/" + name}}
	if err := r.query.rest(r.call); err != nil {
		return op, err
	}
	if name == "" || len(name) > 64 || strings.Trim(name, alphanumericSigns) != "" {
		return op, iamError("ValidationError", "The specified value for roleName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-", http.StatusBadRequest)
	}
	op.run = func(time.Time) ([]byte, bool, *Error) {
		c := r.cloud
		i := slices.IndexFunc(c.roles, func(r role) bool { return r.name == name })
		if i < 0 {
			return nil, false, iamError("NoSuchEntity", "The role with name "+name+" cannot be found.", http.StatusNotFound)
		}
		var x xmlWriter
		x.open("Role")
		x.text("Path", c.roles[i].path)
		x.text("RoleName", name)
		x.text("RoleId", "AROAMODELROLE0000000")
		x.text("Arn", c.roleARN(c.roles[i]))
		x.time("CreateDate", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))
		x.text("AssumeRolePolicyDocument", url.QueryEscape(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`))
		x.close("Role")
		return x.b, false, nil
	}
	return op, nil
}

const alphanumericSigns = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@-"

// Limits of a simulation: pages of its answer, and their default size.
const (
	mostResults    = 1000
	defaultResults = 100
)

// prepareSimulate: the simulation knows of the request what the caller says in the context entries,
// and nothing else.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
func prepareSimulate(r *request) (*operation, *Error) {
	q := r.query
	source := q.text("PolicySourceArn")
	actions, resources := q.members("ActionNames"), q.members("ResourceArns")
	keys := iam.Keys{}
	for n := 1; ; n++ {
		prefix := "ContextEntries.member." + strconv.Itoa(n)
		name := q.text(prefix + ".ContextKeyName")
		if name == "" {
			break
		}
		values := q.members(prefix + ".ContextKeyValues")
		switch kind := q.text(prefix + ".ContextKeyType"); {
		case !slices.Contains([]string{"string", "stringList"}, kind):
			q.bad = notImplemented("the context key type " + printable(kind))
		case kind == "string" && len(values) != 1:
			q.fail("InvalidInput", "Invalid Input: Context key "+printable(name)+" must have one value.")
		}
		keys.Set(name, values...)
	}
	size, marker := q.number("MaxItems"), q.text("Marker")
	op := &operation{params: printable(source) + " " + few(actions), resources: []string{source}}
	if err := q.rest(r.call); err != nil {
		return op, err
	}
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	start, err := strconv.Atoi(strings.TrimPrefix(marker, "page-"))
	switch {
	case source == "" || len(actions) == 0:
		return op, iamError("ValidationError", "PolicySourceArn and ActionNames are required.", http.StatusBadRequest)
	case size > mostResults || size == 0 || marker != "" && err != nil:
		return op, iamError("InvalidInput", "MaxItems or Marker is invalid.", http.StatusBadRequest)
	case slices.ContainsFunc(actions, func(a string) bool { return strings.Count(a, ":") != 1 }):
		return op, iamError("InvalidInput", "Invalid Input: an action name has no service prefix.", http.StatusBadRequest)
	}
	if size < 0 {
		size = defaultResults
	}
	op.run = func(time.Time) ([]byte, bool, *Error) {
		c := r.cloud
		i := slices.IndexFunc(c.roles, func(r role) bool { return c.roleARN(r) == source })
		if i < 0 {
			return nil, false, iamError("NoSuchEntity", "The entity "+source+" cannot be found.", http.StatusNotFound)
		}
		var x xmlWriter
		total := len(actions) * len(resources)
		end := min(start+size, total)
		x.open("EvaluationResults")
		for n := start; n < end; n++ {
			c.roles[i].evaluate(&x, actions[n/len(resources)], resources[n%len(resources)], keys)
		}
		x.close("EvaluationResults")
		x.flag("IsTruncated", end < total)
		if end < total {
			x.text("Marker", "page-"+strconv.Itoa(end))
		}
		return x.b, false, nil
	}
	return op, nil
}

// evaluate writes the result for one action and resource.
func (r role) evaluate(x *xmlWriter, action, resource string, keys iam.Keys) {
	request := iam.Request{Action: action, Resources: []string{resource}, Contexts: []iam.Keys{keys}}
	err, bounded := r.policies.Authorize(request), error(nil)
	if r.boundary != nil {
		bounded = r.boundary.Authorize(request)
	}
	decision := "allowed"
	for _, err := range []error{err, bounded} {
		if d := (*iam.Denial)(nil); errors.As(err, &d) && d.Explicit {
			decision = "explicitDeny"
		} else if err != nil && decision == "allowed" {
			decision = "implicitDeny"
		}
	}
	x.open("member")
	x.text("EvalActionName", action)
	x.text("EvalResourceName", resource)
	x.text("EvalDecision", decision)
	x.open("MatchedStatements")
	x.close("MatchedStatements")
	missing := func() {
		x.open("MissingContextValues")
		for _, name := range slices.Concat(r.policies, r.boundary).KeysFor(action) {
			if len(keys[name]) == 0 {
				x.text("member", name)
			}
		}
		x.close("MissingContextValues")
	}
	if resource == "*" {
		missing()
	} else { // "any missing context values are instead included under the ResourceSpecificResults section"
		x.open("ResourceSpecificResults")
		x.open("member")
		x.text("EvalResourceName", resource)
		x.text("EvalResourceDecision", decision)
		missing()
		x.close("member")
		x.close("ResourceSpecificResults")
	}
	if r.boundary != nil {
		x.open("PermissionsBoundaryDecisionDetail")
		x.flag("AllowedByPermissionsBoundary", bounded == nil)
		x.close("PermissionsBoundaryDecisionDetail")
	}
	x.close("member")
}

// members reads name.member.1, name.member.2, ...
func (q *query) members(name string) []string { return q.list(name + ".member") }

// renderIAM writes an answer of IAM, whose form is that of STS.
func renderIAM(call *Call, body []byte, err *Error) *reply {
	return renderQuery("https://iam.amazonaws.com/doc/"+iamVersion+"/", call, body, err)
}
