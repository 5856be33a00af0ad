package ec2

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// VPC is what anybody with credentials sees of a VPC and its subnets.
type VPC struct{ api *ec2.Client }

// NewVPC returns a VPC with these credentials. It calls nothing.
func NewVPC(cfg aws.Config) VPC { return VPC{ec2.NewFromConfig(cfg)} }

// SubnetDetails is a subnet as EC2 describes it.
type SubnetDetails struct {
	ID, VPC, Zone string
	Owner         string // account
	CIDR          netip.Prefix
	Free          int  // addresses that EC2 could still give
	Public        bool // instances get a public IPv4 address at launch
}

// Subnet describes a subnet.
func (v VPC) Subnet(ctx context.Context, id string) (SubnetDetails, error) {
	out, err := v.api.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{id}})
	if err != nil {
		return SubnetDetails{}, fmt.Errorf("asking EC2 for the subnet %s: %w", text.Quote(id), err)
	}
	for _, s := range out.Subnets {
		if aws.ToString(s.SubnetId) != id {
			continue
		}
		cidr, err := readNetwork(aws.ToString(s.CidrBlock))
		if err != nil {
			return SubnetDetails{}, fmt.Errorf("asking EC2 for the subnet %s: %s %w", text.Quote(id), text.Quote(aws.ToString(s.CidrBlock)), err)
		}
		return SubnetDetails{
			ID: id, VPC: word(s.VpcId), Zone: word(s.AvailabilityZone), Owner: word(s.OwnerId), CIDR: cidr,
			Free: int(aws.ToInt32(s.AvailableIpAddressCount)), Public: aws.ToBool(s.MapPublicIpOnLaunch),
		}, nil
	}
	return SubnetDetails{}, fmt.Errorf("asking EC2 for the subnet %s: EC2 does not list it", text.Quote(id))
}

// IsNoSubnet reports whether there is no such subnet.
func IsNoSubnet(err error) bool {
	return ErrorCode(err) == "InvalidSubnetID.NotFound" || ErrorCode(err) == "InvalidSubnetId.Malformed"
}

// Networks returns the IPv4 networks of a VPC.
func (v VPC) Networks(ctx context.Context, vpc string) (list []netip.Prefix, err error) {
	out, err := v.api.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{vpc}})
	if err != nil {
		return nil, fmt.Errorf("asking EC2 for the networks of %s: %w", vpc, err)
	}
	for _, x := range out.Vpcs {
		for _, a := range x.CidrBlockAssociationSet {
			if a.CidrBlockState != nil && a.CidrBlockState.State != types.VpcCidrBlockStateCodeAssociated {
				continue
			}
			p, err := readNetwork(aws.ToString(a.CidrBlock))
			if err != nil {
				return nil, fmt.Errorf("asking EC2 for the networks of %s: %s %w", vpc, text.Quote(aws.ToString(a.CidrBlock)), err)
			}
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("asking EC2 for the networks of %s: EC2 lists none", vpc)
	}
	return list, nil
}

// VPCEndpoint is a VPC endpoint.
type VPCEndpoint struct {
	ID, Service string
	Gateway     bool
	Available   bool
	State       string // in AWS's words
	PrivateDNS  bool
	Groups      []string // security groups of an interface endpoint
	Tables      []string // route tables of a gateway endpoint
	Limited     bool     // its policy does not allow everything to everybody
}

// Endpoints returns the interface and gateway endpoints of a VPC.
func (v VPC) Endpoints(ctx context.Context, vpc string) (list []VPCEndpoint, err error) {
	pages := ec2.NewDescribeVpcEndpointsPaginator(v.api, &ec2.DescribeVpcEndpointsInput{Filters: []types.Filter{filter("vpc-id", vpc)}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("asking EC2 for the VPC endpoints of %s: %w", vpc, err)
		}
		for _, e := range page.VpcEndpoints {
			kind := e.VpcEndpointType
			if kind != types.VpcEndpointTypeInterface && kind != types.VpcEndpointTypeGateway {
				continue
			}
			x := VPCEndpoint{
				ID: word(e.VpcEndpointId), Service: word(e.ServiceName), Gateway: kind == types.VpcEndpointTypeGateway, State: text.Clean(string(e.State), text.MaxQuoted),
				Available: strings.EqualFold(string(e.State), string(types.StateAvailable)), PrivateDNS: aws.ToBool(e.PrivateDnsEnabled),
				Tables: e.RouteTableIds, Limited: !allowsAll(aws.ToString(e.PolicyDocument)),
			}
			for _, g := range e.Groups {
				x.Groups = append(x.Groups, word(g.GroupId))
			}
			list = append(list, x)
		}
	}
	return list, nil
}

