package agent

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// views are what ledger and EC2 say about addresses; an error in the place of what could not be asked.
type views struct {
	entries           map[netip.Addr]ssmcoord.Entry
	holders           map[netip.Addr]ssmcoord.Holder
	lives             map[string]ssmcoord.Life
	movable           map[string]bool   // by ENI, under --allow-reassignment: it is no node's, and a run takes addresses from it
	kept              map[string]string // by ENI, under --allow-reassignment: why a run takes none from it
	ledgerErr, eniErr error
}

// look asks ledger and EC2 about the addresses.
func (d *doctor) look(ctx context.Context, addrs []netip.Addr) (v views) {
	if why := d.unasked("ssm"); why != "" {
		v.ledgerErr = errors.New(why)
	} else {
		v.ledgerErr = d.call(ctx, func(ctx context.Context) (err error) {
			v.entries, err = ssmcoord.NewLedger(d.api, d.cfg.Prefix, d.id.SubnetID).Read(ctx, addrs)
			return err
		})
	}
	if why := d.unasked("ec2"); why != "" {
		v.eniErr = errors.New(why)
		return v
	}
	v.eniErr = d.call(ctx, func(ctx context.Context) (err error) {
		v.holders, err = d.ec2.Holders(ctx, addrs)
		return err
	})
	var owners []string
	for _, a := range addrs {
		if e := v.entries[a]; e.State == ssmcoord.Claimed && !slices.Contains(owners, e.Record.Instance) {
			owners = append(owners, e.Record.Instance)
		}
	}
	if len(owners) > 0 && v.eniErr == nil {
		v.eniErr = d.call(ctx, func(ctx context.Context) (err error) {
			v.lives, err = d.ec2.Lives(ctx, owners)
			return err
		})
	}
	if d.cfg.AllowReassignment && v.eniErr == nil {
		d.lookForNodes(ctx, addrs, &v)
	}
	return v
}

// lookForNodes finds out which of the interfaces that carry the addresses are no node's, by the rule of a run.
func (d *doctor) lookForNodes(ctx context.Context, addrs []netip.Addr, v *views) {
	v.movable, v.kept = map[string]bool{}, map[string]string{}
	c := ssmcoord.Coordinator{EC2: d.ec2}
	for _, a := range addrs {
		h := v.holders[a]
		if _, asked := v.kept[h.ENI]; h.ENI == "" || h.ENI == d.id.ENI || h.Primary || asked || v.movable[h.ENI] || v.eniErr != nil {
			continue
		}
		v.eniErr = d.call(ctx, func(ctx context.Context) error {
			outside, why, err := c.Outsider(ctx, h)
			if v.movable[h.ENI] = outside; !outside {
				v.kept[h.ENI] = why
			}
			return err
		})
	}
}
