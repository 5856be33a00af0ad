package ec2

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Subnet is a subnet of the node's VPC.
type Subnet struct {
	ID   string
	CIDR netip.Prefix
}

// subnet is an item of DescribeSubnets.
type subnet struct {
	ID     string `xml:"subnetId"`
	CIDR   string `xml:"cidrBlock"`
	VPC    string `xml:"vpcId"`
	Zone   string `xml:"availabilityZone"`
	Owner  string `xml:"ownerId"`
	Free   int32  `xml:"availableIpAddressCount"`
	Public bool   `xml:"mapPublicIpOnLaunch"`
}

// Subnets returns the subnets of the node's VPC, whose id must be known, in the order of their
// addresses.
func (a *Node) Subnets(ctx context.Context) ([]Subnet, error) {
	list, err := describe[subnet](ctx, a.lists, "DescribeSubnets", "subnetSet", filtered(filter("vpc-id", a.ID.VPCID)))
	if err != nil {
		return nil, fmt.Errorf("asking EC2 for the subnets of %s: %w", a.ID.VPCID, err)
	}
	var all []Subnet
	for _, s := range list {
		cidr, err := readNetwork(s.CIDR)
		if err != nil {
			return nil, fmt.Errorf("asking EC2 for the subnets of %s: %s %w", a.ID.VPCID, text.Quote(s.CIDR), err)
		}
		all = append(all, Subnet{ID: s.ID, CIDR: cidr})
	}
	slices.SortFunc(all, func(a, b Subnet) int { return a.CIDR.Compare(b.CIDR) })
	return all, nil
}
