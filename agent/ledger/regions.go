package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/operator"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord/inventory"
)

// Region is a region of a list of all regions.
type Region struct {
	Region    string `json:"region"`
	State     string `json:"state"` // listed, not enabled, denied, failed
	Addresses int    `json:"addresses"`
	Detail    string `json:"detail,omitempty"` // why it was not listed
}

// The states of regions.
const (
	regionListed     = "listed"
	regionNotEnabled = "not enabled"
	regionDenied     = "denied"
	regionFailed     = "failed"
)

// regionsAtOnce is how many regions are listed at the same time. Quotas are per region.
const regionsAtOnce = 8

// regionTimeout bounds the list of one region. Its endpoints may be cut off.
const regionTimeout = 2 * time.Minute

// everywhere lists the ledgers of all regions of the partition. A region that is not enabled for
// the account, whose calls are denied, or that cannot be reached is named in the report. It is an
// error if no region could be listed.
func (c *call) everywhere(ctx context.Context) error {
	if err := c.open(ctx); err != nil {
		return err
	}
	c.subnet, c.report.Subnet = "", ""
	regions, err := ec2.NewCensus(c.aws.Config, c.env).Regions(ctx)
	if err != nil {
		return err
	}
	results := make([]regionResult, len(regions))
	var all sync.WaitGroup
	slots := make(chan struct{}, regionsAtOnce)
	for i, r := range regions {
		results[i].region = Region{Region: r.Name, State: regionNotEnabled}
		if r.Enabled {
			all.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				c.inRegion(ctx, &results[i])
			})
		}
	}
	all.Wait()
	return c.join(results)
}

// regionResult is what the list of one region found.
type regionResult struct {
	region    Region
	view      inventory.View
	now       time.Time
	calls     map[string]int
	throttled int
	err       error
}

// inRegion lists the ledgers of one region.
func (c *call) inRegion(ctx context.Context, r *regionResult) {
	ctx, cancel := c.cfg.BoundBy(ctx, regionTimeout)
	defer cancel()
	session := c.aws.In(r.region.Region)
	v := c.inventory(session, "", nil)
	view, err := v.Look(ctx)
	at := operator.Place{Region: r.region.Region, Node: c.at.Node}
	r.err = at.Explain(ctx, session, err, iam.Place{Subnet: "*", Prefix: c.cfg.Prefix})
	r.view, r.now, r.region.State = view, v.Now(), regionListed
	r.calls, r.throttled = session.Tally.Snapshot()
	if r.err != nil {
		r.region.State, r.region.Detail = regionFailed, text.Line(r.err.Error())
		if exit.CodeOf(r.err) == exit.Permission {
			r.region.State = regionDenied
		}
	}
}

// join puts the regions' lists into the report.
func (c *call) join(results []regionResult) error {
	l := &c.report
	l.Region, l.Addresses, l.Counts = "", []Address{}, map[string]int{}
	calls, throttled := c.aws.Tally.Snapshot()
	listed := 0
	var errs []error
	for _, r := range results {
		if r.region.State == regionListed {
			listed++
			if l.Time = r.now.UTC().Truncate(time.Second); len(r.view.Seen) > 0 {
				before := len(l.Addresses)
				l.add(r.region.Region, r.view)
				r.region.Addresses = len(l.Addresses) - before
			}
		}
		if r.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.region.Region, r.err))
		}
		l.Regions = append(l.Regions, r.region)
		for call, n := range r.calls {
			calls[call] += n
		}
		throttled += r.throttled
	}
	l.Work.Calls, l.Work.Throttled = calls, throttled
	if listed == 0 {
		return errors.Join(append([]error{errors.New("no region could be listed")}, errs...)...)
	}
	return nil
}

// regionsIn returns the regions in a state.
func (l Report) regionsIn(state string) (names []string) {
	for _, r := range l.Regions {
		if r.State == state {
			names = append(names, r.Region)
		}
	}
	slices.Sort(names)
	return names
}
