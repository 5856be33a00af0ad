package iam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Limits of a policy document. IAM's own limits are 6,144 characters for a managed policy and
// 10,240 for all inline policies of a role.
const (
	maxPolicy      = 64 << 10
	maxPolicyDepth = 8
)

// jsonMember is a member of a JSON object, in the document's order.
type jsonMember struct {
	name  string
	value any
}

// jsonObject is a JSON object whose member names are unique. For duplicates encoding/json keeps the
// last member, while a person who reads the policy may see the first.
type jsonObject []jsonMember

// readJSON parses one JSON value: string, bool, json.Number, nil, []any or jsonObject.
func readJSON(text []byte) (any, error) {
	switch {
	case len(text) > maxPolicy:
		return nil, fmt.Errorf("longer than %d bytes", maxPolicy)
	case !utf8.Valid(text):
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := readValue(d, maxPolicyDepth)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.New("the JSON is incomplete: it ends in the middle")
	}
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}

func readValue(d *json.Decoder, depth int) (any, error) {
	if depth == 0 {
		return nil, errors.New("nested too deeply")
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := readValue(d, depth-1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	case json.Delim('{'):
		o := jsonObject{}
		seen := map[string]bool{}
		for d.More() {
			token, err := d.Token()
			if err != nil {
				return nil, err
			}
			name, _ := token.(string) // More and Token ensure that it is a string
			if seen[name] {
				return nil, fmt.Errorf("two members %+.200q in one object", name)
			}
			seen[name] = true
			v, err := readValue(d, depth-1)
			if err != nil {
				return nil, err
			}
			o = append(o, jsonMember{name, v})
		}
		_, err := d.Token()
		return o, err
	}
	return token, nil
}
