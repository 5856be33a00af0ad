package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// pools looks at every address of the pools that concern this node: its role's, or all where the role is not known.
func (d *doctor) pools(ctx context.Context) []Finding {
	if d.cfg.Pools.Empty() {
		return []Finding{warning("addresses", "", "emr-static-ip doctor MASTER_IP CORE_IP... looks at them", "none are named, and no earlier run on this node named any")}
	}
	if alone, why := LeftAlone(d.cfg.Pools, d.role.Role); alone {
		return []Finding{fine("addresses", "", "%s", why)}
	}
	var findings []Finding
	for _, problem := range checkCounts(d.cfg.Pools, d.role.Role, d.files) {
		findings = append(findings, failed(ExitUsage, "addresses", "", "correct the list of addresses", "%v", problem))
	}
	if !d.known {
		return append(findings, unknown("addresses", "", "", "the subnet is not known"))
	}
	var usable []named
	var every []netip.Addr
	for _, pool := range d.cfg.Pools.named() {
		var good []netip.Addr
		for _, a := range pool.addrs {
			if f := d.misplaced(a); f.Check != "" {
				findings = append(findings, f)
			} else {
				good = append(good, a)
			}
		}
		if len(good) > 0 && (d.role.Role == "" || strings.EqualFold(pool.what, string(d.role.Role))) {
			usable = append(usable, named{pool.what, good})
		}
		every = append(every, good...)
	}
	if len(every) == 0 {
		return findings
	}
	findings = append(findings, d.holders(ctx, usable)...)
	if why := d.unasked("ec2"); why != "" {
		return append(findings, unknown("reservation", "", "", "not tried: %s", why), unknown("room", "", "", "not tried: %s", why))
	}
	return append(findings, d.reservation(ctx, every), d.room(ctx, usable))
}

// misplaced is the finding on an address that this subnet does not give to nodes; none where it does.
func (d *doctor) misplaced(a netip.Addr) Finding {
	const remedy = "correct the list of addresses"
	switch {
	case !d.id.Subnet.Contains(a):
		return failed(ExitUsage, "address", a.String(), remedy, "outside this node's subnet %s (%s)", d.id.Subnet, d.id.SubnetID)
	case reserved(d.id.Subnet, a):
		return failed(ExitUsage, "address", a.String(), remedy, "reserved by AWS: the first four and the last of %s", d.id.Subnet)
	case a == d.id.PrimaryIP:
		return failed(ExitUsage, "address", a.String(), remedy, "this node's primary IP, which EC2 gave it at launch: a static IP must be another one")
	}
	return Finding{}
}

// views are what ledger and EC2 say about addresses; an error in the place of what could not be asked.
type views struct {
	entries           map[netip.Addr]ssmcoord.Entry
	holders           map[netip.Addr]ssmcoord.Holder
	lives             map[string]ssmcoord.Life
	ledgerErr, eniErr error
}

// look asks ledger and EC2 about the addresses.
func (d *doctor) look(ctx context.Context, addrs []netip.Addr) (v views) {
	if why := d.unasked("ssm"); why != "" {
		v.ledgerErr = errors.New(why)
	} else {
		v.ledgerErr = d.call(ctx, func(ctx context.Context) (err error) {
			v.entries, err = ssmcoord.NewLedger(d.api, d.cfg.Prefix, d.id.SubnetID).Read(ctx, addrs)
			return err
		})
	}
	if why := d.unasked("ec2"); why != "" {
		v.eniErr = errors.New(why)
		return v
	}
	v.eniErr = d.call(ctx, func(ctx context.Context) (err error) {
		v.holders, err = d.ec2.Holders(ctx, addrs)
		return err
	})
	var owners []string
	for _, a := range addrs {
		if e := v.entries[a]; e.State == ssmcoord.Claimed && !slices.Contains(owners, e.Record.Instance) {
			owners = append(owners, e.Record.Instance)
		}
	}
	if len(owners) > 0 && v.eniErr == nil {
		v.eniErr = d.call(ctx, func(ctx context.Context) (err error) {
			v.lives, err = d.ec2.Lives(ctx, owners)
			return err
		})
	}
	return v
}

// holders says of each address whether a run can have it, by the decision that a run itself makes, and whether there are enough.
func (d *doctor) holders(ctx context.Context, pools []named) []Finding {
	var all []netip.Addr
	for _, p := range pools {
		all = append(all, p.addrs...)
	}
	if len(all) == 0 {
		return nil
	}
	v := d.look(ctx, all)
	if v.eniErr != nil && v.ledgerErr != nil {
		return []Finding{unknown("address", spans(all), "", "who holds them cannot be asked: %v; %v", v.eniErr, v.ledgerErr)}
	}
	var findings []Finding
	for _, p := range pools {
		var free []netip.Addr // neighbours in the list
		flush := func() {
			if len(free) > 0 {
				f := fine("address", spans(free), "%s", counted(len(free), "address: free", "addresses: free"))
				f.Addresses = free
				findings = append(findings, f)
			}
			free = nil
		}
		can, ours := 0, 0
		for _, a := range p.addrs {
			f, mine, action := d.holder(a, v)
			if action != ssmcoord.Skip {
				can++
			} else if mine {
				ours++
			}
			if action == ssmcoord.Create && f.Result == resultOK {
				if len(free) > 0 && free[len(free)-1].Next() != a {
					flush()
				}
				free = append(free, a)
				continue
			}
			flush()
			f.Addresses = []netip.Addr{a}
			findings = append(findings, f)
		}
		flush()
		if v.eniErr == nil && v.ledgerErr == nil {
			findings = append(findings, d.enough(p, can, ours))
		}
	}
	return findings
}

