// Package iam evaluates IAM policies for the model of AWS. It implements identity-based policies
// with the condition operators and keys that the model supports, and refuses any other policy.
package iam

import (
	"errors"
	"fmt"
	"strings"
)

// Policy is an identity-based IAM policy.
type Policy struct{ statements []statement }

// statement is one statement of a policy.
type statement struct {
	sid        string
	deny       bool
	actions    []pattern // lower case
	notActions bool
	resources  []pattern
	notRes     bool
	conditions []condition
}

// Versions of the policy language. The older one is the default and has no variables.
const (
	versionNew = "2012-10-17"
	versionOld = "2008-10-17"
)

// ParsePolicy parses a policy document. It refuses a document that the model cannot evaluate:
// unknown elements, operators and condition keys, duplicate members, and resources that are not
// ARNs. The error names every problem.
func ParsePolicy(document []byte) (*Policy, error) {
	p, err := readPolicy(document, false)
	if err != nil {
		return nil, fmt.Errorf("reading an IAM policy: %w", err)
	}
	return p, nil
}

// ParseResourcePolicy is ParsePolicy for a policy that is attached to a resource, such as a bucket.
// Each of its statements has the Principal "*".
func ParseResourcePolicy(document []byte) (*Policy, error) {
	p, err := readPolicy(document, true)
	if err != nil {
		return nil, fmt.Errorf("reading the policy of a resource: %w", err)
	}
	return p, nil
}

func readPolicy(document []byte, principal bool) (*Policy, error) {
	v, err := readJSON(document)
	if err != nil {
		return nil, err
	}
	top, ok := v.(jsonObject)
	if !ok {
		return nil, errors.New("not an object")
	}
	version, list := versionOld, []any(nil)
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for _, m := range top {
		switch m.name {
		case "Version":
			if version, _ = m.value.(string); version != versionNew && version != versionOld {
				problem("the version is neither %s nor %s", versionNew, versionOld)
			}
		case "Id":
			if _, ok := m.value.(string); !ok {
				problem("the Id is no text")
			}
		case "Statement":
			switch s := m.value.(type) {
			case []any:
				list = s
			case jsonObject:
				list = []any{s}
			default:
				problem("the Statement is neither an object nor a list")
			}
		default:
			problem("the element %+.200q, which a policy does not have", m.name)
		}
	}
	if len(list) == 0 {
		problem("there is no Statement")
	}
	p := &Policy{}
	sids := map[string]bool{}
	for n, raw := range list {
		s, errs := readStatement(raw, version == versionNew, principal)
		name := fmt.Sprintf("statement %d", n+1)
		if s.sid != "" {
			name += " (" + s.sid + ")"
			if sids[s.sid] {
				errs = append(errs, errors.New("another one has the same Sid"))
			}
			sids[s.sid] = true
		}
		for _, err := range errs {
			problem("%s: %w", name, err)
		}
		p.statements = append(p.statements, s)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return p, nil
}

func readStatement(v any, variables, principal bool) (s statement, problems []error) {
	o, ok := v.(jsonObject)
	if !ok {
		return s, []error{errors.New("not an object")}
	}
	add := func(name string, err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
	}
	effect, actions, resources, principals := "", 0, 0, 0
	for _, m := range o {
		name, err := m.name, error(nil)
		switch name {
		case "Sid":
			if s.sid, ok = m.value.(string); !ok || strings.Trim(s.sid, alphanumeric) != "" {
				s.sid, err = "", errors.New("not of letters and digits")
			}
		case "Effect":
			if effect, _ = m.value.(string); effect != "Allow" && effect != "Deny" {
				err = errors.New("neither Allow nor Deny")
			}
			s.deny = effect == "Deny"
		case "Action", "NotAction":
			actions++
			s.notActions = m.name == "NotAction"
			s.actions, err = readActions(m.value)
		case "Resource", "NotResource":
			resources++
			s.notRes = m.name == "NotResource"
			s.resources, err = readResources(m.value, variables)
		case "Principal":
			if principals++; !principal {
				err = errors.New("a statement of an identity-based policy has no such element")
			} else if m.value != "*" {
				err = errors.New("the model knows the Principal * only")
			}
		case "Condition":
			s.conditions, err = readConditions(m.value, variables)
		default:
			name = fmt.Sprintf("%+.200q", name)
			err = errors.New("a statement of an identity-based policy has no such element")
		}
		add(name, err)
	}
	if principal && principals != 1 {
		add("Principal", errors.New("missing"))
	}
	if effect == "" {
		add("Effect", errors.New("missing"))
	}
	if actions != 1 {
		add("Action", errors.New("either Action or NotAction is needed"))
	}
	if resources != 1 {
		add("Resource", errors.New("either Resource or NotResource is needed"))
	}
	return s, problems
}

const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// oneOrMore returns a text, or the texts of a list, as a slice.
func oneOrMore(v any) ([]string, error) {
	if s, ok := v.(string); ok {
		return []string{s}, nil
	}
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return nil, errors.New("neither a text nor a list of texts")
	}
	out := make([]string, len(list))
	for i, e := range list {
		if out[i], ok = e.(string); !ok {
			return nil, errors.New("a list with something else than texts")
		}
	}
	return out, nil
}

func readActions(v any) ([]pattern, error) {
	list, err := oneOrMore(v)
	var out []pattern
	for _, a := range list {
		service, name, ok := strings.Cut(a, ":")
		if a != "*" && (!ok || service == "" || name == "" || strings.Trim(service, alphanumeric+"-") != "" || strings.Trim(name, alphanumeric+"*?") != "") {
			return nil, fmt.Errorf("%+.200q is no action", a)
		}
		p, err := compile(strings.ToLower(a), true, false)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, err
}

func readResources(v any, variables bool) ([]pattern, error) {
	list, err := oneOrMore(v)
	if err != nil {
		return nil, err
	}
	var out []pattern
	for _, r := range list {
		if r != "*" {
			parts := strings.SplitN(r, ":", 6)
			// AWS allows "arn:*" and wildcards in the service in some places, but nobody means
			// them.
			if len(parts) != 6 || parts[0] != "arn" || parts[2] == "" || strings.ContainsAny(parts[2], "*?$") || parts[5] == "" {
				return nil, fmt.Errorf("%+.200q is neither * nor an ARN", r)
			}
		}
		p, err := compile(r, true, variables)
		if err != nil {
			return nil, err
		}
		for i := range p.parts {
			p.parts[i].glyphs = inSegments(p.parts[i].glyphs, i+1 == len(p.parts))
		}
		out = append(out, p)
	}
	return out, nil
}
