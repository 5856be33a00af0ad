package doctor

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
)

// tryLock is how long doctor waits for another run on this node before it tries an assignment.
const tryLock = time.Second

// try makes one call of a trial, and returns what its outcome says about the permission.
//
// An assignment is tried with the address that the node has, if it has one: EC2's success is a
// proof, and changes nothing. A refusal of another address proves less, since EC2 may look at the
// address first.
func (d *examination) try(ctx context.Context, api *ec2.Node, t trial) Finding {
	subject := "ec2:" + t.action
	if t.action == "AssignPrivateIpAddresses" {
		own, unlock := d.ownAddress(ctx, api)
		defer unlock()
		if own.IsValid() {
			err := d.call(ctx, func(ctx context.Context) error { return api.TryAssign(ctx, own) })
			if err == nil {
				return fine("permission", subject, "allowed: EC2 assigned %s again, which the node has", own)
			}
			return permission(subject, err)
		}
	}
	return permission(subject, d.call(ctx, func(ctx context.Context) error { return api.Try(ctx, t.action, t.tag) }))
}

// ownAddress returns the static IP if EC2, IMDS and the last run say that the node has it, or no
// address. Until unlock is called, no other run on this node can give the address back.
func (d *examination) ownAddress(ctx context.Context, api *ec2.Node) (own netip.Addr, unlock func()) {
	nothing := func() {}
	if !d.hasState || d.last.Phase != state.Programmed || d.notRoot {
		return netip.Addr{}, nothing
	}
	bounded, cancel := context.WithTimeout(ctx, tryLock)
	defer cancel()
	unlock, err := state.Lock(bounded, d.dir)
	if err != nil {
		return netip.Addr{}, nothing // another run is at work; the other way to try needs no lock
	}
	last, has, err := state.LoadLatest(d.env.Root, d.dir, d.facts.ID.InstanceID)
	if err == nil && has && last.Phase == state.Programmed && slices.Contains(d.facts.ID.Addresses, last.Static) {
		var shown []netip.Addr
		err = d.call(ctx, func(ctx context.Context) (err error) {
			shown, err = api.Own(ctx)
			return err
		})
		if err == nil && slices.Contains(shown, last.Static) {
			return last.Static, unlock
		}
	}
	unlock()
	return netip.Addr{}, nothing
}
