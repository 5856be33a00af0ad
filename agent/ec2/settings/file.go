package settings

import (
	"fmt"
	"strings"
)

// maxFile limits a shared file, in bytes. The parser takes longer lines and more settings than
// anybody writes.
const maxFile = 1 << 20

// byteOrderMark begins files of some editors of Windows.
const byteOrderMark = "\ufeff"

// section has the settings under one heading of a shared file.
type section struct {
	values map[string]string
	// below has the settings that are indented below a setting without a value, by that setting.
	// A section of services has them: ec2, and below it endpoint_url.
	below map[string]map[string]string
}

// parse reads a shared file of the AWS CLI and the SDKs. It returns the sections by their headings,
// such as "default", "profile west" and "services local". A section that comes twice is one, and of
// a setting that comes twice the last one counts.
//
// The format: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html. Like the AWS CLI,
// and other than the SDK for Go, parse refuses what it does not understand. As with the AWS CLI, a
// line belongs to the setting above if it is indented further than that setting. All settings of a
// section may be indented.
func parse(text string) (map[string]section, error) {
	sections := map[string]section{}
	var current *section
	var last string // the setting that lines indented further than level belong to
	level := 0
	for i, line := range strings.Split(strings.TrimPrefix(text, byteOrderMark), "\n") {
		line = strings.TrimRight(line, " \t\r")
		content := strings.TrimLeft(line, " \t")
		indent := len(line) - len(content)
		switch {
		case content == "", content[0] == '#', content[0] == ';':
		case last != "" && indent > level && current.values[last] != "": // the value goes on
			if strings.HasPrefix(strings.ToLower(content), "aws_") { // messages tell values, but no keys
				return nil, fmt.Errorf("line %d is indented further than the setting above, and would be a part of its value: indent both alike", i+1)
			}
			current.values[last] += "\n" + content
		case last != "" && indent > level:
			key, value, ok := setting(content)
			if !ok {
				return nil, fmt.Errorf("line %d is no setting like endpoint_url = https://HOST", i+1)
			}
			if current.below[last] == nil {
				current.below[last] = map[string]string{}
			}
			current.below[last][key] = value
		case content[0] == '[':
			name, ok := heading(content)
			if !ok {
				return nil, fmt.Errorf("line %d is no heading like [default] or [profile NAME]", i+1)
			}
			s, ok := sections[name]
			if !ok {
				s = section{values: map[string]string{}, below: map[string]map[string]string{}}
				sections[name] = s
			}
			current, last = &s, ""
		case current == nil:
			return nil, fmt.Errorf("line %d stands before the first heading, such as [default]", i+1)
		default:
			key, value, ok := setting(comment(content))
			if !ok {
				return nil, fmt.Errorf("line %d is no setting like region = eu-central-1", i+1)
			}
			current.values[key], last, level = value, key, indent
			delete(current.below, key)
		}
	}
	return sections, nil
}

// heading returns the name in a line like [profile west], with one blank between its words.
func heading(line string) (string, bool) {
	inner, rest, ok := strings.Cut(line[1:], "]")
	if rest = strings.TrimSpace(rest); !ok || rest != "" && rest[0] != '#' && rest[0] != ';' || strings.ContainsAny(inner, "#;") {
		return "", false // the AWS CLI takes # and ; for a part of the name, and the SDK for a comment
	}
	kind, name := strings.TrimSpace(inner), ""
	if i := strings.IndexAny(kind, " \t"); i >= 0 {
		kind, name = kind[:i], unquote(strings.TrimSpace(kind[i:]))
	}
	if name == "" {
		name = unquote(kind)
	} else {
		name = kind + " " + name
	}
	return name, name != "" && name == strings.TrimSpace(name)
}

// comment cuts a comment off that follows a value after a blank.
func comment(line string) string {
	for _, mark := range []string{" #", " ;", "\t#", "\t;"} {
		line, _, _ = strings.Cut(line, mark)
	}
	return line
}

// setting splits a line into the name of a setting, in small letters, and its value.
func setting(line string) (key, value string, ok bool) {
	i := strings.IndexAny(line, "=:")
	if i <= 0 {
		return "", "", false
	}
	return strings.ToLower(strings.TrimSpace(line[:i])), unquote(strings.TrimSpace(line[i+1:])), true
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}
