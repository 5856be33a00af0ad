package ssmcoord

import (
	"context"
	"net/netip"
	"time"
)

// deleteOwn deletes the record of a where it names this node, which is not to have the address. It reads first, and more than once where there is no
// record: one that this node wrote a moment ago can be missing from a read that is late, and one that it has deleted can still be in it. had tells that
// EC2 had the address on this node until now: then a record that names another node may be the one of the owner before.
func (c *Coordinator) deleteOwn(ctx context.Context, a netip.Addr, had bool) (deleted bool, err error) {
	accept := func(e Entry) bool {
		if c.mine(e) {
			return !c.deleted[a]
		}
		return e.State != Absent && !had && !c.wrote[a]
	}
	e, err := c.Ledger.readSettled(ctx, a, accept)
	if err != nil || !c.mine(e) || c.deleted[a] {
		return false, err
	}
	d, err := c.Ledger.Delete(ctx, a, c.mine)
	if err != nil {
		return false, err
	}
	if c.deleted == nil {
		c.deleted, c.unsure = map[netip.Addr]bool{}, map[netip.Addr]bool{}
	}
	c.deleted[a], c.unsure[a] = d != NotDeleted, d == DeletedPerhaps
	return c.deleted[a], nil
}

// mine tells whether a record names this node.
func (c *Coordinator) mine(e Entry) bool {
	return e.State == Claimed && e.Record.Instance == c.Self.Instance
}

// written notes that this run has written the record of a.
func (c *Coordinator) written(a netip.Addr) {
	if c.wrote == nil {
		c.wrote = map[netip.Addr]bool{}
	}
	c.wrote[a] = true
	delete(c.deleted, a)
}

// mend writes the record of an address that this node had claimed and that EC2 has given to another node of an EMR cluster, where there is none.
//
// Parameter Store does not promise that of two creates at one time only one succeeds. Where both did, the record that this node deleted as its own
// was also that of the node that EC2 chose, which may have looked before. Where that node has written its record meanwhile, the create changes nothing.
//
// It looks twice before, and once more after the write, which throttling may delay: a node that has just released the address, which one describe call
// may still show, would never get rid of the record.
func (c *Coordinator) mend(ctx context.Context, a netip.Addr) error {
	h, err := c.unrecorded(ctx, a)
	if err != nil || h.Instance == "" {
		return err
	}
	if err := sleep(ctx, certainAfter); err != nil {
		return err
	}
	again, err := c.unrecorded(ctx, a)
	if err != nil || again != h {
		return err
	}
	n, listed, err := c.EC2.Node(ctx, h.Instance)
	if err != nil || !listed || n.Cluster == "" {
		return err
	}
	record := Record{Instance: h.Instance, ENI: h.ENI, Cluster: n.Cluster, Role: n.Role, Time: time.Now()}
	created, unsure, err := c.Ledger.Create(ctx, a, record)
	if err != nil || !created && !unsure {
		return err
	}
	if created {
		c.notify(EventRepaired, a, true, "%s names %s now, which has the address", c.Ledger.Name(a), h.Instance)
	}
	return c.stillHeld(ctx, a, h, record)
}

// stillHeld takes back a record that was written for another node, where that does not have the address any more.
func (c *Coordinator) stillHeld(ctx context.Context, a netip.Addr, h Holder, written Record) error {
	if err := sleep(ctx, afterWrites); err != nil {
		return err
	}
	holders, err := c.EC2.Holders(ctx, []netip.Addr{a})
	if err != nil || holders[a].ENI == h.ENI {
		return err
	}
	still := func(e Entry) bool { return e.State == Claimed && e.Record.Render() == written.Render() }
	if e, err := c.Ledger.readSettled(ctx, a, still); err != nil || !still(e) {
		return err
	}
	d, err := c.Ledger.Delete(ctx, a, still)
	if err == nil && d != NotDeleted {
		c.notify(EventRepaired, a, true, "%s is deleted again: %s has given the address away meanwhile", c.Ledger.Name(a), h.Instance)
	}
	return err
}

// unrecorded is the holder of an address without a record, where an instance other than this one has it as a secondary address; else the zero value.
func (c *Coordinator) unrecorded(ctx context.Context, a netip.Addr) (Holder, error) {
	e, err := c.Ledger.readOne(ctx, a)
	if err != nil || e.State != Absent {
		return Holder{}, err
	}
	holders, err := c.EC2.Holders(ctx, []netip.Addr{a})
	if h := holders[a]; err == nil && h.Instance != c.Self.Instance && !h.Primary {
		return h, nil
	}
	return Holder{}, err
}

// outsider tells whether an ENI that carries an address is certainly no EMR node's, so that the operator's --allow-reassignment may take the address
// from it; otherwise why not. EMR's tags are the instance's from its launch on.
func (c *Coordinator) outsider(ctx context.Context, h Holder) (bool, string, error) {
	if h.Cluster != "" {
		return false, "a node, from which nothing is taken", nil
	}
	if h.Instance == "" {
		return true, "", nil
	}
	n, listed, err := c.EC2.Node(ctx, h.Instance)
	switch {
	case err != nil:
		return false, "", err
	case !listed:
		return false, "which EC2 does not list: it may be a new node", nil
	case n.Cluster != "":
		return false, "a node of cluster " + n.Cluster + ", from which nothing is taken", nil
	}
	return true, "", nil
}

// certainAfter is how long after a claim was written a read is believed: by then it shows what became of two creates at one time.
const certainAfter = 5 * time.Second

// certain looks a second time before an address is taken from an ENI, where EC2 will not arbitrate: the claim must have stayed this node's, and the ENI
// must be the one that had the address before, and no node's. held: an ENI still has it, and it must be taken from that.
func (c *Coordinator) certain(ctx context.Context, p candidate) (ok, held bool, err error) {
	if err := sleep(ctx, certainAfter); err != nil {
		return false, false, err
	}
	e, err := c.Ledger.readSettled(ctx, p.addr, func(e Entry) bool { return e.State != Absent })
	if err != nil {
		return false, false, err
	}
	if e.State != Claimed || e.Record.Instance != c.Self.Instance {
		c.skip(p.addr, "claimed by another node meanwhile")
		return false, false, nil
	}
	holders, err := c.EC2.Holders(ctx, []netip.Addr{p.addr})
	if err != nil {
		return false, false, err
	}
	h, held := holders[p.addr]
	if !held {
		return true, false, nil
	}
	if h.ENI != p.holder.ENI || h.Primary {
		c.skip(p.addr, "in use by "+h.String())
		return false, true, nil
	}
	outside, why, err := c.outsider(ctx, h)
	if !outside {
		c.skip(p.addr, "in use by "+h.String()+", "+why)
	}
	return outside, true, err
}
