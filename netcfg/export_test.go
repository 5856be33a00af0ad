package netcfg

import "context"

// RemoveNatLate removes what iptables-nft holds of ours, with something happening between the look and the removal.
func RemoveNatLate(ctx context.Context, between func()) error {
	t, err := nfRead(ctx, natTableName)
	if t == nil || err != nil {
		return err
	}
	between()
	return removeNatAsRead(ctx, t)
}
