package ec2

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// gatewayServices are the services that have gateway endpoints. Traffic to them keeps its source
// address up to the service:
// https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html
var gatewayServices = []string{"s3", "dynamodb"}

// maxPrefixes limits the networks of all services together. AWS has some dozens.
const maxPrefixes = 1000

// prefixList is an item of DescribePrefixLists.
type prefixList struct {
	CIDRs []string `xml:"cidrSet>item"`
}

// GatewayNetworks returns the networks of the services that a VPC reaches through gateway
// endpoints.
func (a *Node) GatewayNetworks(ctx context.Context) ([]netip.Prefix, error) {
	var names []string
	for _, s := range gatewayServices {
		names = append(names, EndpointService(a.ID.Region, s))
	}
	form := filtered(filter("prefix-list-name", names...))
	form.Set("MaxResults", strconv.Itoa(pageSize))
	lists, err := describe[prefixList](ctx, a.lists, "DescribePrefixLists", "prefixListSet", form)
	if err != nil {
		return nil, fmt.Errorf("listing the networks of S3 and DynamoDB: %w", err)
	}
	var networks []netip.Prefix
	for _, l := range lists {
		for _, c := range l.CIDRs {
			p, err := netip.ParsePrefix(c)
			if err != nil {
				return nil, fmt.Errorf("listing the networks of S3 and DynamoDB: EC2 names %s, which is no CIDR", text.Quote(c))
			}
			if p.Addr().Is4() {
				networks = append(networks, p.Masked())
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
