package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/check"
	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/operator"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// This file examines a subnet from outside, before there is an instance in it.

// outside examines the subnet of cfg from anywhere with credentials: what the subnet needs for
// nodes to reach AWS, who has the addresses of the list, whether they are reserved, and what a role
// may do. It changes nothing, and says what cannot be seen from there.
//
// The error is ctx's cause. The Diagnosis then has what was found before.
func outside(ctx context.Context, cfg agent.Config, env agent.Environment) (Diagnosis, error) {
	began := time.Now()
	d := Diagnosis{Findings: []Finding{}, Cluster: cfg.Cluster, Role: cfg.Role, Subnet: cfg.Subnet}
	e := &examination{cfg: cfg, env: env, diagnose: &d, reached: map[string]bool{"ec2": true, "ssm": true}, elsewhere: true}
	bounded, cancel := cfg.Bound(ctx)
	defer cancel()
	e.examineSubnet(bounded)
	d.Region = e.facts.ID.Region
	return e.ended(ctx, bounded, began)
}

// examineSubnet makes the checks in the order in which a run would hit them.
func (d *examination) examineSubnet(ctx context.Context) {
	d.report(d.ownCredentials(ctx)...)
	if !d.signs {
		return
	}
	subnet, findings := d.subnet(ctx)
	d.report(findings...)
	if subnet.VPC == "" {
		return
	}
	d.report(d.outsideList(ctx)...)
	d.report(together(
		func() []Finding { return d.waysOut(ctx, subnet) },
		func() []Finding { return d.roleMay(ctx, subnet) },
		func() []Finding { return d.pools(ctx) },
	)...)
	d.report(unknown("not-visible", "", "run emr-static-ip doctor with the same list on a node, or on any instance of the subnet with the nodes' instance profile",
		"not visible from here: whether names resolve and connections come about in the subnet (the VPC's DNS settings, network ACLs, the nodes' security groups), what the policies of VPC endpoints allow, "+
			"what the nodes' image has (kernel, iptables, systemd), EMR's files, and what --verify would reach"))
}

// ownCredentials finds the region, and the credentials of whoever runs doctor.
func (d *examination) ownCredentials(ctx context.Context) []Finding {
	wait := cmp.Or(d.cfg.IMDSTimeout, operator.IMDSTimeout)
	at, err := operator.Locate(ctx, d.env, d.cfg.Region, wait)
	if err != nil {
		return []Finding{of(err, "region", "")}
	}
	d.place = &at
	d.facts.ID.Region = at.Region
	if d.session.AWS, err = at.Open(ctx, d.env, wait); err != nil {
		return []Finding{of(d.explain(ctx, err), "credentials", "")}
	}
	d.api = withAttempts(d.session.AWS.Config)
	d.signs = true
	c, err := d.api.Credentials.Retrieve(ctx)
	if err != nil {
		return []Finding{of(exit.With(exit.Permission, err, ""), "credentials", "")}
	}
	d.account = c.AccountID
	return []Finding{fine("credentials", "", "from %s, in %s", c.Source, at.Region)}
}

// subnet looks at the subnet, and at the networks of its VPC.
func (d *examination) subnet(ctx context.Context) (ec2.SubnetDetails, []Finding) {
	vpc := ec2.NewVPC(d.askable("ec2"))
	s, err := vpc.Subnet(ctx, d.cfg.Subnet)
	switch {
	case ec2.IsNoSubnet(err):
		return s, []Finding{failed(exit.Usage, "subnet", "", "correct --subnet, or name its region with --region (aws ec2 describe-subnets)", "%s has no subnet %s", d.facts.ID.Region, d.cfg.Subnet)}
	case err != nil:
		return s, []Finding{of(d.explainCall(ctx, err), "subnet", "")}
	}
	d.facts.ID.SubnetID, d.facts.ID.Subnet, d.facts.ID.VPCID, d.facts.ID.VPC = s.ID, s.CIDR, s.VPC, []netip.Prefix{s.CIDR}
	d.facts.Cluster = d.cfg.Cluster
	d.facts.Role.Role = d.cfg.Role
	d.facts.Plain = d.cfg.Pools.Plain()
	d.session.EC2 = ec2.NewNode(d.api, d.facts.ID, d.facts.Cluster, d.env)
	public := ""
	if s.Public {
		public = "; its instances get public IPv4 addresses, so that the default of --snat-scope is private"
	}
	findings := []Finding{fine("subnet", "", "%s in %s (%s), %s%s", s.CIDR, s.VPC, s.Zone, text.Count(s.Free, "address is free", "addresses are free"), public)}
	networks, err := vpc.Networks(ctx, s.VPC)
	if err != nil {
		err = d.explainCall(ctx, err)
		return s, append(findings, unknown("vpc", "", strings.Join(exit.Remedies(err), "; or "), "%v", err))
	}
	d.facts.ID.VPC, d.vpcKnown = networks, true
	return s, findings
}

