package cloud

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// ssmParameter is a parameter as the three reads return it.
type ssmParameter struct {
	ARN, DataType    string
	LastModifiedDate epoch
	Name, Type       string
	Value            string
	Version          int64
}

func (c *Cloud) wireParameter(p *parameter, v *version) ssmParameter {
	return ssmParameter{ARN: c.parameterARN(p.name), DataType: "text", LastModifiedDate: epoch(v.at), Name: p.name, Type: v.kind, Value: v.value, Version: v.number}
}

// ssmTime is the moment whose state a read shows.
func (r *request) ssmTime(now time.Time) time.Time {
	if r.cloud.opts.StaleSSM.Probability <= 0 {
		return now
	}
	return now.Add(-r.cloud.opts.StaleSSM.draw(newRand(mixNumber(r.call.Seed, 6))))
}

func prepareGetParameter(r *request) (*operation, *Error) {
	var in struct {
		Name           string
		WithDecryption bool
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	op := &operation{params: "Name=" + printable(in.Name), resources: r.cloud.parameterARNs(in.Name)}
	if err := checkReadName(in.Name); err != nil {
		return op, err
	}
	op.run = func(now time.Time) ([]byte, bool, *Error) {
		p, v := r.cloud.params.get(in.Name, r.ssmTime(now))
		if p == nil {
			return nil, false, parameterNotFound(in.Name)
		}
		return encode(struct{ Parameter ssmParameter }{r.cloud.wireParameter(p, v)}), false, nil
	}
	return op, nil
}

func prepareGetParameters(r *request) (*operation, *Error) {
	var in struct {
		Names          []string
		WithDecryption bool
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	op := &operation{params: "Names=" + printable(strings.Join(in.Names, ",")), resources: r.cloud.parameterARNs(in.Names...)}
	if err := checkNames(in.Names); err != nil {
		return op, err
	}
	op.run = func(now time.Time) ([]byte, bool, *Error) {
		t := r.ssmTime(now)
		found, invalid := []ssmParameter{}, []string{}
		for _, name := range in.Names {
			if p, v := r.cloud.params.get(name, t); p != nil {
				found = append(found, r.cloud.wireParameter(p, v))
			} else {
				invalid = append(invalid, name)
			}
		}
		return encode(struct {
			InvalidParameters []string
			Parameters        []ssmParameter
		}{invalid, found}), false, nil
	}
	return op, nil
}

// pageToken hides the name at which the next page begins.
func pageToken(name string) string { return hex.EncodeToString([]byte(name)) }

func parsePageToken(token string) (string, *Error) {
	name, err := hex.DecodeString(token)
	if err != nil {
		return "", ssmError("InvalidNextToken", "The specified token isn't valid.")
	}
	return string(name), nil
}

func prepareGetParametersByPath(r *request) (*operation, *Error) {
	var in struct {
		Path           string
		Recursive      bool
		WithDecryption bool
		MaxResults     *int
		NextToken      string
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	op := &operation{params: fmt.Sprintf("Path=%s Recursive=%t", printable(in.Path), in.Recursive), resources: r.cloud.parameterARNs(in.Path)}
	limit, err := pageSize(in.MaxResults, 10)
	if err != nil {
		return op, err
	}
	if !strings.HasPrefix(in.Path, "/") {
		return op, validation("The parameter path must start with a slash (/): %s", printable(in.Path))
	}
	path := strings.TrimSuffix(in.Path, "/") + "/"
	start := path
	if in.NextToken != "" {
		if start, err = parsePageToken(in.NextToken); err != nil {
			return op, err
		}
	}
	op.run = func(now time.Time) ([]byte, bool, *Error) {
		c := r.cloud
		out := struct {
			NextToken  string `json:",omitempty"`
			Parameters []ssmParameter
		}{Parameters: []ssmParameter{}}
		if c.opts.EmptyPages > 0 && newRand(mixNumber(r.call.Seed, 8)).Float64() < c.opts.EmptyPages {
			out.NextToken = pageToken(start)
			return encode(out), false, nil
		}
		t := r.ssmTime(now)
		for _, name := range c.params.names[c.params.from(start):] {
			if !strings.HasPrefix(name, path) {
				break
			}
			if !below(name, path, in.Recursive) {
				continue
			}
			p, v := c.params.get(name, t)
			if p == nil {
				continue
			}
			if len(out.Parameters) == limit {
				out.NextToken = pageToken(name)
				break
			}
			out.Parameters = append(out.Parameters, c.wireParameter(p, v))
		}
		return encode(out), false, nil
	}
	return op, nil
}

// pageSize checks MaxResults, whose default is its maximum.
func pageSize(asked *int, most int) (int, *Error) {
	switch {
	case asked == nil:
		return most, nil
	case *asked < 1:
		return 0, validation("1 validation error detected: Value '%d' at 'maxResults' failed to satisfy constraint: Member must have value greater than or equal to 1", *asked)
	case *asked > most:
		return 0, validation("1 validation error detected: Value '%d' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to %d", *asked, most)
	}
	return *asked, nil
}
