package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

// This file finds the ways from a subnet to AWS, by what EC2 says of its VPC.

// vpcWays is what EC2 says of the ways out of a subnet.
type vpcWays struct {
	subnet    ec2.SubnetDetails
	endpoints []ec2.VPCEndpoint
	table     ec2.RouteTable
	endErr    error // of endpoints
	tableErr  error
}

// https is the port of AWS's endpoints.
const https = 443

// waysOut examines how nodes in the subnet would reach ssm and ec2, which a run needs, and s3, from
// which EMR loads.
func (d *examination) waysOut(ctx context.Context, subnet ec2.SubnetDetails) (findings []Finding) {
	vpc := ec2.NewVPC(d.askable("ec2"))
	w := vpcWays{subnet: subnet}
	if w.endpoints, w.endErr = vpc.Endpoints(ctx, subnet.VPC); w.endErr != nil {
		w.endErr = d.explainCall(ctx, w.endErr)
		findings = append(findings, unknown("endpoints", "", strings.Join(exit.Remedies(w.endErr), "; or "), "%v", w.endErr))
	}
	if w.table, w.tableErr = vpc.RouteTable(ctx, subnet.VPC, subnet.ID); w.tableErr != nil {
		w.tableErr = d.explainCall(ctx, w.tableErr)
		findings = append(findings, unknown("route", "", strings.Join(exit.Remedies(w.tableErr), "; or "), "%v", w.tableErr))
	}
	for _, service := range []string{"ssm", "ec2", "s3"} {
		f := d.way(ctx, vpc, w, service)
		if service == "s3" && f.Result == resultFailed { // for information, as on a node
			f.Result, f.ExitCode = resultWarning, 0
		}
		findings = append(findings, f)
	}
	return findings
}

// way returns the finding on the way to one service: a VPC endpoint, or else the default route.
func (d *examination) way(ctx context.Context, vpc ec2.VPC, w vpcWays, service string) Finding {
	name := ec2.EndpointService(d.facts.ID.Region, service)
	var flaws []string // why the VPC's endpoints of this service are no way
	var remedies []string
	flaw := func(remedy, format string, args ...any) {
		flaws, remedies = append(flaws, fmt.Sprintf(format, args...)), append(remedies, remedy)
	}
	for _, e := range w.endpoints {
		if e.Service != name {
			continue
		}
		switch {
		case !e.Available:
			flaw("look at the endpoint: aws ec2 describe-vpc-endpoints --vpc-endpoint-ids "+e.ID, "%s is %s", e.ID, e.State)
		case e.Gateway && w.tableErr != nil:
			return unknown("endpoint", service, "", "the gateway endpoint %s is there; whether the subnet's route table has it is unknown", e.ID)
		case e.Gateway && slices.Contains(e.Tables, w.table.ID):
			return fine("endpoint", service, "the gateway endpoint %s is in the subnet's route table %s%s", e.ID, w.table.ID, limited(e))
		case e.Gateway:
			flaw(fmt.Sprintf("aws ec2 modify-vpc-endpoint --vpc-endpoint-id %s --add-route-table-ids %s", e.ID, w.table.ID), "the gateway endpoint %s is not in the subnet's route table %s", e.ID, w.table.ID)
		case !e.PrivateDNS:
			flaw(fmt.Sprintf("aws ec2 modify-vpc-endpoint --vpc-endpoint-id %s --private-dns-enabled", e.ID), "the interface endpoint %s has no private DNS, so that the service's name does not lead there", e.ID)
		default: // the service's name leads there, and nowhere else
			return d.admission(ctx, vpc, w, service, e)
		}
	}
	f := d.routed(w, service, name)
	if len(flaws) > 0 {
		f.Detail = strings.Join(flaws, "; ") + "; " + f.Detail
		if f.Result == resultFailed {
			f.Remedy = strings.Join(remedies, "; or ")
		}
	}
	return f
}

// limited says that the endpoint has a policy of its own.
func limited(e ec2.VPCEndpoint) string {
	if !e.Limited {
		return ""
	}
	return "; it has a policy of its own, which is not looked at here"
}

// admission returns the finding on an interface endpoint to which the service's name leads.
func (d *examination) admission(ctx context.Context, vpc ec2.VPC, w vpcWays, service string, e ec2.VPCEndpoint) Finding {
	there := fmt.Sprintf("the interface endpoint %s (%s) has the service's name", e.ID, strings.Join(e.Groups, ", "))
	a, err := vpc.Admits(ctx, e.Groups, https)
	if err != nil {
		err = d.explainCall(ctx, err)
		return unknown("endpoint", service, strings.Join(exit.Remedies(err), "; or "), "%s; whether its security groups admit the nodes is unknown: %v", there, err)
	}
	group := "GROUP"
	if len(e.Groups) > 0 {
		group = e.Groups[0]
	}
	admit := fmt.Sprintf("aws ec2 authorize-security-group-ingress --group-id %s --protocol tcp --port %d --cidr %s", group, https, w.subnet.CIDR)
	switch {
	case a.All(w.subnet.CIDR):
		return fine("endpoint", service, "%s, and admits TCP %d from %s%s", there, https, w.subnet.CIDR, limited(e))
	case len(a.Groups) > 0:
		return warning("endpoint", service, admit+"; or see that the nodes are in one of these groups", "%s, and admits TCP %d only from %s%s", there, https, strings.Join(a.Groups, ", "), limited(e))
	}
	return failed(exit.Unreachable, "endpoint", service, admit, "%s, and its security groups do not admit TCP %d from %s", there, https, w.subnet.CIDR)
}

// routed returns the finding on a service that no VPC endpoint leads to: the default route decides.
func (d *examination) routed(w vpcWays, service, name string) Finding {
	kind := "interface, private DNS on, its security group admitting TCP 443 from " + w.subnet.CIDR.String()
	if service == "s3" {
		kind = "gateway, in the route table " + w.table.ID
	}
	create := fmt.Sprintf("create the VPC endpoint %s (%s), or give the subnet a route to a NAT gateway", name, kind)
	through := "no VPC endpoint that is a way there was found; "
	if w.endErr != nil {
		through = "the VPC endpoints are unknown; "
	}
	prefix, _, _ := strings.Cut(w.table.Default, "-")
	switch {
	case w.tableErr != nil:
		return unknown("endpoint", service, "", "%sthe route table is unknown", through)
	case prefix == "nat":
		return fine("endpoint", service, "through the NAT gateway %s", w.table.Default)
	case prefix == "igw" && w.subnet.Public:
		return fine("endpoint", service, "through the Internet gateway %s, with the nodes' public addresses", w.table.Default)
	case prefix == "igw":
		return warning("endpoint", service, "have the subnet give public addresses at launch, or "+create,
			"%sthe default route leads to the Internet gateway %s, and nodes without a public IPv4 address do not get through", through, w.table.Default)
	case w.table.Default != "":
		return unknown("endpoint", service, create, "%sthe default route leads to %s: whether that reaches AWS is not visible from here", through, w.table.Default)
	case w.endErr != nil:
		return unknown("endpoint", service, "", "%sthe route table %s has no default route", through, w.table.ID)
	case d.account != "" && w.subnet.Owner != "" && d.account != w.subnet.Owner:
		return unknown("endpoint", service, "ask the owner of the VPC (account "+w.subnet.Owner+") to "+create, "%sthe route table %s has no default route. The subnet is shared: its owner's endpoints may not be visible", through, w.table.ID)
	}
	return failed(exit.Unreachable, "endpoint", service, create, "%sthe route table %s of the subnet has no default route", through, w.table.ID)
}