// holder is the finding on one address: what a run would do with it, and whether a node of this cluster has it.
func (d *doctor) holder(a netip.Addr, v views) (f Finding, ours bool, action ssmcoord.Action) {
	name := a.String()
	e, h := v.entries[a], v.holders[a]
	switch {
	case v.ledgerErr != nil && h.ENI != "":
		return unknown("address", name, "", "EC2: in use by %s; the ledger cannot be read: %v", h, v.ledgerErr), false, ssmcoord.Skip
	case v.ledgerErr != nil:
		return unknown("address", name, "", "EC2: on no network interface; the ledger cannot be read: %v", v.ledgerErr), false, ssmcoord.Skip
	case v.eniErr != nil:
		text := "no record in the ledger"
		if e.State == ssmcoord.Claimed {
			text = "the ledger names " + e.Record.Instance
		}
		return unknown("address", name, "", "%s; EC2 cannot be asked: %v", text, v.eniErr), false, ssmcoord.Skip
	}
	self := ssmcoord.Self{Instance: d.id.InstanceID, ENI: d.id.ENI, Cluster: d.cluster, Role: string(d.role.Role)}
	judged := ssmcoord.Judge(self, e, h, v.lives[e.Record.Instance], time.Now(), false)
	claimed := e.State == ssmcoord.Claimed
	ours = d.cluster != "" && (claimed && e.Record.Cluster == d.cluster || h.Cluster == d.cluster && !h.Primary)
	record := "no record in the ledger"
	if claimed {
		record = fmt.Sprintf("the ledger names %s since %s", e.Record.Instance, e.Record.Time.UTC().Format(time.RFC3339))
		if e.Record.Cluster != "" {
			record = fmt.Sprintf("the ledger names %s of cluster %s since %s", e.Record.Instance, e.Record.Cluster, e.Record.Time.UTC().Format(time.RFC3339))
		}
	}
	ledger := "--prefix " + d.cfg.Prefix
	if d.cfg.Prefix == DefaultPrefix {
		ledger = ""
	}
	ledger = strings.TrimSpace(ledger + " --subnet " + d.id.SubnetID)
	switch {
	case e.State == ssmcoord.Unreadable:
		f = warning("address", name, "emr-static-ip ledger repair "+ledger, "its record cannot be read, so that no node claims it: %v", e.Problem)
	case judged.Action == ssmcoord.Keep && (!claimed || e.Record.Instance != d.id.InstanceID):
		f = warning("address", name, "run emr-static-ip: it makes the record name this node", "on this node's interface %s, but %s", d.id.ENI, record)
	case judged.Action == ssmcoord.TakeOver:
		f = warning("address", name, "emr-static-ip ledger gc "+ledger+" removes stale claims; a run takes them over anyhow", "stale claim: %s (%s)", judged.Reason, record)
	case judged.Action != ssmcoord.Skip:
		f = fine("address", name, "%s", judged.Reason)
	case h.Primary:
		f = warning("address", name, "take it out of the list, or end that instance; a subnet CIDR reservation of type explicit keeps EC2 from handing it out", "in use by %s", h)
	case h.ENI != "" && (!claimed || e.Record.Instance != h.Instance):
		f = warning("address", name, "free it there (aws ec2 unassign-private-ip-addresses), or take it out of the list", "in use by %s, outside the ledger (%s)", h, record)
	case h.ENI != "":
		f = fine("address", name, "in use by %s (%s)", h, record)
	default:
		f = fine("address", name, "%s (%s; EC2 has it on no interface)", judged.Reason, record)
	}
	return f, ours, judged.Action
}

// enough judges whether a pool has addresses for as many nodes as the cluster was asked to have. can is how many this node could have, ours how many
// others the nodes of its cluster have.
func (d *doctor) enough(p named, can, ours int) Finding {
	wanted, from := d.files.Requested(Role(strings.ToUpper(p.what)))
	if p.what == "master" {
		wanted, from = d.files.Masters()
	}
	text := fmt.Sprintf("%d of %d can be had by a node that starts now", can, len(p.addrs))
	if ours > 0 {
		text += fmt.Sprintf(", %d are with this cluster's nodes", ours)
	}
	if from != "" {
		text += fmt.Sprintf("; %s asks for %d", from, wanted)
	}
	switch {
	case can+ours == 0, can+ours < wanted && can+ours < len(p.addrs):
		return failed(ExitNoAddress, "pool", p.what, "name more addresses, or end what holds them (see above)", "too few: %s", text)
	case can+ours < wanted:
		return warning("pool", p.what, "name more addresses", "too few: %s", text) // the list itself is: said as such
	}
	return fine("pool", p.what, "%s", text)
}

// room looks whether the network interface can take one more address.
func (d *doctor) room(ctx context.Context, pools []named) Finding {
	var own, pool []netip.Addr
	limit := 0
	err := d.call(ctx, func(ctx context.Context) (err error) {
		if own, err = d.ec2.Own(ctx); err != nil {
			return err
		}
		limit, err = d.ec2.Capacity(ctx)
		return err
	})
	for _, p := range pools {
		pool = append(pool, p.addrs...)
	}
	if err != nil {
		return unknown("room", "", "", "%v", err)
	}
	if err := CheckRoom(d.id, limit, own, pool); err != nil {
		return of(err, "room", "")
	}
	return fine("room", "", "%s has %d of the %d addresses that %s allows on an interface", d.id.ENI, len(own), limit, quoted(d.id.InstanceType))
}
