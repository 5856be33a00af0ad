package certify

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// fields returns the names of the fields in the successful answers of a recording, by action.
func fields(r Recording) map[string]map[string]bool {
	all := map[string]map[string]bool{}
	for _, s := range r.Steps {
		for _, c := range s.Calls {
			if c.Status < 200 || c.Status >= 300 {
				continue
			}
			if all[c.Action] == nil {
				all[c.Action] = map[string]bool{}
			}
			if strings.HasPrefix(c.Action, "ec2:") {
				elements(c.Answer, all[c.Action])
			} else {
				keys(c.Answer, all[c.Action])
			}
		}
	}
	return all
}

// elements adds the paths of the elements of an EC2 answer, without the outermost one.
func elements(answer string, into map[string]bool) {
	d := xml.NewDecoder(strings.NewReader(answer))
	var path []string
	for {
		token, err := d.Token()
		if err != nil {
			return
		}
		switch t := token.(type) {
		case xml.StartElement:
			path = append(path, t.Name.Local)
			if len(path) > 1 {
				into[strings.Join(path[1:], "/")] = true
			}
		case xml.EndElement:
			path = path[:len(path)-1]
		}
	}
}

// keys adds the paths of the keys of a JSON answer.
func keys(answer string, into map[string]bool) {
	var value any
	if json.Unmarshal([]byte(answer), &value) != nil {
		return
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, inner := range v {
				name := strings.TrimPrefix(path+"/"+k, "/")
				into[name] = true
				walk(name, inner)
			}
		case []any:
			for _, inner := range v {
				walk(path, inner)
			}
		}
	}
	walk("", value)
}

// Invented returns the fields that only the model's answers have, a line for each action that both
// recordings have. The SDK reads them, so that a program could come to rely on them.
func Invented(model, other Recording) (lines []string) {
	theirs := fields(other)
	own := fields(model)
	for _, action := range slices.Sorted(maps.Keys(own)) {
		if theirs[action] == nil {
			continue
		}
		var only []string
		for _, f := range slices.Sorted(maps.Keys(own[action])) {
			if !theirs[action][f] && !slices.ContainsFunc(only, func(outer string) bool { return strings.HasPrefix(f, outer+"/") }) {
				only = append(only, f)
			}
		}
		if len(only) > 0 {
			lines = append(lines, fmt.Sprintf("%s: %s", action, strings.Join(only, ", ")))
		}
	}
	return lines
}