// allowsAll reports whether the policy of an endpoint is the one that it has by default.
func allowsAll(document string) bool {
	var policy struct{ Statement []map[string]any }
	if json.Unmarshal([]byte(document), &policy) != nil || len(policy.Statement) != 1 {
		return document == ""
	}
	s := policy.Statement[0]
	return s["Effect"] == "Allow" && s["Action"] == "*" && s["Resource"] == "*" && s["Principal"] == "*" && s["Condition"] == nil
}

// RouteTable is the route table of a subnet.
type RouteTable struct {
	ID string
	// Default is where packets to the rest of the world go: igw-..., nat-..., tgw-..., or empty if
	// they go nowhere.
	Default string
}

// RouteTable returns the route table of a subnet: its own, or the VPC's main one.
func (v VPC) RouteTable(ctx context.Context, vpc, subnet string) (RouteTable, error) {
	for _, filters := range [][]types.Filter{
		{filter("association.subnet-id", subnet)},
		{filter("vpc-id", vpc), filter("association.main", "true")},
	} {
		out, err := v.api.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: filters})
		if err != nil {
			return RouteTable{}, fmt.Errorf("asking EC2 for the route table of %s: %w", subnet, err)
		}
		for _, t := range out.RouteTables {
			table := RouteTable{ID: word(t.RouteTableId)}
			for _, r := range t.Routes {
				if aws.ToString(r.DestinationCidrBlock) == "0.0.0.0/0" && r.State == types.RouteStateActive {
					table.Default = target(r)
				}
			}
			return table, nil
		}
	}
	return RouteTable{}, fmt.Errorf("asking EC2 for the route table of %s: EC2 lists none", subnet)
}

// target returns where a route leads to.
func target(r types.Route) string {
	for _, id := range []*string{r.NatGatewayId, r.GatewayId, r.TransitGatewayId, r.VpcPeeringConnectionId, r.LocalGatewayId, r.CarrierGatewayId, r.CoreNetworkArn, r.NetworkInterfaceId, r.InstanceId} {
		if s := word(id); s != "" {
			return s
		}
	}
	return "a target of an unknown kind"
}

// Admission is who may connect to the members of some security groups at a TCP port.
type Admission struct {
	Networks []netip.Prefix
	Groups   []string // security groups whose members may
}

// All reports whether every address of the network may connect.
func (a Admission) All(network netip.Prefix) bool {
	return slices.ContainsFunc(a.Networks, func(p netip.Prefix) bool { return p.Bits() <= network.Bits() && p.Contains(network.Addr()) })
}

// Admits returns who may connect to the members of these security groups.
func (v VPC) Admits(ctx context.Context, groups []string, port int32) (a Admission, err error) {
	out, err := v.api.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: groups})
	if err != nil {
		return a, fmt.Errorf("asking EC2 for the security groups %s: %w", strings.Join(groups, ", "), err)
	}
	for _, g := range out.SecurityGroups {
		for _, rule := range g.IpPermissions {
			all := aws.ToString(rule.IpProtocol) == "-1"
			if !all && (aws.ToString(rule.IpProtocol) != "tcp" || aws.ToInt32(rule.FromPort) > port || aws.ToInt32(rule.ToPort) < port) {
				continue
			}
			for _, r := range rule.IpRanges {
				p, err := readNetwork(aws.ToString(r.CidrIp))
				if err != nil {
					return a, fmt.Errorf("asking EC2 for the security groups %s: %s %w", strings.Join(groups, ", "), text.Quote(aws.ToString(r.CidrIp)), err)
				}
				a.Networks = append(a.Networks, p)
			}
			for _, from := range rule.UserIdGroupPairs {
				a.Groups = append(a.Groups, word(from.GroupId))
			}
			for _, from := range rule.PrefixListIds {
				a.Groups = append(a.Groups, word(from.PrefixListId))
			}
		}
	}
	return a, nil
}

// word returns an id or a name in an answer of AWS as text for a message.
func word(s *string) string { return text.Clean(aws.ToString(s), text.MaxQuoted) }
