package ec2

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// VPC is what anybody with credentials sees of a VPC and its subnets.
type VPC struct{ api Describer }

// NewVPC returns a VPC with these credentials. It calls nothing.
func NewVPC(cfg aws.Config) VPC { return VPC{NewDescriber(cfg)} }

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
	list, err := describe[subnet](ctx, v.api, "DescribeSubnets", "subnetSet", named("SubnetId", id))
	if err != nil {
		return SubnetDetails{}, fmt.Errorf("asking EC2 for the subnet %s: %w", text.Quote(id), err)
	}
	for _, s := range list {
		if s.ID != id {
			continue
		}
		cidr, err := readNetwork(s.CIDR)
		if err != nil {
			return SubnetDetails{}, fmt.Errorf("asking EC2 for the subnet %s: %s %w", text.Quote(id), text.Quote(s.CIDR), err)
		}
		return SubnetDetails{ID: id, VPC: word(s.VPC), Zone: word(s.Zone), Owner: word(s.Owner), CIDR: cidr, Free: int(s.Free), Public: s.Public}, nil
	}
	return SubnetDetails{}, fmt.Errorf("asking EC2 for the subnet %s: EC2 does not list it", text.Quote(id))
}

// IsNoSubnet reports whether there is no such subnet.
func IsNoSubnet(err error) bool {
	return ErrorCode(err) == "InvalidSubnetID.NotFound" || ErrorCode(err) == "InvalidSubnetId.Malformed"
}

// vpcNetworks is an item of DescribeVpcs.
type vpcNetworks struct {
	Associations []struct {
		CIDR  string `xml:"cidrBlock"`
		State string `xml:"cidrBlockState>state"` // empty: EC2 does not say
	} `xml:"cidrBlockAssociationSet>item"`
}

