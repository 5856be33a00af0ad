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

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// gatewayServices are the services that have gateway endpoints. Traffic to them keeps its source
// address up to the service:
// https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html
var gatewayServices = []string{"s3", "dynamodb"}

// maxPrefixes limits the networks of all services together. AWS has some dozens.
const maxPrefixes = 1000

// GatewayNetworks returns the networks of the services that a VPC reaches through gateway
// endpoints.
func (a *Node) GatewayNetworks(ctx context.Context) ([]netip.Prefix, error) {
	var names []string
	for _, s := range gatewayServices {
		names = append(names, EndpointService(a.ID.Region, s))
	}
	var networks []netip.Prefix
	pages := ec2.NewDescribePrefixListsPaginator(a.API, &ec2.DescribePrefixListsInput{
		Filters: []types.Filter{filter("prefix-list-name", names...)}, MaxResults: aws.Int32(pageSize),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing the networks of S3 and DynamoDB: %w", err)
		}
		for _, l := range page.PrefixLists {
			for _, c := range l.Cidrs {
				p, err := netip.ParsePrefix(c)
				if err != nil {
					return nil, fmt.Errorf("listing the networks of S3 and DynamoDB: EC2 names %s, which is no CIDR", text.Quote(c))
				}
				if p.Addr().Is4() {
					networks = append(networks, p.Masked())
				}
			}
		}
	}
	if len(networks) == 0 { // no region is without: the names are others there, or something hides them
		return nil, fmt.Errorf("listing the networks of S3 and DynamoDB: EC2 has none under the names %s", strings.Join(names, " and "))
	}
	if len(networks) > maxPrefixes {
		return nil, fmt.Errorf("listing the networks of S3 and DynamoDB: EC2 names %d of them, at most %d are expected", len(networks), maxPrefixes)
	}
	slices.SortFunc(networks, netip.Prefix.Compare)
	return slices.Compact(networks), nil
}
