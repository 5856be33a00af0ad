package netcfgtest

import (
	"context"
	"net/netip"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// Route returns what SetRoute was given for the address or, without it, for the zero address: no
// way.
func (k *Kernel) Route(ctx context.Context, to netip.Addr) (netcfg.Route, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r, ok := k.routes[to]; ok {
		return r, ctx.Err()
	}
	return k.routes[netip.Addr{}], ctx.Err()
}

// SetRoute makes the way to an address. The zero address stands for all others.
func (k *Kernel) SetRoute(to netip.Addr, r netcfg.Route) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.routes == nil {
		k.routes = map[netip.Addr]netcfg.Route{}
	}
	k.routes[to] = r
}
