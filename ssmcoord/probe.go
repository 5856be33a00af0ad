package ssmcoord

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// probeMark begins the last part of a probe's name. No address begins with it.
const probeMark = "doctor-"

// probeCleanup limits the removal of a probe, which goes on after the caller's context has ended.
const probeCleanup = 10 * time.Second

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
// It has letters, digits and - only.
func (l *Ledger) Probe(ctx context.Context, by string) []Trial {
	name := l.prefix + "/" + l.subnet + "/" + probeMark + by
	get := Trial{Action: "ssm:GetParameters"}
	_, get.Err = l.api.GetParameters(ctx, &ssm.GetParametersInput{Names: []string{name}})

	list := Trial{Action: "ssm:GetParametersByPath"}
	_, list.Err = l.api.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: aws.String(l.prefix + "/" + l.subnet + "/"), MaxResults: aws.Int32(1)})

	put, remove := Trial{Action: "ssm:PutParameter", Err: ErrNotTried}, Trial{Action: "ssm:DeleteParameter"}
	if remove.Err = l.deleteProbe(ctx, name); remove.Err == nil {
		in := &ssm.PutParameterInput{
			Name: aws.String(name), Value: aws.String("a probe of emr-static-ip doctor, which removes it again"),
			Type: types.ParameterTypeString, Overwrite: aws.Bool(true),
		}
		if len(l.tags) > 0 {
			in.Overwrite, in.Tags = aws.Bool(false), l.tags
		}
		_, put.Err = l.api.PutParameter(ctx, in)
		if exists := (*types.ParameterAlreadyExists)(nil); errors.As(put.Err, &exists) {
			put.Err = nil // the probe was deleted before: the first answer was lost
		}
		put.Err = l.ofTags(put.Err)
		// After an error too: the parameter may have been written, and only the answer was lost.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeCleanup)
		defer cancel()
		if err := l.deleteProbe(ctx, name); err != nil {
			remove.Err, remove.Left = err, name
		}
	}
	return []Trial{get, list, put, remove}
}

func (l *Ledger) deleteProbe(ctx context.Context, name string) error {
	_, err := l.api.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String(name)})
	if missing := (*types.ParameterNotFound)(nil); errors.As(err, &missing) {
		return nil
	}
	return err
}

// Endpoint returns the URL at which the SDK calls Parameter Store with cfg.
func Endpoint(ctx context.Context, cfg aws.Config) (*url.URL, error) {
	o := ssm.NewFromConfig(cfg).Options()
	e, err := o.EndpointResolverV2.ResolveEndpoint(ctx, ssm.EndpointParameters{
		Region:       aws.String(o.Region),
		UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
		UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		Endpoint:     o.BaseEndpoint,
	})
	if err != nil {
		return nil, fmt.Errorf("finding the endpoint of Parameter Store: %w", err)
	}
	return &e.URI, nil
}
