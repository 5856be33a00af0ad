package agent

import (
	"context"
	"fmt"
	"slices"

	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// formerLedgers are the prefixes, other than this run's, under which earlier runs of this node may have left claims.
func formerLedgers(s State, prefix string) []string {
	var list []string
	for _, p := range append(slices.Clone(s.Ledgers), s.Settings.Prefix) {
		if p != "" && p != prefix && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list[max(0, len(list)-maxLedgers):]
}

// leaveLedgers deletes this node's claims under the prefixes of earlier runs. A policy that allows the new prefix alone is no reason to fail the node:
// the claims go stale with it.
func (r *run) leaveLedgers(ctx context.Context) error {
	var left []string
	for _, prefix := range r.ledgers {
		ledger := ssmcoord.NewLedger(r.aws.config, prefix, r.id.SubnetID)
		removed, err := ledger.Clear(ctx, r.id.InstanceID)
		for _, a := range removed {
			r.change("released " + a.String() + ": " + ledger.Name(a) + ", of an earlier run with --prefix " + prefix)
		}
		if isPermission(err) {
			left = append(left, prefix)
			r.warn(fmt.Sprintf("this node's claims under the former --prefix %s could not be removed: %v", quoted(prefix), err))
		} else if err != nil {
			return err
		}
	}
	r.ledgers = left
	return nil
}
