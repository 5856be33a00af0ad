package cloud

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// ssmTagKeys returns the condition keys for the tags of a request. It returns nil if there is no
// policy.
func (c *Cloud) ssmTagKeys(tags []ssmTag) iam.Keys {
	if c.opts.Authorize == nil {
		return nil
	}
	var list []tag
	for _, t := range tags {
		list = append(list, tag{t.Key, t.Value})
	}
	return tagsAsked(list, func(int) bool { return true })
}

// checkSSMTags checks tags to set. AWS counts characters, not bytes:
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_Tag.html
func checkSSMTags(tags []ssmTag) *Error {
	if len(tags) > maxTags {
		return tooManyTags()
	}
	for _, t := range tags {
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > 128 || utf8.RuneCountInString(t.Value) > 256:
			return validation("1 validation error detected: a tag key has 1 to 128 and a value at most 256 characters")
		case strings.HasPrefix(strings.ToLower(t.Key), "aws:"):
			return validation("aws: prefixed tag key names are not allowed for external use.")
		}
	}
	return nil
}

// maxTags is how many tags a parameter has at most.
const maxTags = 50

func tooManyTags() *Error {
	return ssmError("TooManyTagsError", "The maximum of 50 tags for a parameter is reached.")
}

// taggedParameter checks ResourceType. The returned function looks up the parameter when the
// operation runs.
func taggedParameter(r *request, kind, name string) (find func() (*parameter, *Error), err *Error) {
	if kind != "Parameter" {
		return nil, notImplemented("the resource type " + printable(kind) + " of " + r.call.Key())
	}
	return func() (*parameter, *Error) {
		if p := r.cloud.params.byName[name]; p != nil && p.newest() != nil {
			return p, nil
		}
		return nil, ssmError("InvalidResourceId", "The resource ID "+printable(name)+" is not valid. Verify that you entered the correct ID and try again.")
	}, nil
}

func prepareAddTags(r *request) (*operation, *Error) {
	var in struct {
		ResourceType, ResourceId string
		Tags                     []ssmTag
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	op := &operation{params: "ResourceId=" + printable(in.ResourceId), resources: r.cloud.parameterARNs(in.ResourceId)}
	op.keys = r.cloud.ssmTagKeys(in.Tags)
	find, err := taggedParameter(r, in.ResourceType, in.ResourceId)
	if err == nil {
		err = checkSSMTags(in.Tags)
	}
	if err != nil {
		return op, err
	}
	op.run = func(time.Time) ([]byte, bool, *Error) {
		p, err := find()
		if err != nil {
			return nil, false, err
		}
		merged := append(tagSet(nil), p.tags...)
		for _, t := range in.Tags {
			merged.set(t.Key, t.Value)
		}
		if len(merged) > maxTags {
			return nil, false, tooManyTags()
		}
		p.tags = merged
		return []byte("{}"), true, nil
	}
	return op, nil
}

func prepareRemoveTags(r *request) (*operation, *Error) {
	var in struct {
		ResourceType, ResourceId string
		TagKeys                  []string
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	op := &operation{params: "ResourceId=" + printable(in.ResourceId), resources: r.cloud.parameterARNs(in.ResourceId)}
	if len(in.TagKeys) > 0 {
		op.keys = iam.Keys{iam.KeyTagKeys: in.TagKeys}
	}
	find, err := taggedParameter(r, in.ResourceType, in.ResourceId)
	if err != nil {
		return op, err
	}
	op.run = func(time.Time) ([]byte, bool, *Error) {
		p, err := find()
		if err != nil {
			return nil, false, err
		}
		for _, k := range in.TagKeys {
			p.tags.remove(k)
		}
		return []byte("{}"), true, nil
	}
	return op, nil
}

func prepareListTags(r *request) (*operation, *Error) {
	var in struct{ ResourceType, ResourceId string }
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	op := &operation{params: "ResourceId=" + printable(in.ResourceId), resources: r.cloud.parameterARNs(in.ResourceId)}
	find, err := taggedParameter(r, in.ResourceType, in.ResourceId)
	if err != nil {
		return op, err
	}
	op.run = func(time.Time) ([]byte, bool, *Error) {
		p, err := find()
		if err != nil {
			return nil, false, err
		}
		list := []ssmTag{}
		for _, t := range p.tags {
			list = append(list, ssmTag{t.key, t.value})
		}
		return encode(struct{ TagList []ssmTag }{list}), false, nil
	}
	return op, nil
}
