package ssmcoord

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// tagRounds bounds how often a record that is written with tags may be created or deleted by
// others meanwhile.
const tagRounds = 3

// OverwriteError says that a policy denies overwriting a record that has tags. A policy that
// demands tags in each PutParameter does so: https://github.com/aws/aws-cli/issues/5162
//
// The node that has the address can write the record all the same: its run deletes and creates it.
type OverwriteError struct{ Err error }

func (e *OverwriteError) Error() string {
	return e.Err.Error() + ": a policy denies overwriting a record that has tags"
}

func (e *OverwriteError) Unwrap() error { return e.Err }

// Overwrite sets the record of a to r for an operator's command, which does not hold the address.
// It never deletes a record.
func (l *Ledger) Overwrite(ctx context.Context, a netip.Addr, r Record) error {
	if len(l.tags) == 0 {
		return l.Write(ctx, a, r)
	}
	if err := l.overwriteTagged(ctx, a, r); err != nil {
		return fmt.Errorf("writing the record %s: %w", l.Name(a), err)
	}
	return nil
}

// overwriteTagged sets the record of a, with tags. Parameter Store refuses tags together with
// overwriting:
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
//
// A new record is created with its tags. One that exists gets the tags first, and is overwritten
// then, so that a missing permission leaves the record as it was. If that is denied, the error is
// an OverwriteError.
func (l *Ledger) overwriteTagged(ctx context.Context, a netip.Addr, r Record) (err error) {
	for range tagRounds {
		create := l.putInput(a, r, false)
		create.Tags = ForSDK(l.tags)
		_, err = l.api.PutParameter(ctx, create)
		if exists := (*types.ParameterAlreadyExists)(nil); !errors.As(err, &exists) {
			return OfTags(err, l.tags)
		}
		_, err = l.api.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{
			ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: create.Name, Tags: create.Tags,
		})
		if gone := (*types.InvalidResourceId)(nil); errors.As(err, &gone) {
			continue
		}
		if err != nil {
			return OfTags(err, l.tags)
		}
		if _, err = l.api.PutParameter(ctx, l.putInput(a, r, true)); isDenied(err) {
			err = &OverwriteError{err}
		}
		return err
	}
	return err
}

// writeTagged sets the record of a, with tags, for the node that has the address. Where a policy
// denies overwriting, it deletes the record, waits for RecreateAfter, and creates it. Only the
// node that has the address may do so: nobody else writes its record meanwhile.
func (l *Ledger) writeTagged(ctx context.Context, a netip.Addr, r Record) error {
	err := l.overwriteTagged(ctx, a, r)
	for round := 1; round < tagRounds; round++ {
		denied := (*OverwriteError)(nil)
		if !errors.As(err, &denied) {
			return err
		}
		e, readErr := l.ReadOne(ctx, a)
		switch {
		case readErr != nil:
			return errors.Join(denied.Err, readErr)
		case e.State == Claimed && e.Record.sameOwner(r):
			return nil
		}
		if _, err := l.Delete(ctx, a, func(e Entry) bool { return e.State != Claimed || !e.Record.sameOwner(r) }); err != nil {
			return errors.Join(denied.Err, err)
		}
		if err = pause.Sleep(ctx, RecreateAfter); err == nil {
			err = l.overwriteTagged(ctx, a, r)
		}
		if err != nil {
			err = fmt.Errorf("%w; the record was deleted, because a policy denies overwriting it, and is missing until it is written again", err)
		}
	}
	return err
}

// sameOwner reports whether both records name one interface of one instance.
func (r Record) sameOwner(other Record) bool {
	return r.Instance == other.Instance && r.ENI == other.ENI
}

// putInput returns the call that sets the record of a.
func (l *Ledger) putInput(a netip.Addr, r Record, overwrite bool) *ssm.PutParameterInput {
	return &ssm.PutParameterInput{
		Name:        aws.String(l.Name(a)),
		Value:       aws.String(r.Render()),
		Type:        types.ParameterTypeString,
		Overwrite:   aws.Bool(overwrite),
		Description: aws.String("static IP in use, written by emr-static-ip"),
	}
}
