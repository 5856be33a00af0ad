package cloud

import (
	"slices"
	"strings"
	"time"
)

// parameterFilter is one of the ParameterFilters of DescribeParameters.
type parameterFilter struct {
	Key, Option string
	Values      []string
}

func prepareDescribeParameters(r *request) (*operation, *Error) {
	var in struct {
		ParameterFilters []parameterFilter
		MaxResults       *int
		NextToken        string
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	var params strings.Builder
	for _, f := range in.ParameterFilters {
		params.WriteString(printable(f.Key) + "=" + printable(strings.Join(f.Values, ",")) + " ")
	}
	op := &operation{params: strings.TrimSpace(params.String())}
	limit, err := pageSize(in.MaxResults, 50)
	if err != nil {
		return op, err
	}
	for i := range in.ParameterFilters {
		if err := in.ParameterFilters[i].check(); err != nil {
			return op, err
		}
	}
	start := ""
	if in.NextToken != "" {
		if start, err = parsePageToken(in.NextToken); err != nil {
			return op, err
		}
	}
	op.run = func(now time.Time) ([]byte, bool, *Error) {
		return r.describeParameters(in.ParameterFilters, start, limit, now), false, nil
	}
	return op, nil
}

func (r *request) describeParameters(filters []parameterFilter, start string, limit int, now time.Time) []byte {
	type metadata struct {
		ARN, DataType    string
		Description      string `json:",omitempty"`
		LastModifiedDate epoch
		LastModifiedUser string
		Name, Tier, Type string
		Version          int64
	}
	c, t := r.cloud, r.ssmTime(now)
	out := struct {
		NextToken  string `json:",omitempty"`
		Parameters []metadata
	}{Parameters: []metadata{}}
	for _, name := range c.params.names[c.params.from(start):] {
		p, v := c.params.get(name, t)
		if p == nil || !allMatch(filters, p, v) {
			continue
		}
		if len(out.Parameters) == limit {
			out.NextToken = pageToken(name)
			break
		}
		out.Parameters = append(out.Parameters, metadata{ARN: c.parameterARN(name), DataType: "text", Description: v.description, LastModifiedDate: epoch(v.at.Add(c.clockSkew())),
			LastModifiedUser: c.callers[v.by].ARN, Name: name, Tier: v.tier, Type: v.kind, Version: v.number})
	}
	return encode(out)
}

func (f *parameterFilter) check() *Error {
	if f.Option == "" {
		if f.Option = "Equals"; f.Key == "Path" {
			f.Option = "OneLevel"
		}
	}
	var options []string
	switch {
	case f.Key == "Name":
		options = []string{"Equals", "BeginsWith", "Contains"}
	case f.Key == "Path":
		options = []string{"OneLevel", "Recursive"}
	case f.Key == "Type", f.Key == "Tier":
		options = []string{"Equals", "BeginsWith"}
	case strings.HasPrefix(f.Key, "tag:"):
		options = []string{"Equals", "BeginsWith"}
	default:
		return notImplemented("the parameter filter key " + printable(f.Key))
	}
	if !slices.Contains(options, f.Option) {
		return ssmError("InvalidFilterOption", "The following filter option is not valid: "+printable(f.Option)+". Valid options include: ["+strings.Join(options, ", ")+"].")
	}
	if len(f.Values) == 0 && !strings.HasPrefix(f.Key, "tag:") {
		return ssmError("InvalidFilterValue", "The following filter values are missing : null for filter key "+printable(f.Key)+".")
	}
	if len(f.Values) > 50 {
		return validation("1 validation error detected: a filter has at most 50 values")
	}
	return nil
}

func allMatch(filters []parameterFilter, p *parameter, v *version) bool {
	for i := range filters {
		if !filters[i].match(p, v) {
			return false
		}
	}
	return true
}

func (f *parameterFilter) match(p *parameter, v *version) bool {
	field := ""
	switch f.Key {
	case "Name":
		field = p.name
	case "Path":
		for _, path := range f.Values {
			if below(p.name, strings.TrimSuffix(path, "/")+"/", f.Option == "Recursive") {
				return true
			}
		}
		return false
	case "Type":
		field = v.kind
	case "Tier":
		field = v.tier
	default:
		var ok bool
		if field, ok = p.tags.get(strings.TrimPrefix(f.Key, "tag:")); !ok {
			return false
		}
		if len(f.Values) == 0 {
			return true
		}
	}
	for _, want := range f.Values {
		if field == want || f.Option == "BeginsWith" && strings.HasPrefix(field, want) || f.Option == "Contains" && strings.Contains(field, want) {
			return true
		}
	}
	return false
}
