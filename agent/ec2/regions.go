package ec2

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Region is a region of the account's partition.
type Region struct {
	Name    string
	Enabled bool // for the account
}

// regionInfo is an item of DescribeRegions.
type regionInfo struct {
	Name  string `xml:"regionName"`
	OptIn string `xml:"optInStatus"`
}

// Regions returns all regions of the account's partition, by name.
func (c *Census) Regions(ctx context.Context) ([]Region, error) {
	list, err := describe[regionInfo](ctx, c.lists, "DescribeRegions", "regionInfo", url.Values{"AllRegions": {"true"}})
	if err != nil {
		return nil, fmt.Errorf("asking EC2 for the regions: %w", err)
	}
	var all []Region
	for _, r := range list {
		// The name becomes a part of the names of endpoints.
		if text.Word("a region").Fits(r.Name) {
			all = append(all, Region{Name: r.Name, Enabled: r.OptIn != "not-opted-in"})
		}
	}
	slices.SortFunc(all, func(a, b Region) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}