// outsideList checks the list of addresses by itself. It stores the pools in d.usable: all of them,
// or that of --role.
func (d *examination) outsideList(ctx context.Context) (findings []Finding) {
	if d.cfg.Pools.Empty() {
		return []Finding{unknown("addresses", "", "name them: emr-static-ip doctor --subnet "+d.cfg.Subnet+" MASTER_IP CORE_IP...", "none are named")}
	}
	at := check.Placed(d.cfg.Pools, d.facts.ID)
	subnet := d.facts.ID.SubnetID
	for _, p := range at.Outside.Named() {
		switch {
		case len(p.Addrs) == 0:
		case d.vpcKnown:
			findings = append(findings, failed(exit.Usage, "address", spans(p.Addrs), "correct the list of addresses", "outside the VPC %s (%s)", d.facts.ID.VPCID, at.VPC()))
		default:
			findings = append(findings, unknown("address", spans(p.Addrs), "", "not in %s (%s); whether it is in the VPC is unknown", subnet, d.facts.ID.Subnet))
		}
	}
	findings = append(findings, d.outsideOthers(ctx, at)...)
	for _, p := range at.Own.Named() {
		var good []netip.Addr
		for _, a := range p.Addrs {
			if f := d.misplaced(a); f.Check != "" {
				findings = append(findings, f)
			} else {
				good = append(good, a)
			}
		}
		d.every = append(d.every, good...)
		if len(good) > 0 && (d.cfg.Role == "" || strings.EqualFold(p.What, string(d.cfg.Role))) {
			d.usable = append(d.usable, pool.Named{What: p.What, Addrs: good})
		}
	}
	return findings
}

// outsideOthers examines the addresses that are in the VPC, but not in the subnet. A role that has
// only such addresses gets none in the subnet: that is a failure, as on a node, unless --role names
// another role.
func (d *examination) outsideOthers(ctx context.Context, at check.Placement) (findings []Finding) {
	others := at.Others
	if others.Empty() {
		return nil
	}
	for _, p := range others.Named() {
		if len(p.Addrs) == 0 || len(at.Own.For(p.Role)) > 0 {
			continue
		}
		what := fmt.Sprintf("no %s address is in %s: the list has only %s", p.What, at.Subnet(), spans(p.Addrs))
		if d.cfg.Role == "" || d.cfg.Role == p.Role {
			findings = append(findings, failed(exit.Usage, "addresses", "", at.Needed(p.Role, emr.Files{}), "%s", what))
		} else {
			findings = append(findings, warning("addresses", "", "name addresses of this subnet for that role too", "%s", what))
		}
	}
	subnets, f := d.vpcSubnets(ctx)
	if f.Check != "" {
		return append(findings, f)
	}
	for _, s := range subnets {
		in := others.In(s.CIDR, d.facts.ID.VPC)
		others = in.Others
		for _, p := range in.Own.Named() {
			if len(p.Addrs) > 0 {
				findings = append(findings, fine("addresses", "", "%s in another subnet of the VPC, %s (%s): %s", text.Count(len(p.Addrs), p.What+" address is", p.What+" addresses are"), s.CIDR, s.ID, spans(p.Addrs)))
			}
		}
	}
	return append(findings, nowhere(others)...)
}
