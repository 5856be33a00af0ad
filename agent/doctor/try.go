package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
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
		own, settled, unlock := d.ownAddress(ctx, api)
		defer unlock()
		if own.IsValid() {
			pending := false
			err := d.call(ctx, func(ctx context.Context) (err error) {
				pending, err = api.TryAssign(ctx, own)
				return err
			})
			f := permission(subject, err)
			if err == nil {
				f = fine("permission", subject, "allowed: EC2 assigned %s again, which the node has", own)
			}
			if pending {
				return d.watchAttempt(ctx, api, own, settled, f)
			}
			return f
		}
	}
	return permission(subject, d.call(ctx, func(ctx context.Context) error { return api.Try(ctx, t.action, t.tag) }))
}

// attemptPause is the time between two looks at an attempt whose outcome is unknown.
const attemptPause = ssmcoord.DescribeLag / 6

// watchAttempt looks at the interface until an attempt that got no answer cannot take effect any
// more, and says in the finding what became of it. The caller has the lock all the time: otherwise
// a release could give the address back, and the late attempt would assign it again.
//
// The node has the address. So an attempt that took effect changed nothing, unless somebody had
// taken the address from the node shortly before, and describe calls did not show it yet. Then the
// address vanishes and comes back, and watchAttempt unassigns it. Looks before settled do not
// count: they may be older than the assignment of the last run.
func (d *examination) watchAttempt(ctx context.Context, api *ec2.Node, own netip.Addr, settled time.Time, f Finding) Finding {
	began, vanished, shown := time.Now(), false, false
	for {
		var addrs []netip.Addr
		err := d.call(ctx, func(ctx context.Context) (err error) {
			addrs, err = api.Own(ctx)
			return err
		})
		if ctx.Err() == nil && err == nil {
			shown = slices.Contains(addrs, own)
			vanished = vanished || !shown && time.Now().After(settled)
		}
		over := time.Since(began) > ssmcoord.DescribeLag
		switch {
		case err != nil && (over || ctx.Err() != nil):
			return f.pending("an attempt got no answer, and what became of it is unknown: %v", err).remedied("run emr-static-ip doctor again")
		case !over:
			if err := pause.Sleep(ctx, attemptPause); err != nil {
				return f.pending("an attempt got no answer and may still take effect: doctor was ended before it could tell").remedied("run emr-static-ip doctor again")
			}
			continue
		case !shown:
			return f.pending("an attempt got no answer and had no effect: EC2 no longer shows %s on this node", own).remedied("run emr-static-ip status")
		case !vanished:
			f.Detail += fmt.Sprintf(" (an attempt got no answer; doctor watched for %s, and EC2 shows %s on this node as before)", ssmcoord.DescribeLag, own)
			return f
		}
		err = d.call(ctx, func(ctx context.Context) error {
			_, err := api.Unassign(ctx, own)
			return err
		})
		if err != nil {
			return f.pending("EC2 had taken %s from this node, and an attempt without an answer assigned it again; unassigning it failed: %v", own, err).
				remedied(fmt.Sprintf("aws ec2 unassign-private-ip-addresses --network-interface-id %s --private-ip-addresses %s", api.ID.ENI, own))
		}
		return f.pending("EC2 had taken %s from this node, and an attempt without an answer assigned it again: doctor unassigned it", own).remedied("run emr-static-ip status")
	}
}

// pending returns the finding as a warning or worse, with what became of an attempt that got no
// answer.
func (f Finding) pending(format string, args ...any) Finding {
	if f.Result == resultOK {
		f.Result = resultWarning
	}
	f.Detail += "; " + fmt.Sprintf(format, args...)
	return f
}

// remedied returns the finding with another remedy.
func (f Finding) remedied(remedy string) Finding {
	if f.Remedy != "" {
		remedy = f.Remedy + "; or " + remedy
	}
	f.Remedy = remedy
	return f
}

// ownAddress returns the static IP if EC2, IMDS and the last run say that the node has it, or no
// address. From settled on, EC2's describe calls are not older than what the last run did. Until
// unlock is called, no other run on this node can give the address back.
func (d *examination) ownAddress(ctx context.Context, api *ec2.Node) (own netip.Addr, settled time.Time, unlock func()) {
	nothing := func() {}
	if !d.hasState || d.last.Phase != state.Programmed || d.notRoot {
		return netip.Addr{}, settled, nothing
	}
	bounded, cancel := context.WithTimeout(ctx, tryLock)
	defer cancel()
	unlock, err := state.Lock(bounded, d.dir)
	if err != nil {
		return netip.Addr{}, settled, nothing // another run is at work; the other way to try needs no lock
	}
	last, has, err := state.LoadLatest(d.env.Root, d.dir, d.facts.ID.InstanceID)
	if err == nil && has && last.Phase == state.Programmed && slices.Contains(d.facts.ID.Addresses, last.Static) {
		var shown []netip.Addr
		err = d.call(ctx, func(ctx context.Context) (err error) {
			shown, err = api.Own(ctx)
			return err
		})
		if err == nil && slices.Contains(shown, last.Static) {
			return last.Static, last.Written.Add(ssmcoord.DescribeLag), unlock
		}
	}
	unlock()
	return netip.Addr{}, settled, nothing
}
