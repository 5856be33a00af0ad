package cloud

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// appendParameter appends a parameter as the three read actions return it. It does not use
// encoding/json, because reads of whole pages are the most frequent calls of a launch.
func (c *Cloud) appendParameter(b []byte, p *parameter, v *version) []byte {
	b = append(b, `{"ARN":`...)
	b = appendText(b, c.parameterARN(p.name))
	b = append(b, `,"DataType":"text","LastModifiedDate":`...)
	b = appendSeconds(b, v.at.Add(c.clockSkew()))
	b = append(b, `,"Name":`...)
	b = appendText(b, p.name)
	b = append(b, `,"Type":`...)
	b = appendText(b, v.kind)
	b = append(b, `,"Value":`...)
	b = appendText(b, v.value)
	b = append(b, `,"Version":`...)
	b = strconv.AppendInt(b, v.number, 10)
	return append(b, '}')
}

// ssmTime returns the moment whose state a read shows.
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
		b := append(make([]byte, 0, 512), `{"Parameter":`...)
		return append(r.cloud.appendParameter(b, p, v), '}'), false, nil
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
		b := append(make([]byte, 0, 64+400*len(in.Names)), `{"Parameters":[`...)
		invalid := []string{}
		for _, name := range in.Names {
			if p, v := r.cloud.params.get(name, t); p != nil {
				b = r.cloud.appendParameter(comma(b), p, v)
			} else {
				invalid = append(invalid, name)
			}
		}
		b = append(b, `],"InvalidParameters":[`...)
		for _, name := range invalid {
			b = appendText(comma(b), name)
		}
		return append(b, "]}"...), false, nil
	}
	return op, nil
}

// pageToken returns an opaque token for a page that begins at name.
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
	if r.cloud.opts.Authorize != nil {
		op.keys = iam.Keys{iam.KeyRecursive: {strconv.FormatBool(in.Recursive)}}
	}
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
		b := append(make([]byte, 0, 64+400*limit), `{"Parameters":[`...)
		next, n := "", 0
		if c.opts.EmptyPages > 0 && newRand(mixNumber(r.call.Seed, 8)).Float64() < c.opts.EmptyPages {
			next = start
		} else {
			t := r.ssmTime(now)
			for _, name := range c.params.names[c.params.from(start):] {
				if !strings.HasPrefix(name, path) {
					break
				}
				p, v := c.params.get(name, t)
				if p == nil || !below(name, path, in.Recursive) {
					continue
				}
				if n == limit {
					next = name
					break
				}
				b = c.appendParameter(comma(b), p, v)
				n++
			}
		}
		b = append(b, ']')
		if next != "" {
			b = appendText(append(b, `,"NextToken":`...), pageToken(next))
		}
		return append(b, '}'), false, nil
	}
	return op, nil
}

// pageSize checks MaxResults. Its default is its maximum.
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
