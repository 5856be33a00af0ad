package cloud

import (
	"slices"
	"strings"
)

// Policies are all policies of an identity. Without any of them, everything is denied.
type Policies []*Policy

// Denial is why a request is denied.
type Denial struct {
	Action   string
	Resource string // the first one that is not allowed; "*" for an action without resources
	Explicit bool   // by a Deny statement
	Sid      string // of that statement; may be empty
}

func (d *Denial) Error() string {
	if d.Explicit {
		return "the statement " + d.Sid + " denies " + d.Action + " on " + d.Resource
	}
	return "no statement allows " + d.Action + " on " + d.Resource
}

// Authorize decides on a request as IAM does: each of its resources needs a statement that allows it, and no statement that denies one
// of them. It is fit for Options.Authorize; an error is a *Denial.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
func (ps Policies) Authorize(r AccessRequest) error {
	for i, resource := range r.Resources {
		var keys ConditionKeys
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

// OnInstances is Authorize for the calls of instances: the policies are those of the instance profile. The operator outside may do
// everything.
func (ps Policies) OnInstances(r AccessRequest) error {
	if r.Caller.InstanceID == "" {
		return nil
	}
	return ps.Authorize(r)
}

// applies tells whether a statement is about a request.
func (s *statement) applies(action, resource string, keys ConditionKeys) bool {
	action = strings.ToLower(action)
	if slices.ContainsFunc(s.actions, func(a string) bool { return wildcard(a, action) }) == s.notActions {
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