// Networks returns the IPv4 networks of a VPC.
func (v VPC) Networks(ctx context.Context, vpc string) (list []netip.Prefix, err error) {
	vpcs, err := describe[vpcNetworks](ctx, v.api, "DescribeVpcs", "vpcSet", named("VpcId", vpc))
	if err != nil {
		return nil, fmt.Errorf("asking EC2 for the networks of %s: %w", vpc, err)
	}
	for _, x := range vpcs {
		for _, a := range x.Associations {
			if a.State != "" && a.State != string(types.VpcCidrBlockStateCodeAssociated) {
				continue
			}
			p, err := readNetwork(a.CIDR)
			if err != nil {
				return nil, fmt.Errorf("asking EC2 for the networks of %s: %s %w", vpc, text.Quote(a.CIDR), err)
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

// vpcEndpoint is an item of DescribeVpcEndpoints.
type vpcEndpoint struct {
	ID         string   `xml:"vpcEndpointId"`
	Type       string   `xml:"vpcEndpointType"` // Interface, Gateway
	Service    string   `xml:"serviceName"`
	State      string   `xml:"state"`
	PrivateDNS bool     `xml:"privateDnsEnabled"`
	Groups     []string `xml:"groupSet>item>groupId"`
	Tables     []string `xml:"routeTableIdSet>item"`
	Policy     string   `xml:"policyDocument"`
}

// Endpoints returns the interface and gateway endpoints of a VPC.
func (v VPC) Endpoints(ctx context.Context, vpc string) (list []VPCEndpoint, err error) {
	all, err := describe[vpcEndpoint](ctx, v.api, "DescribeVpcEndpoints", "vpcEndpointSet", filtered(filter("vpc-id", vpc)))
	if err != nil {
		return nil, fmt.Errorf("asking EC2 for the VPC endpoints of %s: %w", vpc, err)
	}
	for _, e := range all {
		if e.Type != string(types.VpcEndpointTypeInterface) && e.Type != string(types.VpcEndpointTypeGateway) {
			continue
		}
		list = append(list, VPCEndpoint{
			ID: word(e.ID), Service: word(e.Service), Gateway: e.Type == string(types.VpcEndpointTypeGateway), State: word(e.State),
			Available: strings.EqualFold(e.State, string(types.StateAvailable)), PrivateDNS: e.PrivateDNS,
			Groups: words(e.Groups), Tables: e.Tables, Limited: !allowsAll(e.Policy),
		})
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

// routeTable is an item of DescribeRouteTables.
type routeTable struct {
	ID     string      `xml:"routeTableId"`
	Routes []ipv4Route `xml:"routeSet>item"`
}

// ipv4Route is a route, with the targets that a route to IPv4 addresses may have.
type ipv4Route struct {
	To                string `xml:"destinationCidrBlock"`
	State             string `xml:"state"`
	NAT               string `xml:"natGatewayId"`
	Gateway           string `xml:"gatewayId"`
	TransitGateway    string `xml:"transitGatewayId"`
	PeeringConnection string `xml:"vpcPeeringConnectionId"`
	LocalGateway      string `xml:"localGatewayId"`
	CarrierGateway    string `xml:"carrierGatewayId"`
	CoreNetwork       string `xml:"coreNetworkArn"`
	Interface         string `xml:"networkInterfaceId"`
	Instance          string `xml:"instanceId"`
}

// RouteTable returns the route table of a subnet: its own, or the VPC's main one.
func (v VPC) RouteTable(ctx context.Context, vpc, subnet string) (RouteTable, error) {
	for _, filters := range [][]types.Filter{
		{filter("association.subnet-id", subnet)},
		{filter("vpc-id", vpc), filter("association.main", "true")},
	} {
		tables, err := describe[routeTable](ctx, v.api, "DescribeRouteTables", "routeTableSet", filtered(filters...))
		if err != nil {
			return RouteTable{}, fmt.Errorf("asking EC2 for the route table of %s: %w", subnet, err)
		}
		for _, t := range tables {
			table := RouteTable{ID: word(t.ID)}
			for _, r := range t.Routes {
				if r.To == "0.0.0.0/0" && r.State == string(types.RouteStateActive) {
					table.Default = r.target()
				}
			}
			return table, nil
		}
	}
	return RouteTable{}, fmt.Errorf("asking EC2 for the route table of %s: EC2 lists none", subnet)
}

// target returns where a route leads to.
func (r ipv4Route) target() string {
	to := cmp.Or(r.NAT, r.Gateway, r.TransitGateway, r.PeeringConnection, r.LocalGateway, r.CarrierGateway, r.CoreNetwork, r.Interface, r.Instance)
	return word(cmp.Or(to, "a target of an unknown kind"))
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

// securityGroup is an item of DescribeSecurityGroups.
type securityGroup struct {
	Rules []struct {
		Protocol string   `xml:"ipProtocol"` // -1: all
		From     int32    `xml:"fromPort"`
		To       int32    `xml:"toPort"`
		Networks []string `xml:"ipRanges>item>cidrIp"`
		Groups   []string `xml:"groups>item>groupId"`
		Lists    []string `xml:"prefixListIds>item>prefixListId"`
	} `xml:"ipPermissions>item"`
}

// Admits returns who may connect to the members of these security groups.
func (v VPC) Admits(ctx context.Context, groups []string, port int32) (a Admission, err error) {
	list, err := describe[securityGroup](ctx, v.api, "DescribeSecurityGroups", "securityGroupInfo", named("GroupId", groups...))
	if err != nil {
		return a, fmt.Errorf("asking EC2 for the security groups %s: %w", strings.Join(groups, ", "), err)
	}
	for _, g := range list {
		for _, rule := range g.Rules {
			if rule.Protocol != "-1" && (rule.Protocol != "tcp" || rule.From > port || rule.To < port) {
				continue
			}
			for _, network := range rule.Networks {
				p, err := readNetwork(network)
				if err != nil {
					return a, fmt.Errorf("asking EC2 for the security groups %s: %s %w", strings.Join(groups, ", "), text.Quote(network), err)
				}
				a.Networks = append(a.Networks, p)
			}
			a.Groups = append(a.Groups, words(rule.Groups)...)
			a.Groups = append(a.Groups, words(rule.Lists)...)
		}
	}
	return a, nil
}

// word returns an id or a name in an answer of AWS as text for a message.
func word(s string) string { return text.Clean(s, text.MaxQuoted) }

func words(list []string) (clean []string) {
	for _, s := range list {
		clean = append(clean, word(s))
	}
	return clean
}
