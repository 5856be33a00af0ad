package cloud

import (
	"slices"
	"time"
)

// OtherRegion makes DescribeRegions list one more region. The model itself is one region: another
// Cloud is another region of the account.
func (c *Cloud) OtherRegion(name string, optedIn bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	status := "opt-in-not-required"
	if !optedIn {
		status = "not-opted-in"
	}
	c.regions = append(c.regions, region{name, status})
}

// region is a region that DescribeRegions lists.
type region struct{ name, status string }

// prepareDescribeRegions lists the regions that are enabled for the account, or, with AllRegions,
// all of them: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeRegions.html
func prepareDescribeRegions(r *request) (*operation, *Error) {
	all := r.query.flag("AllRegions")
	if err := r.query.rest(r.call); err != nil {
		return nil, err
	}
	return &operation{unfiltered: true, run: func(time.Time) ([]byte, bool, *Error) {
		c := r.cloud
		var x xmlWriter
		x.open("regionInfo")
		for _, g := range slices.Concat([]region{{c.opts.Region, "opt-in-not-required"}}, c.regions) {
			if !all && g.status == "not-opted-in" {
				continue
			}
			x.open("item")
			x.text("regionName", g.name)
			x.text("regionEndpoint", "ec2."+g.name+".amazonaws.com")
			x.text("optInStatus", g.status)
			x.close("item")
		}
		x.close("regionInfo")
		return x.b, false, nil
	}}, nil
}
