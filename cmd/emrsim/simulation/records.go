package simulation

import (
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// checkRecordOwners checks that no node has an address whose record names another, living
// node. A node deletes its record before it gives the address back, so a living owner still has the
// address.
func (l *Launch) checkRecordOwners() {
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
				l.w.violate("ledger: %s has %s, whose record names the living %s", e.InstanceID, a, o.InstanceID)
			}
		}
	}
}

// checkHolder is called right after a call of a node has changed something. It checks that only the
// node that holds an address writes or deletes its record, and that the node deletes the record
// before it gives the address back.
//
// It checks nothing if calls may take effect late, because the node may have lost the address
// meanwhile. It ignores an address that somebody moved away.
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

// recorded returns the address whose record a call is about.
func recorded(c cloud.Call) (netip.Addr, bool) {
	name, _, _ := strings.Cut(strings.TrimPrefix(c.Params, "Name="), " ")
	a, err := netip.ParseAddr(path.Base(name))
	return a, err == nil
}

// holds reports whether the node's own interface has the address in EC2.
func (n *Node) holds(a netip.Addr) bool {
	return slices.Contains(n.world.Cloud.Holders(n.SubnetID, a), n.ENI)
}

// moved reports whether somebody outside the ledger has moved the address with [World.Take].
func (w *World) moved(a netip.Addr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.taken[a]
}
