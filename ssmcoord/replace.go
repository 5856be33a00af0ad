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

// tagRounds bounds how often writeTagged finds that the record was created or deleted meanwhile.
const tagRounds = 3

// Guard looks again for a caller that does not hold the address. A node that holds it needs no
// guard: nobody else has the address while it writes.
type Guard struct {
	// Still reports whether the record, which was read right before, may be deleted.
	Still func(Entry) bool
	// Next is called when the record was deleted and its name may be created again. It returns the
	// record that is right by then. False: none is.
	Next func(context.Context) (Record, bool, error)
}

// ErrChanged says that somebody else has written the record meanwhile. It is as they wrote it.
var ErrChanged = errors.New("its record has changed meanwhile")

// ErrNoRecord says that the record was deleted and that the address takes none any more.
var ErrNoRecord = errors.New("its record was removed: no node carries the address any more")

// Replace sets the record of a to r for an operator, who does not hold the address. It returns the
// record that was written. That is not r if the address changed hands while Replace waited.
func (l *Ledger) Replace(ctx context.Context, a netip.Addr, r Record, g Guard) (Record, error) {
	if len(l.tags) == 0 {
		return r, l.put(ctx, a, r, true)
	}
	r, err := l.writeTagged(ctx, a, r, &g)
	if err != nil && !errors.Is(err, ErrChanged) && !errors.Is(err, ErrNoRecord) {
		err = fmt.Errorf("writing the record %s: %w", l.Name(a), err)
	}
	return r, err
}

// writeTagged sets the record of a, with tags. Parameter Store refuses tags together with
// overwriting:
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
//
// A new record is created with its tags. One that exists gets the tags first, and is overwritten
// then, so that a missing permission leaves the record as it was. That is enough if a policy
// demands tags of new parameters only.
//
// A policy that demands tags in each PutParameter denies all overwriting:
// https://github.com/aws/aws-cli/issues/5162
// No other call changes a value. Then writeTagged deletes the record, waits for RecreateAfter, and
// creates it. It reads the record right before the deletion. It does not delete a record that says
// what r says, nor one that the guard does not give up. After the wait it creates the record that
// the guard finds right, and leaves one that somebody else has created.
func (l *Ledger) writeTagged(ctx context.Context, a netip.Addr, r Record, g *Guard) (Record, error) {
	deleted := false
	missing := func(err error) error {
		if err == nil || !deleted {
			return err
		}
		err = fmt.Errorf("%w; the record was deleted, because a policy denies overwriting it, and is missing until it is written again", err)
		if g != nil {
			err = fmt.Errorf("%w: %s --claim-tag KEY=VALUE --yes", err, l.Repair(a))
		}
		return err
	}
	var err error
	for round := range tagRounds {
		create := l.putInput(a, r, false)
		create.Tags = l.tags
		_, err = l.api.PutParameter(ctx, create)
		if exists := (*types.ParameterAlreadyExists)(nil); !errors.As(err, &exists) {
			return r, missing(l.ofTags(err))
		}
		if deleted && g != nil {
			return r, l.foreign(ctx, a, r)
		}
		_, err = l.api.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{
			ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: create.Name, Tags: l.tags,
		})
		if gone := (*types.InvalidResourceId)(nil); errors.As(err, &gone) {
			continue
		}
		if err != nil {
			return r, l.ofTags(err)
		}
		if _, err = l.api.PutParameter(ctx, l.putInput(a, r, true)); !isDenied(err) || round == tagRounds-1 {
			return r, err
		}
		e, readErr := l.ReadOne(ctx, a)
		switch {
		case readErr != nil:
			return r, errors.Join(err, readErr)
		case e.State == Claimed && e.Record.sameOwner(r):
			return e.Record, nil
		case g != nil && !g.Still(e):
			return r, ErrChanged
		}
		// Where there is no guard, what is deleted may be any record but one of this node.
		still := func(e Entry) bool { return e.State != Claimed || !e.Record.sameOwner(r) }
		if g != nil {
			still = g.Still
		}
		done, deleteErr := l.Delete(ctx, a, still)
		switch {
		case deleteErr != nil:
			return r, errors.Join(err, deleteErr)
		case !done && g != nil:
			return r, ErrChanged
		}
		deleted = true
		if err := pause.Sleep(ctx, RecreateAfter); err != nil {
			return r, missing(err)
		}
		if g == nil {
			continue
		}
		next, ok, nextErr := g.Next(ctx)
		switch {
		case nextErr != nil:
			return r, missing(nextErr)
		case !ok:
			return r, ErrNoRecord
		}
		r = next
	}
	return r, err
}

// foreign returns ErrChanged if the record that exists does not say what r says. The one that does
// is this call's own: an answer was lost.
func (l *Ledger) foreign(ctx context.Context, a netip.Addr, r Record) error {
	e, err := l.ReadOne(ctx, a)
	if err == nil && (e.State != Claimed || !e.Record.sameOwner(r)) {
		err = ErrChanged
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
