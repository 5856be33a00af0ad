// Package inventory is the operator's side of the ledger. It compares records, instances and
// network interfaces, and plans and makes the repairs of the commands ledger gc and ledger repair.
package inventory

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/emr-static-ip/emr-static-ip/internal/tag"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// Census is what an inventory asks of EC2. Package agent implements it with the SDK.
type Census interface {
	// Interfaces lists the ENIs of the subnets. If addresses are given, it lists only ENIs that
	// carry one of them.
	Interfaces(ctx context.Context, subnets []string, addrs []netip.Addr) ([]Interface, error)
	// Instances describes instances. An instance that EC2 does not list is not in the map.
	Instances(ctx context.Context, ids []string) (map[string]Instance, error)
}

// Interface is an ENI with its addresses.
type Interface struct {
	ID        string
	Subnet    string
	Instance  string // empty if the ENI is attached to no instance
	Device    int    // its index on that instance; 0 is the primary one
	Primary   netip.Addr
	Secondary []netip.Addr
}

// Inventory compares a ledger with EC2 and repairs it, for an operator on any machine. It must be
// used by one goroutine only.
type Inventory struct {
	API    ssmcoord.API
	EC2    Census
	Prefix string
	Subnet string       // empty for all subnets that have a record
	Tags   []tag.Tag    // of the records that are written
	Named  []netip.Addr // addresses of the subnet to look at even if they have no record
	Notify func(ssmcoord.Event)

	ssmcoord.Clock // Parameter Store's, since an operator's own clock may be wrong
}

// View is what an inventory found.
type View struct {
	Subnets []string   // in order
	Seen    []Sighting // by subnet and address
	Others  []string   // parameters below the prefix that are not records
}

// Look reads the ledger and compares it with EC2. It returns the addresses with a record, the named
// ones, and the secondary addresses of cluster nodes. The view may be some seconds old, since reads
// of Parameter Store and EC2 may be late.
func (v *Inventory) Look(ctx context.Context) (View, error) {
	records, others, err := v.list(ctx)
	if err != nil {
		return View{}, err
	}
	view := View{Others: others}
	if v.Subnet != "" {
		view.Subnets = []string{v.Subnet}
	}
	for at := range records {
		if !slices.Contains(view.Subnets, at.subnet) {
			view.Subnets = append(view.Subnets, at.subnet)
		}
	}
	slices.Sort(view.Subnets)
	if len(view.Subnets) == 0 {
		return view, nil
	}
	enis, err := v.EC2.Interfaces(ctx, view.Subnets, nil)
	if err != nil {
		return View{}, err
	}
	for _, a := range v.Named {
		if at := (place{v.Subnet, a}); records[at].State == ssmcoord.Absent {
			records[at] = Version{}
		}
	}
	view.Seen, err = v.join(ctx, records, enis)
	return view, err
}

// join makes sightings of records and ENIs.
func (v *Inventory) join(ctx context.Context, records map[place]Version, enis []Interface) ([]Sighting, error) {
	seen := map[place]*Sighting{}
	for at, record := range records {
		seen[at] = &Sighting{Subnet: at.subnet, Addr: at.addr, Record: record, Named: v.Subnet == at.subnet && slices.Contains(v.Named, at.addr)}
	}
	var ids []string
	for _, e := range enis {
		carry := func(a netip.Addr, primary bool) {
			at := place{e.Subnet, a}
			s := seen[at]
			if s == nil && (primary || e.Instance == "") {
				return
			} else if s == nil {
				s = &Sighting{Subnet: e.Subnet, Addr: a}
				seen[at] = s
			}
			s.Holder, s.Device = ssmcoord.Holder{ENI: e.ID, Instance: e.Instance, Primary: primary}, e.Device
			s.Beside = len(e.Secondary) - 1
			ids = append(ids, e.Instance)
		}
		carry(e.Primary, true)
		for _, a := range e.Secondary {
			carry(a, false)
		}
	}
	for _, s := range seen {
		ids = append(ids, s.Record.Record.Instance)
	}
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return id == "" })
	instances, err := v.instances(ctx, ids)
	if err != nil {
		return nil, err
	}
	var all []Sighting
	for _, s := range seen {
		s.By, s.Owner = instances[s.Holder.Instance], instances[s.Record.Record.Instance]
		s.Holder.Cluster = s.By.Cluster
		if s.Record.State == ssmcoord.Absent && !s.Named && !s.node() {
			continue // a secondary address that belongs to another program
		}
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b Sighting) int { return cmp.Or(cmp.Compare(a.Subnet, b.Subnet), a.Addr.Compare(b.Addr)) })
	return all, nil
}

// instances describes instances. The map has an entry for each id, at least with the id itself.
func (v *Inventory) instances(ctx context.Context, ids []string) (map[string]Instance, error) {
	known := map[string]Instance{}
	if len(ids) == 0 {
		return known, nil
	}
	listed, err := v.EC2.Instances(ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		i := listed[id]
		i.ID = id
		known[id] = i
	}
	return known, nil
}

// again reads one address once more. It reads the record last, because the caller then changes the
// record without a condition.
func (v *Inventory) again(ctx context.Context, s Sighting) (Sighting, error) {
	enis, err := v.EC2.Interfaces(ctx, []string{s.Subnet}, []netip.Addr{s.Addr})
	if err != nil {
		return s, err
	}
	at := place{s.Subnet, s.Addr}
	found, err := v.join(ctx, map[place]Version{at: s.Record}, enis)
	if err != nil {
		return s, err
	}
	s.Holder, s.Device, s.Beside, s.By = ssmcoord.Holder{}, 0, 0, Instance{}
	for _, f := range found {
		if f.Addr == s.Addr {
			s.Holder, s.Device, s.Beside, s.By, s.Owner = f.Holder, f.Device, f.Beside, f.By, f.Owner
		}
	}
	s.Record, err = v.read(ctx, at)
	return s, err
}
