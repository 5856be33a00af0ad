package agent

import (
	"context"
	"net/netip"
	"slices"

	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// outOfUse takes the last run's address out of the kernel where EC2 shows it on this node no more: from here on until another one
// is programmed the node has none.
func (r *run) outOfUse(ctx context.Context) error {
	gone, err := r.gone(ctx)
	if err != nil || len(gone) == 0 {
		return err
	}
	// On disk first: from here on a restore must not put it back.
	if err := r.save(PhaseWithdrawn, gone[0], r.state.Former, r.state.Intents); err != nil {
		return err
	}
	return r.unprogram(ctx, gone)
}

// handOver takes out of use what this node does not have any more, or has given back. A release, or a withdrawal, that was interrupted may have left its
// address in the kernel, where nothing would watch it from here on.
func (r *run) handOver(ctx context.Context) error {
	if err := r.outOfUse(ctx); err != nil {
		return err
	}
	if r.givenBack() {
		if err := r.unprogram(ctx, r.touched()); err != nil {
			return err
		}
	}
	r.surrender()
	return nil
}

// givenBack tells whether the node has given its static IP back, or was about to, or EC2 gives it to the node no more.
func (r *run) givenBack() bool {
	switch r.state.Phase {
	case PhaseWithdrawn, PhaseReleasing, PhaseReleased:
		return true
	}
	return false
}

// surrender makes a static IP that was given back one of those that the node may have: no restore may put it back while another one is looked for, and
// IMDS lists it for a while.
func (r *run) surrender() {
	if r.givenBack() {
		r.state.Intents, r.state.Static = r.touched(), netip.Addr{}
	}
}

// remember asks the ledger what this node has claimed where its state file is lost and its network interface has more than the primary IP.
func (r *run) remember(ctx context.Context) error {
	if r.hasState || len(r.id.Addresses) < 2 {
		return nil
	}
	claims, err := ssmcoord.NewLedger(r.aws.config, r.cfg.Prefix, r.id.SubnetID).Claims(ctx, r.id.InstanceID)
	if err != nil {
		return err
	}
	r.state.Intents = slices.DeleteFunc(claims, func(a netip.Addr) bool { return a == r.id.PrimaryIP })
	return nil
}
