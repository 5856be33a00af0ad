// Package tag reads the tags of parameters in Parameter Store, as --claim-tag and the state file
// have them.
package tag

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Tag is a tag of a parameter.
type Tag struct{ Key, Value string }

// Bounds of tags, in characters:
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_Tag.html
const (
	maxTags     = 50 // of a parameter
	maxTagKey   = 128
	maxTagValue = 256
)

// Parse reads a tag in the form KEY=VALUE. The value may be empty.
func Parse(text string) (Tag, error) {
	key, value, ok := strings.Cut(text, "=")
	why := ""
	switch {
	case !ok || key == "":
		why = "is not KEY=VALUE"
	case !utf8.ValidString(text) || strings.ContainsFunc(text, notInTag):
		why = "has a character other than letters, digits, blanks and _ . : / = + - @"
	case strings.HasPrefix(strings.ToLower(key), "aws:"):
		why = "has a key that begins with aws:, which AWS reserves"
	case utf8.RuneCountInString(key) > maxTagKey || utf8.RuneCountInString(value) > maxTagValue:
		why = fmt.Sprintf("is too long: a key has at most %d characters, a value %d", maxTagKey, maxTagValue)
	default:
		return Tag{key, value}, nil
	}
	return Tag{}, fmt.Errorf("%.200q %s", text, why)
}

// ParseList reads the tags of a parameter. The error names every problem.
func ParseList(texts []string) (tags []Tag, err error) {
	var problems []error
	seen := map[string]bool{}
	for _, text := range texts {
		tag, err := Parse(text)
		if err == nil && seen[tag.Key] {
			err = fmt.Errorf("%.200q has a key that another tag has, too", text)
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		seen[tag.Key] = true
		tags = append(tags, tag)
	}
	if len(texts) > maxTags {
		problems = append(problems, fmt.Errorf("%d tags are too many: a parameter has at most %d", len(texts), maxTags))
	}
	return tags, errors.Join(problems...)
}

// String returns the tag as KEY=VALUE.
func (t Tag) String() string { return t.Key + "=" + t.Value }

// MarshalText returns the tag as KEY=VALUE.
func (t Tag) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText is Parse.
func (t *Tag) UnmarshalText(text []byte) (err error) {
	*t, err = Parse(string(text))
	return err
}

// notInTag reports whether a tag must not have a character: AWS allows [\p{L}\p{Z}\p{N}_.:/=+\-@].
func notInTag(r rune) bool {
	return !unicode.In(r, unicode.L, unicode.Z, unicode.N) && !strings.ContainsRune("_.:/=+-@", r)
}
