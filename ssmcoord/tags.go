package ssmcoord

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
)

// Tag is a tag of the records that a ledger writes.
type Tag struct{ Key, Value string }

// Bounds of tags, in characters: https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_Tag.html
const (
	maxTags     = 50 // of a parameter
	maxTagKey   = 128
	maxTagValue = 256
)

// ParseTag reads a tag in the form KEY=VALUE. The value may be empty.
func ParseTag(text string) (Tag, error) {
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

// ParseTags reads the tags of a parameter. The error names every problem.
func ParseTags(texts []string) (tags []Tag, err error) {
	var problems []error
	seen := map[string]bool{}
	for _, text := range texts {
		tag, err := ParseTag(text)
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

// UnmarshalText is ParseTag.
func (t *Tag) UnmarshalText(text []byte) (err error) {
	*t, err = ParseTag(string(text))
	return err
}

// notInTag reports whether a tag must not have a character: AWS allows [\p{L}\p{Z}\p{N}_.:/=+\-@].
func notInTag(r rune) bool {
	return !unicode.In(r, unicode.L, unicode.Z, unicode.N) && !strings.ContainsRune("_.:/=+-@", r)
}

// WithTags makes the ledger write tags on its records, and returns it.
func (l *Ledger) WithTags(tags []Tag) *Ledger {
	l.tags = tags
	return l
}

// ForSDK returns the tags as the SDK has them.
func ForSDK(tags []Tag) (list []types.Tag) {
	for _, t := range tags {
		list = append(list, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	return list
}

// TagError says that Parameter Store refuses a tag of a record.
type TagError struct {
	Tags []Tag // that were to be set
	Err  error
}

func (e *TagError) Error() string {
	return fmt.Sprintf("AWS refuses the tags of the record (%s): %v", strings.Trim(fmt.Sprint(e.Tags), "[]"), e.Err)
}

func (e *TagError) Unwrap() error { return e.Err }

// OfTags returns a TagError if the error of a call that sets the tags is about them, and otherwise
// the error as it is. TooManyTagsError is documented; what a tag policy of AWS
// Organizations leads to is not, so every code with the word is taken for it.
func OfTags(err error, tags []Tag) error {
	e := smithy.APIError(nil)
	if len(tags) == 0 || !errors.As(err, &e) {
		return err
	}
	invalid := e.ErrorCode() == "ValidationException" && strings.Contains(strings.ToLower(e.ErrorMessage()), "tag")
	if !invalid && !strings.Contains(e.ErrorCode(), "Tag") {
		return err
	}
	return &TagError{tags, err}
}

// isDenied reports whether a policy denies the call.
func isDenied(err error) bool {
	e := smithy.APIError(nil)
	return errors.As(err, &e) && e.ErrorCode() == "AccessDeniedException"
}
