package doctor

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// views holds the answers of ledger and EC2 about addresses, or the error of a call that failed.
type views struct {
	ssmcoord.View
	ledgerErr, eniErr error
}

// look asks ledger and EC2 about the addresses.
func (d *examination) look(ctx context.Context, addrs []netip.Addr) (v views) {
	if why := d.unasked("ssm"); why != "" {
		v.ledgerErr = errors.New(why)
	} else {
		ledger := ssmcoord.NewLedger(d.api, d.cfg.Prefix, d.facts.ID.SubnetID)
		v.ledgerErr = d.call(ctx, func(ctx context.Context) (err error) {
			v.Entries, err = ledger.Read(ctx, addrs)
			return err
		})
		v.Now = ledger.Now()
	}
	if why := d.unasked("ec2"); why != "" {
		v.eniErr = errors.New(why)
		return v
	}
	v.eniErr = d.call(ctx, func(ctx context.Context) (err error) {
		v.Holders, err = d.session.EC2.Holders(ctx, addrs)
		return err
	})
	var owners []string
	for _, a := range addrs {
		if e := v.Entries[a]; e.State == ssmcoord.Claimed && !slices.Contains(owners, e.Record.Instance) {
			owners = append(owners, e.Record.Instance)
		}
	}
	if len(owners) > 0 && v.eniErr == nil {
		v.eniErr = d.call(ctx, func(ctx context.Context) (err error) {
			v.Lives, err = d.session.EC2.Lives(ctx, owners)
			return err
		})
	}
	return v
}
