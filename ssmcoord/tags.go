package ssmcoord

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/emr-static-ip/emr-static-ip/internal/tag"
)

// WithTags makes the ledger write tags on its records, and returns it.
func (l *Ledger) WithTags(tags []tag.Tag) *Ledger {
	l.tags = tags
	return l
}

// ForSDK returns the tags as the SDK has them.
func ForSDK(tags []tag.Tag) (list []types.Tag) {
	for _, t := range tags {
		list = append(list, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	return list
}

// TagError says that Parameter Store refuses a tag of a record.
type TagError struct {
	Tags []tag.Tag // that were to be set
	Err  error
}

func (e *TagError) Error() string {
	return fmt.Sprintf("AWS refuses the tags of the record (%s): %v", strings.Trim(fmt.Sprint(e.Tags), "[]"), e.Err)
}

func (e *TagError) Unwrap() error { return e.Err }

// OfTags returns a TagError if the error of a call that sets the tags is about them, and otherwise
// the error as it is. TooManyTagsError is documented; what a tag policy of AWS
// Organizations leads to is not, so every code with the word is taken for it.
func OfTags(err error, tags []tag.Tag) error {
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
