package iam

import (
	"slices"
	"strings"
)

// Caller is the principal of a request.
type Caller struct {
	InstanceID  string // empty for the operator
	AccessKeyID string
	ARN         string // of the assumed role's session, or of the operator's user
}

// Request is the request that a policy allows or denies.
type Request struct {
	Caller    Caller
	Action    string   // as in a policy: "ec2:AssignPrivateIpAddresses"
	Resources []string // ARNs; "*" for an action without resources
	Contexts  []Keys   // the condition keys of each resource
}

// Policies are all policies of an identity. An identity without policies may do nothing.
type Policies []*Policy

// Denial is the error for a denied request.
type Denial struct {
	Action   string
	Resource string // the first resource that is not allowed; "*" for an action without resources
	Explicit bool   // denied by a Deny statement
	Sid      string // of the Deny statement; may be empty
}

// Error says whether the request is denied by a Deny statement or because no statement allows it.
func (d *Denial) Error() string {
	if d.Explicit {
		return "the statement " + d.Sid + " denies " + d.Action + " on " + d.Resource
	}
	return "no statement allows " + d.Action + " on " + d.Resource
}

// Authorize decides about a request as IAM does. Some statement must allow each resource, and no
// statement may deny any of them. Every error is a *Denial.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
func (ps Policies) Authorize(r Request) error {
	for i, resource := range r.Resources {
		var keys Keys
		if i < len(r.Contexts) {
			keys = r.Contexts[i]
		}
		allowed := false
		for _, p := range ps {
			for n := range p.statements {
				s := &p.statements[n]
				switch {
				case !s.applies(r.Action, resource, keys):
				case s.deny:
					return &Denial{r.Action, resource, true, s.sid}
				default:
					allowed = true
				}
			}
		}
		if !allowed {
			return &Denial{Action: r.Action, Resource: resource}
		}
	}
	return nil
}

// OnInstances is Authorize for instances whose instance profile has these policies. Everything is
// allowed to the operator.
func (ps Policies) OnInstances(r Request) error {
	if r.Caller.InstanceID == "" {
		return nil
	}
	return ps.Authorize(r)
}

// about reports whether the statement is about an action.
func (s *statement) about(action string) bool {
	action = strings.ToLower(action)
	return slices.ContainsFunc(s.actions, func(p pattern) bool { return match(p.parts[0].glyphs, action) }) != s.notActions
}

// applies reports whether the statement covers a request.
func (s *statement) applies(action, resource string, keys Keys) bool {
	if !s.about(action) {
		return false
	}
	if slices.ContainsFunc(s.resources, func(p pattern) bool {
		glyphs, ok := p.resolve(keys)
		return ok && match(glyphs, resource)
	}) == s.notRes {
		return false
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(keys) {
			return false
		}
	}
	return true
}

// KeysFor returns the condition keys, in lower case and each once, of the statements about an
// action.
func (ps Policies) KeysFor(action string) []string {
	var names []string
	for _, p := range ps {
		for n := range p.statements {
			s := &p.statements[n]
			if !s.about(action) {
				continue
			}
			for i := range s.conditions {
				if !slices.Contains(names, s.conditions[i].key) {
					names = append(names, s.conditions[i].key)
				}
			}
		}
	}
	return names
}
