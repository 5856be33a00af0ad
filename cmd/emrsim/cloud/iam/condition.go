package iam

import (
	"fmt"
	"slices"
	"strings"
)

// condition is one operator and one key of a Condition element. A statement applies only if all of
// its conditions hold.
//
// docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
type condition struct {
	operator
	key    string // lower case
	values []pattern
}

// operator compares the values of a key in the request with the values in the policy.
type operator struct {
	set      setOperator
	compare  func(glyphs []glyph, value string) bool
	negated  bool // holds if no value of the policy matches
	null     bool // Null: whether the key is present
	ifExists bool
}

// setOperator says how a key with several values is compared.
type setOperator byte

const (
	setNone setOperator = iota
	setAll              // ForAllValues: every value of the request matches a value of the policy
	setAny              // ForAnyValue: at least one value of the request matches
)

// readOperator parses the name of an operator: ForAllValues:StringEquals, ArnLikeIfExists, Null.
func readOperator(name string) (o operator, wild bool, err error) {
	rest := name
	switch {
	case strings.HasPrefix(rest, "ForAllValues:"):
		o.set, rest = setAll, rest[len("ForAllValues:"):]
	case strings.HasPrefix(rest, "ForAnyValue:"):
		o.set, rest = setAny, rest[len("ForAnyValue:"):]
	}
	rest, o.ifExists = strings.CutSuffix(rest, "IfExists")
	same := func(g []glyph, v string) bool { return text(g) == v }
	fold := func(g []glyph, v string) bool { return strings.EqualFold(text(g), v) }
	switch rest {
	case "StringEquals":
		o.compare = same
	case "StringNotEquals":
		o.compare, o.negated = same, true
	case "StringEqualsIgnoreCase", "Bool":
		o.compare = fold
	case "StringNotEqualsIgnoreCase":
		o.compare, o.negated = fold, true
	case "StringLike":
		o.compare, wild = match, true
	case "StringNotLike":
		o.compare, o.negated, wild = match, true, true
	case "ArnEquals", "ArnLike":
		o.compare, wild = matchARN, true
	case "ArnNotEquals", "ArnNotLike":
		o.compare, o.negated, wild = matchARN, true, true
	case "Null":
		o.null = true
		if o.set != setNone || o.ifExists {
			return o, false, fmt.Errorf("the operator %+.200q: Null stands alone", name)
		}
	default:
		return o, false, fmt.Errorf("the operator %+.200q, which the model does not know", name)
	}
	return o, wild, nil
}

// readConditions parses a Condition element: {operator: {key: value or values}}.
func readConditions(v any, variables bool) ([]condition, error) {
	operators, ok := v.(jsonObject)
	if !ok {
		return nil, fmt.Errorf("not an object")
	}
	var list []condition
	for _, m := range operators {
		o, wild, err := readOperator(m.name)
		if err != nil {
			return nil, err
		}
		keys, ok := m.value.(jsonObject)
		if !ok || len(keys) == 0 {
			return nil, fmt.Errorf("%s: no keys", m.name)
		}
		seen := map[string]bool{}
		for _, k := range keys {
			c := condition{operator: o, key: strings.ToLower(k.name)}
			if seen[c.key] {
				return nil, fmt.Errorf("%s: two keys %+.200q", m.name, k.name)
			}
			seen[c.key] = true
			several, known := KnownKey(c.key)
			switch {
			case !known:
				return nil, fmt.Errorf("%s: the key %+.200q, which the model does not know", m.name, k.name)
			case several && o.set == setNone && !o.null:
				return nil, fmt.Errorf("%s: %s may have several values: ForAllValues or ForAnyValue is missing", m.name, k.name)
			}
			if c.values, err = readConditionValues(m.name, k.value, wild, variables); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", m.name, k.name, err)
			}
			list = append(list, c)
		}
	}
	return list, nil
}

func readConditionValues(operator string, v any, wild, variables bool) ([]pattern, error) {
	if b, ok := v.(bool); ok {
		v = fmt.Sprint(b)
	}
	texts, err := oneOrMore(v)
	if err != nil {
		return nil, err
	}
	var list []pattern
	for _, t := range texts {
		if logical := operator == "Null" || strings.HasSuffix(strings.TrimSuffix(operator, "IfExists"), "Bool"); logical && t != "true" && t != "false" {
			return nil, fmt.Errorf("%+.200q is neither true nor false", t)
		}
		p, err := compile(t, wild, variables)
		if err != nil {
			return nil, err
		}
		if strings.Contains(operator, "Arn") && len(p.parts) == 1 && len(segments(p.parts[0].glyphs)) != 6 {
			return nil, fmt.Errorf("%+.200q is no ARN", t)
		}
		list = append(list, p)
	}
	return list, nil
}

// holds reports whether a request meets the condition.
func (c *condition) holds(keys Keys) bool {
	values := keys[c.key]
	if c.null {
		return slices.ContainsFunc(c.values, func(p pattern) bool { return (p.source == "true") == (len(values) == 0) })
	}
	if len(values) == 0 {
		switch c.set {
		case setAll:
			return true
		case setAny:
			return c.ifExists
		}
		// A condition on a missing key holds only for IfExists and for negated operators.
		return c.ifExists || c.negated
	}
	fits := func(v string) bool { return c.fits(v, keys) }
	switch c.set {
	case setAll:
		return !slices.ContainsFunc(values, func(v string) bool { return !fits(v) })
	case setAny:
		return slices.ContainsFunc(values, fits)
	}
	return fits(values[0])
}

// fits reports whether one value of the request matches any value of the policy.
func (c *condition) fits(value string, keys Keys) bool {
	found := slices.ContainsFunc(c.values, func(p pattern) bool {
		glyphs, ok := p.resolve(keys)
		return ok && c.compare(glyphs, value)
	})
	return found != c.negated
}
