package simulation

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// checkClaims checks that no node gets an address that a living node has claimed. A claim ends with the detachment: the node that gives the address
// back deletes its record after that.
func (l *Launch) checkClaims() {
	owner, since := map[netip.Addr]string{}, map[netip.Addr]time.Time{}
	for _, p := range l.w.Cloud.Parameters() {
		if r, err := l.w.parse(p.Value); err == nil {
			if a, err := netip.ParseAddr(p.Name[len(agent.DefaultPrefix)+len(l.subnet)+2:]); err == nil {
				owner[a], since[a] = r.Instance, p.Modified
			}
		}
	}
	for _, e := range l.w.Cloud.ENIs() {
		for _, a := range e.Addresses[1:] {
			if owner[a] == "" || owner[a] == e.InstanceID || l.w.node(e.InstanceID) == nil {
				continue
			}
			if o := l.w.node(owner[a]); o != nil && !o.gone.Load() && !l.w.gaveBack(owner[a], a, since[a]) {
				l.w.violate("claims: %s has %s, which the living %s had claimed", e.InstanceID, a, o.InstanceID)
			}
		}
	}
}

// gaveBack tells whether an instance has detached an address since then.
func (w *World) gaveBack(instance string, a netip.Addr, since time.Time) bool {
	return slices.ContainsFunc(w.Cloud.Calls(), func(c cloud.Call) bool {
		return c.Caller == instance && c.Action == "UnassignPrivateIpAddresses" && c.Applied && !c.Time.Before(since) && slices.Contains(strings.Fields(c.Params), a.String())
	})
}
