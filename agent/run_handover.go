package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// lostStatic takes the last run's address out of the kernel: EC2 does not give it to this node any
// more. From here on until another one is programmed the node has none.
func (r *run) lostStatic(ctx context.Context) error {
	lost := r.state.Static
	r.warn(fmt.Sprintf("EC2 does not give %s to this node any more", lost))
	// On disk first: from here on a restore must not put it back.
	r.recordDue = time.Time{}
	if err := r.save(PhaseWithdrawn, lost, r.state.Former, r.state.Intents); err != nil {
		return err
	}
	if err := r.unprogram(ctx, []netip.Addr{lost}); err != nil {
		return err
	}
	r.surrender()
	return nil
}

// finishGivenBack takes out of the kernel what this node has given back, or does not have any more.
// A release, or a withdrawal, that was interrupted may have left its address there, where nothing
// would watch it from here on.
func (r *run) finishGivenBack(ctx context.Context) error {
	if r.givenBack() {
		if err := r.unprogram(ctx, r.touched()); err != nil {
			return err
		}
	}
	r.surrender()
	return nil
}

// givenBack reports whether the node has given its static IP back, or was about to, or has lost it.
func (r *run) givenBack() bool {
	switch r.state.Phase {
	case PhaseWithdrawn, PhaseReleasing, PhaseReleased:
		return true
	}
	return false
}

// surrender makes a static IP that was given back one of those that the node may have: no restore
// may put it back while another one is looked for, and IMDS lists it for a while.
func (r *run) surrender() {
	if r.givenBack() {
		r.state.Intents, r.state.Static = r.touched(), netip.Addr{}
		r.recordDue = time.Time{}
	}
}

// remember asks the ledger which addresses name this node, where its state file is lost and its
// network interface has more than the primary IP.
func (r *run) remember(ctx context.Context) error {
	if r.hasState || len(r.id.Addresses) < 2 {
		return nil
	}
	claims, err := ssmcoord.NewLedger(r.aws.Config, r.cfg.Prefix, r.id.SubnetID).Claims(ctx, r.id.InstanceID)
	if err != nil {
		return err
	}
	r.state.Intents = slices.DeleteFunc(claims, func(a netip.Addr) bool { return a == r.id.PrimaryIP })
	return nil
}
