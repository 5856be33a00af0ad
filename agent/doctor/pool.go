package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// pools examines who holds the addresses that this subnet can give, what a run would do, and
// whether the addresses are reserved.
func (d *examination) pools(ctx context.Context) []Finding {
	if len(d.every) == 0 {
		return nil
	}
	findings := d.holders(ctx, d.usable)
	if why := d.unasked("ec2"); why != "" {
		return append(findings, unknown("reservation", "", "", "not tried: %s", why))
	}
	return append(findings, d.reservation(ctx, d.every))
}

// holders says of each address whether a run can have it, with the verdict of the run's own
// coordinator, and whether there are enough.
func (d *examination) holders(ctx context.Context, pools []pool.Named) []Finding {
	var all []netip.Addr
	for _, p := range pools {
		all = append(all, p.Addrs...)
	}
	if len(all) == 0 {
		return nil
	}
	programmed, err := d.programmedStatics(ctx)
	v := d.look(ctx, all, programmed)
	if v.planned && err != nil {
		v.Err = err
	}
	d.seen = v
	if v.EC2Err != nil && v.LedgerErr != nil {
		return []Finding{unknown("address", spans(all), "", "their holders cannot be read: %v; %v", v.EC2Err, v.LedgerErr)}
	}
	var findings []Finding
	for _, p := range pools {
		var free []netip.Addr // neighbours in the list
		flush := func() {
			if len(free) > 0 {
				f := fine("address", spans(free), "%s", text.Count(len(free), "address: free", "addresses: free"))
				f.Addresses = free
				findings = append(findings, f)
			}
			free = nil
		}
		can, nodes := 0, 0
		for _, a := range p.Addrs {
			f, node, action := d.holder(a, v)
			if action != ssmcoord.Skip {
				can++
			} else if node {
				nodes++
			}
			if action == ssmcoord.Take && f.Result == resultOK {
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
		if len(v.Verdicts) > 0 {
			findings = append(findings, d.enough(p, can, nodes, v))
		}
	}
	return findings
}

// holder returns the finding on one address: whether a run could take it. node reports whether a
// node of this cluster has it, or, outside EMR, a node of any cluster.
func (d *examination) holder(a netip.Addr, v views) (f Finding, node bool, action ssmcoord.Action) {
	name := a.String()
	e, h := v.Entries[a], v.Holders[a]
	switch {
	case v.LedgerErr != nil && h.ENI != "":
		return unknown("address", name, "", "EC2: in use by %s; the ledger cannot be read: %v", h, v.LedgerErr), false, ssmcoord.Skip
	case v.LedgerErr != nil:
		return unknown("address", name, "", "EC2: on no network interface; the ledger cannot be read: %v", v.LedgerErr), false, ssmcoord.Skip
	case v.EC2Err != nil:
		text := "no record in the ledger"
		if e.State == ssmcoord.Claimed {
			text = "the ledger names " + e.Record.Instance
		}
		return unknown("address", name, "", "%s; EC2 cannot be asked: %v", text, v.EC2Err), false, ssmcoord.Skip
	}
	judged := v.Verdicts[a]
	claimed := e.State == ssmcoord.Claimed
	of := func(cluster string) bool {
		if d.facts.Plain {
			return cluster == ""
		}
		return cluster != "" && (cluster == d.facts.Cluster || d.facts.Cluster == "" && d.facts.Files.Empty())
	}
	node = claimed && of(e.Record.Cluster) || h.Cluster != "" && of(h.Cluster) && !h.Primary
	record := "no record in the ledger"
	if claimed {
		record = fmt.Sprintf("the ledger names %s since %s", e.Record.Instance, e.Record.Time.UTC().Format(time.RFC3339))
		if e.Record.Cluster != "" {
			record = fmt.Sprintf("the ledger names %s of cluster %s since %s", e.Record.Instance, e.Record.Cluster, e.Record.Time.UTC().Format(time.RFC3339))
		}
	}
	ledger := "--prefix " + d.cfg.Prefix
	if d.cfg.Prefix == agent.DefaultPrefix {
		ledger = ""
	}
	ledger = strings.TrimSpace(ledger + " --subnet " + d.facts.ID.SubnetID)
	switch {
	case e.State == ssmcoord.Unreadable:
		f = warning("address", name, "emr-static-ip ledger repair "+ledger, "its record cannot be read, so that no node takes it: %v", e.Problem)
	case judged.Action == ssmcoord.Keep:
		f = d.carried(a, v, record)
	case judged.Action == ssmcoord.TakeOver:
		f = warning("address", name, "emr-static-ip ledger gc "+ledger+" removes stale records; a run takes them over in any case", "stale record: %s (%s)", judged.Reason, record)
	case judged.Action != ssmcoord.Skip:
		f = fine("address", name, "%s", judged.Reason)
	case h.Primary:
		f = warning("address", name, "take it out of the list, or end that instance; a subnet CIDR reservation of type explicit keeps EC2 from handing it out", "in use by %s", h)
	case h.ENI != "" && (!claimed || e.Record.Instance != h.Instance):
		f = warning("address", name, "free it: "+h.Unassign(a)+"; or take it out of the list", "in use by %s; %s", h, record)
	case h.ENI != "":
		f = fine("address", name, "in use by %s (%s)", h, record)
	default:
		f = fine("address", name, "%s (%s; EC2 has it on no interface)", judged.Reason, record)
	}
	return f, node, judged.Action
}

// carried returns the finding on an address that the node's interface carries: what a run does with
// it. record says in words what the ledger has.
func (d *examination) carried(a netip.Addr, v views, record string) Finding {
	at := fmt.Sprintf("on this node's interface %s", d.facts.ID.ENI)
	is := func(op ssmcoord.Op) func(ssmcoord.Step) bool {
		return func(s ssmcoord.Step) bool { return s.Op == op && s.Addr == a }
	}
	switch {
	case !v.planned || v.Err != nil:
		return fine("address", a.String(), "%s (%s)", at, record)
	case slices.ContainsFunc(v.Plan.Settle, is(ssmcoord.OpRecord)):
		return warning("address", a.String(), "run emr-static-ip: it makes the record name this node", "%s, but %s", at, record)
	case a == v.Plan.Addr:
		return fine("address", a.String(), "%s", v.Verdicts[a].Reason)
	case slices.ContainsFunc(v.Plan.Settle, is(ssmcoord.OpGiveBack)):
		return warning("address", a.String(), "run emr-static-ip: it gives the address back", "%s beside %s; %s", at, v.Plan.Addr, record)
	}
	h := v.Holders[a]
	return warning("address", a.String(), "if nobody needs it: "+h.Unassign(a), "%s beside %s, and this tool did not assign it: a run leaves it there; %s", at, v.Plan.Addr, record)
}

// enough checks that a pool has addresses for as many nodes as the cluster was asked to have. can
// counts the addresses that a new node could get, nodes those that other nodes of the cluster have.
// Outside EMR, nodes counts those of every cluster: doctor may be run for one of them.
//
// If this node's own run is certain to find none, its plan says so, whatever the counts.
func (d *examination) enough(p pool.Named, can, nodes int, v views) Finding {
	fails := can+nodes == 0
	if v.planned {
		fails = v.exhausted()
	}
	wanted, from := d.facts.Files.Requested(emr.Role(strings.ToUpper(p.What)))
	if p.What == "master" {
		wanted, from = d.facts.Files.Masters()
	}
	text := fmt.Sprintf("%d of %d addresses available to a new node", can, len(p.Addrs))
	holders := "this cluster's nodes"
	if d.facts.Plain {
		holders = "other instances"
	} else if d.facts.Files.Empty() {
		holders = "nodes of EMR clusters"
	}
	if nodes > 0 {
		text += fmt.Sprintf("; %d held by %s", nodes, holders)
	}
	if from != "" {
		text += fmt.Sprintf("; %s asks for %d", from, wanted)
	}
	switch {
	case fails:
		return failed(exit.NoAddress, "pool", p.What, "name more addresses, or end what holds them (see above)", "too few: %s", text)
	case can+nodes < wanted:
		return warning("pool", p.What, "name more addresses, or end what holds them (see above)", "too few for all nodes of the cluster: %s", text)
	case can == 0 && d.facts.Files.Empty():
		return warning("pool", p.What, "name more addresses for further nodes, or for a second cluster", "all in use: %s", text)
	}
	return fine("pool", p.What, "%s", text)
}
