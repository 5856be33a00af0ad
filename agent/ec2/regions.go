package ec2

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Region is a region of the account's partition.
type Region struct {
	Name    string
	Enabled bool // for the account
}

// Regions returns all regions of the account's partition, by name.
func (c *Census) Regions(ctx context.Context) ([]Region, error) {
	out, err := c.regions.DescribeRegions(ctx, &ec2.DescribeRegionsInput{AllRegions: aws.Bool(true)})
	if err != nil {
		return nil, fmt.Errorf("asking EC2 for the regions: %w", err)
	}
	var all []Region
	for _, r := range out.Regions {
		// The name becomes a part of the names of endpoints.
		if name := aws.ToString(r.RegionName); text.Word("a region").Fits(name) {
			all = append(all, Region{Name: name, Enabled: aws.ToString(r.OptInStatus) != "not-opted-in"})
		}
	}
	slices.SortFunc(all, func(a, b Region) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}
