package doctor

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/check"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// listFindings checks the list of addresses by itself, as a run does before its first call: region,
// counts, subnet. It stores the pools of this node's role in d.usable, or all pools if the role is
// unknown.
//
// d.refused says whether a run would refuse the list.
func (d *examination) listFindings() (findings []Finding) {
	defer func() {
		d.refused = slices.ContainsFunc(findings, func(f Finding) bool { return f.Result == resultFailed })
	}()
	if err := check.Region(d.cfg.Region, d.facts.ID); err != nil && d.known {
		findings = append(findings, of(err, "region", ""))
	} else if d.cfg.Region != "" && d.known {
		findings = append(findings, fine("region", "", "%s, as the list says", d.facts.ID.Region))
	}
	const command = "name them: emr-static-ip doctor MASTER_IP CORE_IP..., or outside EMR --ips IPS"
	switch alone, why := check.LeftAlone(d.cfg.Pools, d.facts.Role.Role); {
	case alone:
		return append(findings, fine("addresses", "", "%s", why))
	case d.cfg.Pools.Empty() && d.stateErr != nil:
		return append(findings, unknown("addresses", "", command, "none are named, and those of the last run cannot be read"))
	case d.cfg.Pools.Empty():
		return append(findings, failed(exit.Usage, "addresses", "", command, "none are named, and no earlier run on this node named any"))
	}
	claimant := d.claimant()
	if err := claimant.CheckPrefix(); err != nil {
		findings = append(findings, of(err, "prefix", ""))
	}
	at := check.Placement{Placement: pool.Placement{Own: d.cfg.Pools}}
	if d.known {
		at = check.Placed(d.cfg.Pools, d.facts.ID)
	}
	role := d.facts.Role.Role
	own := at.Own.For(role)
	has := slices.ContainsFunc(d.facts.ID.Addresses, func(a netip.Addr) bool { return slices.Contains(own, a) }) || slices.Contains(own, d.last.Static)
	problems, hints := check.Counts(d.cfg.Pools, at.Own, role, d.facts.Files, has)
	for _, problem := range problems {
		findings = append(findings, failed(exit.Usage, "addresses", "", check.MoreAddresses, "%v", problem))
	}
	for _, hint := range hints {
		findings = append(findings, warning("addresses", "", check.MoreAddresses, "%s", hint))
	}
	if !d.known {
		return append(findings, unknown("addresses", "", "", "the subnet is not known"))
	}
	findings = append(findings, d.placeFindings(at)...)
	for _, set := range at.Own.Named() {
		var good []netip.Addr
		for _, a := range set.Addrs {
			if f := d.misplaced(a); f.Check != "" {
				findings = append(findings, f)
			} else {
				good = append(good, a)
			}
		}
		if len(good) > 0 && (d.facts.Role.Role == "" || strings.EqualFold(set.What, string(d.facts.Role.Role))) {
			d.usable = append(d.usable, pool.Named{What: set.What, Addrs: good})
		}
		d.every = append(d.every, good...)
	}
	return findings
}

// placeFindings reports the addresses of other subnets, and the SNAT scope that a public address
// requires.
func (d *examination) placeFindings(at check.Placement) (findings []Finding) {
	for _, set := range at.Outside.Named() {
		for _, a := range set.Addrs {
			findings = append(findings, failed(exit.Usage, "address", a.String(), "correct the list of addresses", "outside the VPC (%s): this node's subnet is %s", at.VPC(), at.Subnet()))
		}
	}
	warnings, problem := at.Missing(d.facts.Role.Role)
	if problem != nil {
		findings = append(findings, failed(exit.Usage, "addresses", "", at.Needed(d.facts.Role.Role, d.facts.Files), "%v", problem))
	}
	for _, text := range warnings {
		findings = append(findings, warning("addresses", "", "name addresses of this subnet for that role too", "%s", text))
	}
	for _, text := range at.Notes() {
		findings = append(findings, fine("addresses", "", "%s", text))
	}
	if err := d.cfg.CheckScope(d.facts.ID); err != nil {
		return append(findings, of(err, "scope", ""))
	}
	if d.derivesAnew() {
		findings = append(findings, warning("scope", "", "run emr-static-ip again", "%s", agent.PublicGone(d.last.Settings)))
	}
	for _, text := range d.cfg.ScopeNotes(d.facts.ID) {
		findings = append(findings, fine("scope", "", "%s", text))
	}
	if text := d.cfg.ScopeWarning(d.facts.ID); text != "" {
		findings = append(findings, warning("scope", "", "", "%s", text))
	}
	return findings
}

// misplaced returns the finding on an address that this subnet does not give to nodes, or an empty
// one.
func (d *examination) misplaced(a netip.Addr) Finding {
	const remedy = "correct the list of addresses"
	switch {
	case check.Reserved(d.facts.ID.Subnet, a):
		return failed(exit.Usage, "address", a.String(), remedy, "reserved by AWS: the first four and the last of %s", d.facts.ID.Subnet)
	case a == d.facts.ID.PrimaryIP:
		return failed(exit.Usage, "address", a.String(), remedy, "this node's primary IP, which EC2 gave it at launch: a static IP must be another one")
	}
	return Finding{}
}

// room checks that the network interface can take one more address.
func (d *examination) room(ctx context.Context) Finding {
	if len(d.every) == 0 {
		return Finding{}
	}
	if why := d.unasked("ec2"); why != "" {
		return unknown("room", "", "", "not tried: %s", why)
	}
	var own, pool []netip.Addr
	limit := 0
	err := d.call(ctx, func(ctx context.Context) (err error) {
		if own, err = d.session.EC2.Own(ctx); err != nil {
			return err
		}
		limit, err = d.session.EC2.Capacity(ctx)
		return err
	})
	for _, p := range d.usable {
		pool = append(pool, p.Addrs...)
	}
	if err != nil {
		return unknown("room", "", "", "%v", err)
	}
	if err := check.Room(d.facts.ID, limit, own, pool); err != nil {
		return of(err, "room", "")
	}
	return fine("room", "", "%s has %d of the %d addresses that %s allows on an interface", d.facts.ID.ENI, len(own), limit, text.Quote(d.facts.ID.InstanceType))
}
