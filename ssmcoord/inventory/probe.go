package inventory

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/emr-static-ip/emr-static-ip/internal/tag"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// probeMark begins the last part of a probe's name. No address begins with it.
const probeMark = "doctor-"

// Trial has the result of one call of a probe.
type Trial struct {
	Action string // as in a policy: ssm:PutParameter
	Err    error  // nil if the call is allowed
	Left   string // name of the probe parameter if it could not be removed again
}

// ErrNotTried is a trial's error if the call was not made, because its parameter could not be
// removed again.
var ErrNotTried = errors.New("not tried: the probe could not be removed again")

// Probe makes each call of the protocol on a parameter of its own beside the records. It removes
// the parameter again, also if ctx ends meanwhile. It deletes first: if the permission to delete is
// missing, it writes nothing that would be left. by distinguishes probes that run at the same time.
// It has letters, digits and - only. The parameter gets the tags that records get.
func Probe(ctx context.Context, api ssmcoord.API, prefix, subnet string, tags []tag.Tag, by string) []Trial {
	root := prefix + "/" + subnet + "/"
	name := root + probeMark + by
	get := Trial{Action: "ssm:GetParameters"}
	_, get.Err = api.GetParameters(ctx, &ssm.GetParametersInput{Names: []string{name}})

	list := Trial{Action: "ssm:GetParametersByPath"}
	_, list.Err = api.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: aws.String(root), MaxResults: aws.Int32(1)})

	put, remove := Trial{Action: "ssm:PutParameter", Err: ErrNotTried}, Trial{Action: "ssm:DeleteParameter"}
	if remove.Err = deleteProbe(ctx, api, name); remove.Err == nil {
		in := &ssm.PutParameterInput{
			Name: aws.String(name), Value: aws.String("a probe of emr-static-ip doctor, which removes it again"),
			Type: types.ParameterTypeString, Overwrite: aws.Bool(true),
		}
		if len(tags) > 0 {
			in.Overwrite, in.Tags = aws.Bool(false), ssmcoord.ForSDK(tags)
		}
		_, put.Err = api.PutParameter(ctx, in)
		if exists := (*types.ParameterAlreadyExists)(nil); errors.As(put.Err, &exists) {
			put.Err = nil // the probe was deleted before: the first answer was lost
		}
		put.Err = ssmcoord.OfTags(put.Err, tags)
		// After an error too: the parameter may have been written, and only the answer was lost.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeCleanup)
		defer cancel()
		if err := deleteProbe(ctx, api, name); err != nil {
			remove.Err, remove.Left = err, name
		}
	}
	return []Trial{get, list, put, remove}
}

func deleteProbe(ctx context.Context, api ssmcoord.API, name string) error {
	_, err := api.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String(name)})
	if missing := (*types.ParameterNotFound)(nil); errors.As(err, &missing) {
		return nil
	}
	return err
}
