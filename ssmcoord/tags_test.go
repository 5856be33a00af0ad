package ssmcoord

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/emr-static-ip/emr-static-ip/internal/tag"
)

// tagStore is a Parameter Store with one parameter. It keeps AWS's rule about tags.
type tagStore struct {
	API
	exists  bool
	value   string
	tags    map[string]string
	deleted time.Time // the last deletion
	denied  string    // denies calls: "overwrite" or "tag"
	calls   []string
}

func (s *tagStore) PutParameter(_ context.Context, in *ssm.PutParameterInput, _ ...func(*ssm.Options)) (*ssm.PutParameterOutput, error) {
	overwrite := aws.ToBool(in.Overwrite)
	s.calls = append(s.calls, fmt.Sprintf("put overwrite=%t tags=%d", overwrite, len(in.Tags)))
	switch {
	case overwrite && len(in.Tags) > 0:
		return nil, &smithy.GenericAPIError{Code: "ValidationException", Message: "tags and overwrite can't be used together"}
	case s.denied == "overwrite" && len(in.Tags) == 0, s.denied == "tag" && len(in.Tags) > 0:
		return nil, &smithy.GenericAPIError{Code: "AccessDeniedException"}
	case !overwrite && s.exists:
		return nil, &types.ParameterAlreadyExists{}
	case !s.exists && time.Since(s.deleted) < RecreateAfter:
		return nil, &types.TooManyUpdates{}
	case !s.exists:
		s.tags = map[string]string{}
	}
	s.exists, s.value = true, aws.ToString(in.Value)
	s.set(in.Tags)
	return &ssm.PutParameterOutput{}, nil
}

func (s *tagStore) AddTagsToResource(_ context.Context, in *ssm.AddTagsToResourceInput, _ ...func(*ssm.Options)) (*ssm.AddTagsToResourceOutput, error) {
	s.calls = append(s.calls, "tag")
	if s.denied == "add" {
		return nil, &smithy.GenericAPIError{Code: "AccessDeniedException"}
	}
	if !s.exists || in.ResourceType != types.ResourceTypeForTaggingParameter {
		return nil, &types.InvalidResourceId{}
	}
	s.set(in.Tags)
	return &ssm.AddTagsToResourceOutput{}, nil
}

func (s *tagStore) GetParameters(_ context.Context, in *ssm.GetParametersInput, _ ...func(*ssm.Options)) (*ssm.GetParametersOutput, error) {
	s.calls = append(s.calls, "get")
	if !s.exists {
		return &ssm.GetParametersOutput{InvalidParameters: in.Names}, nil
	}
	return &ssm.GetParametersOutput{Parameters: []types.Parameter{{Name: &in.Names[0], Value: &s.value}}}, nil
}

func (s *tagStore) DeleteParameter(context.Context, *ssm.DeleteParameterInput, ...func(*ssm.Options)) (*ssm.DeleteParameterOutput, error) {
	s.calls = append(s.calls, "delete")
	if !s.exists {
		return nil, &types.ParameterNotFound{}
	}
	s.exists, s.deleted = false, time.Now()
	return &ssm.DeleteParameterOutput{}, nil
}

func (s *tagStore) set(tags []types.Tag) {
	for _, t := range tags {
		s.tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
}

// TestTags checks how a ledger writes records with tags: a new one, one that exists, and one in an
// account that denies PutParameter without tags. A denied call leaves the record as it was.
func TestTags(t *testing.T) {
	a := netip.MustParseAddr("10.0.1.21")
	for _, test := range []struct {
		name, denied string
		exists, fail bool
		calls        string
	}{
		{"new", "", false, false, "put overwrite=false tags=2"},
		{"exists", "", true, false, "put overwrite=false tags=2, tag, put overwrite=true tags=0"},
		{"exists, tags demanded", "overwrite", true, false, "put overwrite=false tags=2, tag, put overwrite=true tags=0, get, delete, put overwrite=false tags=2"},
		{"new, tags denied", "tag", false, true, "put overwrite=false tags=2"},
		{"exists, tags denied", "tag", true, true, "put overwrite=false tags=2"},
		{"exists, adding denied", "add", true, true, "put overwrite=false tags=2, tag"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &tagStore{exists: test.exists, denied: test.denied, value: "before", tags: map[string]string{"old": "1"}}
				ledger := OpenLedger(s, "/x", "subnet-1").WithTags([]tag.Tag{{Key: "team", Value: "data"}, {Key: "empty"}})
				err := ledger.Record(t.Context(), a, self)
				if (err != nil) != test.fail {
					t.Errorf("%v", err)
				}
				if got := strings.Join(s.calls, ", "); got != test.calls {
					t.Errorf("calls %s, want %s", got, test.calls)
				}
				if test.fail && test.exists && s.value != "before" {
					t.Errorf("the record was changed: %s", s.value)
				}
				if empty, has := s.tags["empty"]; !test.fail && (!strings.Contains(s.value, self.Instance) || s.tags["team"] != "data" || !has || empty != "") {
					t.Errorf("record %s, tags %v", s.value, s.tags)
				}
			})
		})
	}
}

// TestTagsOwnRecord checks that a record which somebody has written meanwhile, and which names the
// node, is not deleted.
func TestTagsOwnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tagStore{exists: true, denied: "overwrite", value: self.record(time.Now()).Render(), tags: map[string]string{}}
		if err := OpenLedger(s, "/x", "subnet-1").WithTags([]tag.Tag{{Key: "team", Value: "data"}}).Record(t.Context(), netip.MustParseAddr("10.0.1.21"), self); err != nil {
			t.Error(err)
		}
		if got, want := strings.Join(s.calls, ", "), "put overwrite=false tags=1, tag, put overwrite=true tags=0, get"; got != want {
			t.Errorf("calls %s, want %s", got, want)
		}
	})
}
