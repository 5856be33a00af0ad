package ec2

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Subnet is a subnet of the node's VPC.
type Subnet struct {
	ID   string
	CIDR netip.Prefix
}

// Subnets returns the subnets of the node's VPC, whose id must be known, in the order of their
// addresses.
func (a *Node) Subnets(ctx context.Context) ([]Subnet, error) {
	var all []Subnet
	pages := ec2.NewDescribeSubnetsPaginator(a.API, &ec2.DescribeSubnetsInput{Filters: []types.Filter{filter("vpc-id", a.ID.VPCID)}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("asking EC2 for the subnets of %s: %w", a.ID.VPCID, err)
		}
		for _, s := range page.Subnets {
			cidr, err := readNetwork(aws.ToString(s.CidrBlock))
			if err != nil {
				return nil, fmt.Errorf("asking EC2 for the subnets of %s: %s %w", a.ID.VPCID, text.Quote(aws.ToString(s.CidrBlock)), err)
			}
			all = append(all, Subnet{ID: aws.ToString(s.SubnetId), CIDR: cidr})
		}
	}
	slices.SortFunc(all, func(a, b Subnet) int { return a.CIDR.Compare(b.CIDR) })
	return all, nil
}
