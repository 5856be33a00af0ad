package ec2

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord/inventory"
)

// Census is EC2 as anybody with credentials sees it. It implements inventory.Census.
type Census struct{ Node }

var _ inventory.Census = (*Census)(nil)

// NewCensus returns a Census with these credentials.
func NewCensus(cfg aws.Config, env host.Environment) *Census {
	return &Census{*NewNode(cfg, Identity{}, "", env)}
}

// Interfaces returns the ENIs of the subnets. If there are addrs, it returns only the ENIs that
// carry one of them.
func (c *Census) Interfaces(ctx context.Context, subnets []string, addrs []netip.Addr) ([]inventory.Interface, error) {
	var found []inventory.Interface
	for chunk := range slices.Chunk(subnets, filterValues) {
		filters := []types.Filter{filter("subnet-id", chunk...)}
		if len(addrs) > 0 {
			values := make([]string, len(addrs))
			for i, a := range addrs {
				values[i] = a.String()
			}
			filters = append(filters, filter("addresses.private-ip-address", values...))
		}
		pages := ec2.NewDescribeNetworkInterfacesPaginator(c.API, &ec2.DescribeNetworkInterfacesInput{Filters: filters, MaxResults: aws.Int32(pageSize)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, fmt.Errorf("asking EC2 for the network interfaces of %s: %w", strings.Join(chunk, ", "), err)
			}
			for _, n := range page.NetworkInterfaces {
				found = append(found, interfaceOf(n))
			}
		}
	}
	return found, nil
}

// Network returns the IPv4 network of a subnet.
func (c *Census) Network(ctx context.Context, id string) (netip.Prefix, error) {
	list, err := describe[subnet](ctx, c.lists, "DescribeSubnets", "subnetSet", named("SubnetId", id))
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("asking EC2 for the network of %s: %w", text.Quote(id), err)
	}
	for _, s := range list {
		if s.ID == id {
			p, err := readNetwork(s.CIDR)
			if err != nil {
				return p, fmt.Errorf("asking EC2 for the network of %s: %s %w", id, text.Quote(s.CIDR), err)
			}
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("asking EC2 for the network of %s: EC2 does not list it", text.Quote(id))
}

func interfaceOf(n types.NetworkInterface) inventory.Interface {
	i := inventory.Interface{ID: aws.ToString(n.NetworkInterfaceId), Subnet: aws.ToString(n.SubnetId)}
	if a := n.Attachment; a != nil {
		i.Instance, i.Device = aws.ToString(a.InstanceId), int(aws.ToInt32(a.DeviceIndex))
	}
	for _, p := range n.PrivateIpAddresses {
		addr, err := text.IPv4(aws.ToString(p.PrivateIpAddress))
		switch {
		case err != nil: // no address that this program could have given
		case aws.ToBool(p.Primary):
			i.Primary = addr
		default:
			i.Secondary = append(i.Secondary, addr)
		}
	}
	return i
}

// Instances returns the instances that EC2 lists.
func (c *Census) Instances(ctx context.Context, ids []string) (map[string]inventory.Instance, error) {
	found := map[string]inventory.Instance{}
	for chunk := range slices.Chunk(ids, filterValues) {
		err := c.instances(ctx, []types.Filter{filter("instance-id", chunk...)}, func(i types.Instance) {
			x := instanceOf(i)
			found[x.ID] = x
		})
		if err != nil {
			return nil, fmt.Errorf("asking EC2 about the instances of the ledger: %w", err)
		}
	}
	return found, nil
}
