package inventory

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/emr-static-ip/emr-static-ip/internal/tag"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// tagged is a Parameter Store without parameters. It admits only new ones with the tag team=data.
type tagged struct {
	ssmcoord.API
	written int
}

func (*tagged) GetParameters(context.Context, *ssm.GetParametersInput, ...func(*ssm.Options)) (*ssm.GetParametersOutput, error) {
	return &ssm.GetParametersOutput{}, nil
}

func (*tagged) GetParametersByPath(context.Context, *ssm.GetParametersByPathInput, ...func(*ssm.Options)) (*ssm.GetParametersByPathOutput, error) {
	return &ssm.GetParametersByPathOutput{}, nil
}

func (*tagged) DeleteParameter(context.Context, *ssm.DeleteParameterInput, ...func(*ssm.Options)) (*ssm.DeleteParameterOutput, error) {
	return nil, &types.ParameterNotFound{}
}

func (s *tagged) PutParameter(_ context.Context, in *ssm.PutParameterInput, _ ...func(*ssm.Options)) (*ssm.PutParameterOutput, error) {
	if aws.ToBool(in.Overwrite) || len(in.Tags) != 1 || *in.Tags[0].Key != "team" || *in.Tags[0].Value != "data" {
		return nil, &smithy.GenericAPIError{Code: "AccessDeniedException"}
	}
	s.written++
	return &ssm.PutParameterOutput{}, nil
}

// TestProbeWithTags checks that doctor's probe writes with tags, as a run does.
func TestProbeWithTags(t *testing.T) {
	s := &tagged{}
	for _, trial := range Probe(t.Context(), s, "/x", "subnet-1", []tag.Tag{{Key: "team", Value: "data"}}, "i-1") {
		if trial.Err != nil {
			t.Errorf("%s: %v", trial.Action, trial.Err)
		}
	}
	if s.written != 1 {
		t.Errorf("%d probes were written", s.written)
	}
	for _, trial := range Probe(t.Context(), s, "/x", "subnet-1", nil, "i-1") {
		if denied := trial.Action == "ssm:PutParameter"; denied != (trial.Err != nil) {
			t.Errorf("without the tag: %s: %v", trial.Action, trial.Err)
		}
	}
}
