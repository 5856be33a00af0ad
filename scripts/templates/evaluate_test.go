package templates

import (
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// stack is a template with parameters as CloudFormation would create it: conditions and functions
// are evaluated, and resources have IDs.
type stack struct {
	template   *template
	parameters map[string]any
	conditions map[string]bool
	resources  map[string]*resource
	outputs    map[string]any
	nested     map[string]*stack // by logical ID
	open       map[string]bool   // conditions and resources under evaluation, to detect cycles
	maker
}

// maker is the state that all stacks of one evaluation share.
type maker struct {
	files    map[string]*template // files read so far
	patterns map[string]*regexp.Regexp
	ids      *int // number of IDs so far
	// region, partition and suffix say where the stack is created.
	region, partition, suffix string
	// deployed, if not nil, creates a nested template elsewhere and returns its outputs. They
	// replace the evaluated outputs.
	deployed func(logical, name string, parameters object) (map[string]any, error)
}

type resource struct {
	kind, id   string
	properties object
}

const (
	region  = "us-east-1"
	account = "123456789012"
)

// noValue stands for AWS::NoValue until it is removed.
type noValue struct{}

// evaluate evaluates a template and its nested templates. It returns an error for everything that
// CloudFormation would refuse.
func evaluate(name string, parameters map[string]any) (*stack, error) {
	return newMaker().evaluate(name, parameters)
}

func newMaker() maker {
	return maker{files: map[string]*template{}, patterns: map[string]*regexp.Regexp{}, ids: new(int), region: region, partition: "aws", suffix: "amazonaws.com"}
}

func (m maker) evaluate(name string, parameters map[string]any) (s *stack, err error) {
	tm := m.files[name]
	if tm == nil {
		source, err := os.ReadFile(path.Join(templateDir, name+".yaml"))
		if err != nil {
			return nil, err
		}
		if tm, err = parse(name, source); err != nil {
			return nil, err
		}
		m.files[name] = tm
	}
	s = &stack{template: tm, parameters: map[string]any{}, conditions: map[string]bool{}, resources: map[string]*resource{}, outputs: map[string]any{},
		nested: map[string]*stack{}, open: map[string]bool{}, maker: m}
	defer func() { // the functions below panic with a refusal
		if r := recover(); r != nil {
			text, ok := r.(refusal)
			if !ok {
				panic(r)
			}
			s, err = nil, fmt.Errorf("%s: %s", name, string(text))
		}
	}()
	s.take(parameters)
	s.checkRules()
	for _, logical := range slices.Sorted(maps.Keys(tm.resources)) {
		s.make(logical)
	}
	for logical, output := range tm.outputs {
		s.outputs[logical] = s.value(output.(object)["Value"])
	}
	return s, nil
}

type refusal string

func refuse(format string, args ...any) { panic(refusal(fmt.Sprintf(format, args...))) }

// take sets the parameters and checks them against their declarations.
func (s *stack) take(given map[string]any) {
	for name := range given {
		if _, ok := s.template.parameters[name]; !ok {
			refuse("there is no parameter %s", name)
		}
	}
	for name, d := range s.template.parameters {
		declared := d.(object)
		value, ok := given[name]
		if !ok {
			if value, ok = declared["Default"]; !ok {
				refuse("parameter %s is not given and has no default", name)
			}
		}
		text := fmt.Sprint(value)
		if pattern, ok := declared["AllowedPattern"].(string); ok && !s.pattern(pattern).MatchString(text) {
			refuse("parameter %s: %q does not match %s", name, text, pattern)
		}
		if allowed, ok := declared["AllowedValues"].([]any); ok && !slices.ContainsFunc(allowed, func(a any) bool { return fmt.Sprint(a) == text }) {
			refuse("parameter %s: %q is not one of %v", name, text, allowed)
		}
		if kind := declared["Type"]; kind == "Number" {
			n, err := strconv.Atoi(text)
			least, hasLeast := declared["MinValue"].(int)
			most, hasMost := declared["MaxValue"].(int)
			if err != nil || hasLeast && n < least || hasMost && n > most {
				refuse("parameter %s: %q is no number from %d to %d", name, text, least, most)
			}
		} else if strings.HasPrefix(fmt.Sprint(kind), "AWS::EC2::") && text == "" {
			refuse("parameter %s of type %s is empty", name, kind)
		}
		s.parameters[name] = text
	}
}

// pattern compiles an AllowedPattern, which must match the whole value.
func (m maker) pattern(text string) *regexp.Regexp {
	if m.patterns[text] == nil {
		m.patterns[text] = regexp.MustCompile("^(?:" + text + ")$")
	}
	return m.patterns[text]
}

func (s *stack) checkRules() {
	for name, r := range s.template.rules {
		rule := r.(object)
		if !s.holds(rule["RuleCondition"]) {
			continue
		}
		for _, a := range rule["Assertions"].([]any) {
			if assertion := a.(object); !s.holds(assertion["Assert"]) {
				refuse("rule %s: %s", name, assertion["AssertDescription"])
			}
		}
	}
}

// holds evaluates a condition.
func (s *stack) holds(v any) bool {
	for key, value := range v.(object) {
		list, _ := value.([]any)
		switch key {
		case "Condition":
			return s.condition(value.(string))
		case "Fn::Equals":
			return fmt.Sprint(s.value(list[0])) == fmt.Sprint(s.value(list[1]))
		case "Fn::Not":
			return !s.holds(list[0])
		case "Fn::And":
			return !slices.ContainsFunc(list, func(c any) bool { return !s.holds(c) })
		case "Fn::Or":
			return slices.ContainsFunc(list, s.holds)
		case "Fn::Contains": // only in rules
			value := fmt.Sprint(s.value(list[1]))
			return slices.ContainsFunc(s.value(list[0]).([]any), func(v any) bool { return fmt.Sprint(v) == value })
		}
	}
	refuse("no condition: %v", v)
	return false
}

func (s *stack) condition(name string) bool {
	if known, ok := s.conditions[name]; ok {
		return known
	}
	definition, ok := s.template.conditions[name]
	if !ok || s.open[name] {
		refuse("condition %s is not defined, or by itself", name)
	}
	s.open[name] = true
	s.conditions[name] = s.holds(definition)
	return s.conditions[name]
}

// make creates a resource and the resources that it needs. It returns nil if the resource's
// condition does not hold.
func (s *stack) make(logical string) *resource {
	if r, ok := s.resources[logical]; ok {
		return r
	}
	declared, ok := s.template.resources[logical].(object)
	if !ok || s.open["resource "+logical] {
		refuse("resource %s is not there, or needs itself", logical)
	}
	s.open["resource "+logical] = true
	if name, ok := declared["Condition"].(string); ok && !s.condition(name) {
		s.resources[logical] = nil
		return nil
	}
	switch before := declared["DependsOn"].(type) {
	case string:
		s.before(logical, before)
	case []any:
		for _, b := range before {
			s.before(logical, b.(string))
		}
	}
	s.value(declared["Metadata"]) // a value there counts as a reference
	r := &resource{kind: declared["Type"].(string)}
	r.properties, _ = s.value(declared["Properties"]).(object)
	*s.ids++
	r.id = fmt.Sprintf("%s%08x", idPrefix[r.kind], *s.ids)
	if r.kind == "AWS::CloudFormation::Stack" {
		passed, _ := r.properties["Parameters"].(object)
		name := strings.TrimSuffix(path.Base(r.properties["TemplateURL"].(string)), ".yaml")
		child, err := s.evaluate(name, passed)
		if err == nil && s.deployed != nil {
			child.outputs, err = s.deployed(logical, name, passed)
		}
		if err != nil {
			refuse("%s: %v", logical, err)
		}
		s.nested[logical] = child
	}
	s.resources[logical] = r
	return r
}

func (s *stack) before(logical, needed string) {
	if s.make(needed) == nil {
		refuse("resource %s depends on %s, which is not made", logical, needed)
	}
}

var idPrefix = map[string]string{
	"AWS::EC2::VPC": "vpc-", "AWS::EC2::Subnet": "subnet-", "AWS::EC2::RouteTable": "rtb-", "AWS::EC2::SecurityGroup": "sg-",
	"AWS::EC2::VPCPeeringConnection": "pcx-", "AWS::EC2::Instance": "i-", "AWS::EMR::Cluster": "j-",
}

// value evaluates the functions in v. It removes items that are AWS::NoValue from lists and
// mappings.
func (s *stack) value(v any) any {
	switch v := v.(type) {
	case []any:
		list := []any{}
		for _, item := range v {
			if done := s.value(item); done != (noValue{}) {
				list = append(list, done)
			}
		}
		return list
	case object:
		if len(v) == 1 {
			for key, argument := range v {
				if key == "Ref" || strings.HasPrefix(key, "Fn::") {
					return s.function(key, argument)
				}
			}
		}
		done := object{}
		for key, item := range v {
			if value := s.value(item); value != (noValue{}) {
				done[key] = value
			}
		}
		return done
	}
	return v
}

func (s *stack) function(name string, argument any) any {
	list, _ := argument.([]any)
	switch name {
	case "Ref":
		return s.ref(argument.(string))
	case "Fn::GetAtt":
		return s.attribute(list[0].(string), list[1].(string))
	case "Fn::If":
		if len(list) != 3 {
			refuse("Fn::If with %d arguments", len(list))
		}
		if s.condition(list[0].(string)) {
			return s.value(list[1])
		}
		return s.value(list[2])
	case "Fn::Sub":
		return s.sub(argument)
	case "Fn::Join":
		var texts []string
		for _, item := range s.value(list[1]).([]any) {
			texts = append(texts, fmt.Sprint(item))
		}
		return strings.Join(texts, list[0].(string))
	case "Fn::Split":
		var parts []any
		for part := range strings.SplitSeq(s.value(list[1]).(string), list[0].(string)) {
			parts = append(parts, part)
		}
		return parts
	case "Fn::Select":
		return s.value(list[1]).([]any)[list[0].(int)]
	case "Fn::GetAZs":
		return []any{s.region + "a", s.region + "b", s.region + "c"}
	case "Fn::FindInMap":
		first, _ := s.template.mappings[list[0].(string)].(object)
		second, _ := first[fmt.Sprint(s.value(list[1]))].(object)
		value := second[fmt.Sprint(s.value(list[2]))]
		if value == nil {
			refuse("nothing in the mapping %v for %v, %v", list[0], s.value(list[1]), list[2])
		}
		return value
	case "Fn::Base64":
		return s.value(argument) // tests look at the text
	}
	refuse("unknown function %s", name)
	return nil
}

func (s *stack) ref(name string) any {
	switch name {
	case "AWS::NoValue":
		return noValue{}
	case "AWS::Region":
		return s.region
	case "AWS::AccountId":
		return account
	case "AWS::Partition":
		return s.partition
	case "AWS::URLSuffix":
		return s.suffix
	case "AWS::StackName":
		return "stack"
	}
	if value, ok := s.parameters[name]; ok {
		return value
	}
	r := s.make(name)
	if r == nil {
		refuse("Ref to %s, which is not made", name)
	}
	return r.id
}

func (s *stack) attribute(logical, attribute string) any {
	r := s.make(logical)
	if r == nil {
		refuse("GetAtt of %s, which is not made", logical)
	}
	if child := s.nested[logical]; child != nil {
		value, ok := child.outputs[strings.TrimPrefix(attribute, "Outputs.")]
		if !ok {
			refuse("%s has no output %s", logical, attribute)
		}
		return value
	}
	return r.id + "." + attribute
}

func (s *stack) sub(argument any) string {
	text, plain := argument.(string)
	local := object{}
	if !plain {
		list := argument.([]any)
		text, local = list[0].(string), list[1].(object)
	}
	done := subReference.ReplaceAllStringFunc(text, func(m string) string {
		name := m[2 : len(m)-1]
		if value, ok := local[name]; ok {
			return fmt.Sprint(s.value(value))
		}
		if resource, attribute, dotted := strings.Cut(name, "."); dotted && !strings.HasPrefix(name, "AWS::") {
			return fmt.Sprint(s.attribute(resource, attribute))
		}
		return fmt.Sprint(s.ref(name))
	})
	return strings.ReplaceAll(done, "${!", "${")
}

// of returns a resource by its path through nested stacks, such as Cluster/Cluster, or nil if it is
// not created.
func (s *stack) of(where string) *resource {
	logical, rest, nested := strings.Cut(where, "/")
	if nested {
		if s.nested[logical] == nil {
			return nil
		}
		return s.nested[logical].of(rest)
	}
	if _, declared := s.template.resources[logical]; !declared {
		panic("no resource " + where + " in " + s.template.name)
	}
	return s.resources[logical]
}
