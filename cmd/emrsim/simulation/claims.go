package simulation

import (
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// checkClaims checks that no node has an address whose record names another, living node. That one has
// the address: it deletes its record before it gives the address back.
func (l *Launch) checkClaims() {
	owner := map[netip.Addr]string{}
	for _, p := range l.w.Cloud.Parameters() {
		if r, err := l.w.parse(p.Value); err == nil {
			if a, err := netip.ParseAddr(p.Name[len(agent.DefaultPrefix)+len(l.subnet)+2:]); err == nil {
				owner[a] = r.Instance
			}
		}
	}
	for _, e := range l.w.Cloud.ENIs() {
		for _, a := range e.Addresses[1:] {
			if owner[a] == "" || owner[a] == e.InstanceID || l.w.node(e.InstanceID) == nil {
				continue
			}
			if o := l.w.node(owner[a]); o != nil && !o.gone.Load() {
				l.w.violate("claims: %s has %s, which the living %s had claimed", e.InstanceID, a, o.InstanceID)
			}
		}
	}
}

// checkHolder checks, right after a call of a node has changed something, that only the node which
// holds an address writes or deletes its record, and that it deletes the record before it gives the
// address back. Where calls take effect late, a node may have lost the address meanwhile, by its own
// call or by another's, and nothing is checked; nor is it for an address that somebody moved away.
func (w *World) checkHolder(c cloud.Call) {
	n := w.node(c.Caller)
	if n == nil || w.Late || !c.Applied {
		return
	}
	switch c.Action {
	case "PutParameter":
		if a, ok := recorded(c); ok && !w.moved(a) {
			if !n.holds(a) {
				w.violate("ledger: %s writes the record of %s, which EC2 has on %v", n.InstanceID, a, w.Cloud.Holders(n.SubnetID, a))
			}
			if r, err := w.parse(c.New); err != nil || r.Instance != n.InstanceID {
				w.violate("ledger: %s writes the record of %s in the name of %q: %v", n.InstanceID, a, r.Instance, err)
			}
		}
	case "DeleteParameter":
		if a, ok := recorded(c); ok && !n.holds(a) && !w.moved(a) {
			if r, err := w.parse(c.Old); err != nil || r.Instance != n.InstanceID {
				w.violate("ledger: %s deletes the record of %s that names %q, and EC2 has the address on %v", n.InstanceID, a, r.Instance, w.Cloud.Holders(n.SubnetID, a))
			}
		}
	case "UnassignPrivateIpAddresses":
		for _, p := range w.Cloud.Parameters() {
			a := path.Base(p.Name)
			if p.ModifiedBy != n.InstanceID || !slices.Contains(strings.Fields(c.Params), a) {
				continue
			}
			if r, err := w.parse(p.Value); err == nil && r.Instance == n.InstanceID {
				w.violate("release: %s gives %s back, and its record %s is still there", n.InstanceID, a, p.Name)
			}
		}
	}
}

// recorded is the address whose record a call is about.
func recorded(c cloud.Call) (netip.Addr, bool) {
	name, _, _ := strings.Cut(strings.TrimPrefix(c.Params, "Name="), " ")
	a, err := netip.ParseAddr(path.Base(name))
	return a, err == nil
}

// holds reports whether EC2 has the address on the node's own interface now.
func (n *Node) holds(a netip.Addr) bool {
	return slices.Contains(n.world.Cloud.Holders(n.SubnetID, a), n.ENI)
}

// moved reports whether somebody outside the ledger has moved the address, by [World.Take].
func (w *World) moved(a netip.Addr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.taken[a]
}
