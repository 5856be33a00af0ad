package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/check"
	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// otherSubnets examines the addresses for nodes in other subnets of the VPC: whether the subnets
// exist, who holds the addresses there, and whether they are reserved. A fault there does not
// affect this node, so it is a warning.
func (d *examination) otherSubnets(ctx context.Context) []Finding {
	if !d.known || d.cfg.Pools.Empty() {
		return nil
	}
	others := check.Placed(d.cfg.Pools, d.facts.ID).Others
	if others.Empty() {
		return nil
	}
	subnets, f := d.vpcSubnets(ctx)
	if f.Check != "" {
		return []Finding{f}
	}
	var findings []Finding
	for _, s := range subnets {
		at := others.In(s.CIDR, d.facts.ID.VPC)
		if others = at.Others; !at.Own.Empty() {
			findings = append(findings, d.otherSubnet(ctx, s.ID, s.CIDR, at.Own)...)
		}
	}
	return append(findings, nowhere(others)...)
}

// vpcSubnets returns the subnets of the VPC, or the finding that says why they are not known.
func (d *examination) vpcSubnets(ctx context.Context) ([]ec2.Subnet, Finding) {
	if why := d.unasked("ec2"); why != "" {
		return nil, unknown("subnets", "", "", "not tried: %s", why)
	}
	if d.facts.ID.VPCID == "" {
		return nil, unknown("subnets", "", "", "IMDS does not tell the VPC's id")
	}
	var subnets []ec2.Subnet
	err := d.call(ctx, func(ctx context.Context) (err error) {
		subnets, err = d.session.EC2.Subnets(ctx)
		return err
	})
	switch {
	case ec2.IsPermission(err):
		return nil, unknown("subnets", "", strings.Join(exit.Remedies(err), "; "), "the addresses for other subnets cannot be looked at: ec2:DescribeSubnets is denied")
	case err != nil:
		return nil, unknown("subnets", "", strings.Join(exit.Remedies(err), "; "), "%v", err)
	}
	return subnets, Finding{}
}

// nowhere warns of addresses that are in the VPC, but in none of its subnets.
func nowhere(pools agent.Pools) (findings []Finding) {
	for _, p := range pools.Named() {
		if len(p.Addrs) > 0 {
			findings = append(findings, warning("address", spans(p.Addrs), "correct the list of addresses", "in no subnet of the VPC: no %s node can have it", p.What))
		}
	}
	return findings
}

// otherSubnet examines the addresses of one other subnet as a node there would.
func (d *examination) otherSubnet(ctx context.Context, id string, cidr netip.Prefix, own agent.Pools) []Finding {
	there := examination{cfg: d.cfg, env: d.env, facts: d.facts, api: d.api, signs: d.signs, reached: d.reached, elsewhere: true}
	there.session.AWS = d.session.AWS
	there.facts.ID.SubnetID, there.facts.ID.Subnet, there.facts.ID.ENI = id, cidr, ""
	there.session.EC2 = ec2.NewNode(d.api, there.facts.ID, d.facts.Cluster, d.env)
	there.session.EC2.Role, there.session.EC2.Plain = d.facts.Role.Role, d.facts.Plain
	var findings []Finding
	var usable []pool.Named
	var all []netip.Addr
	for _, p := range own.Named() {
		var good []netip.Addr
		for _, a := range p.Addrs {
			if f := there.misplaced(a); f.Check != "" {
				findings = append(findings, f)
			} else {
				good = append(good, a)
			}
		}
		if len(good) > 0 {
			usable = append(usable, pool.Named{What: p.What, Addrs: good})
		}
		all = append(all, good...)
	}
	findings = append(findings, there.holders(ctx, usable)...)
	if len(all) > 0 {
		findings = append(findings, there.reservation(ctx, all))
	}
	for i := range findings {
		f := &findings[i]
		if f.Result == resultFailed {
			f.Result, f.ExitCode = resultWarning, 0
		}
		switch f.Check {
		case "pool":
			f.Subject = fmt.Sprintf("%s in %s", f.Subject, id)
		case "reservation":
			f.Subject = id
		}
	}
	return append([]Finding{fine("subnets", id, "%s: %s of the list", cidr, text.Count(len(all), "address", "addresses"))}, findings...)
}
