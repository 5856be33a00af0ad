// Package cluster has the operator's command about a whole cluster: has every node that should have
// one its address? It is the only room that calls EMR.
package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/operator"
	"github.com/emr-static-ip/emr-static-ip/internal/identifier"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord/inventory"
)

// The time between two looks of --wait: 15 s, so that three calls to EMR are a fraction of its
// quotas, and at least a second for each page of the ledger, of which the account can read 40 a
// second.
const (
	lookPause    = 15 * time.Second
	perPage      = time.Second
	lookPauseMax = time.Minute
)

// Check looks at the cluster cfg.Cluster and says of each node whether it has its address. If
// cfg.Wait is set, it looks again until all is complete, the cluster ends, or the time is over.
// cfg.Timeout bounds each look. The report says what was seen, also if an error is returned.
func Check(ctx context.Context, cfg agent.Config, env agent.Environment, read ReadArguments) (Report, error) {
	began := time.Now()
	c := &check{cfg: cfg, env: env, log: env.Logger(), read: read}
	c.report = Report{Cluster: cfg.Cluster, Prefix: cfg.Prefix}
	err := c.run(ctx)
	if c.aws != nil {
		c.report.Calls, c.report.Throttled = c.aws.Tally.Snapshot()
	}
	c.report.Seconds = time.Since(began).Seconds()
	return c.report, err
}

// check is one run of Check.
type check struct {
	cfg    agent.Config
	env    agent.Environment
	log    *zap.Logger
	read   ReadArguments
	at     operator.Place
	aws    *ec2.Session
	emr    *service
	subnet string // whose ledger is read, for the statement in an error
	pages  int    // of the ledger, in the last look
	report Report
}

// open finds the region and the credentials.
func (c *check) open(ctx context.Context) (err error) {
	imds := cmp.Or(c.cfg.IMDSTimeout, operator.IMDSTimeout)
	if c.at, err = operator.Locate(ctx, c.env, c.cfg.Region, imds); err != nil {
		return err
	}
	c.report.Region = c.at.Region
	if c.aws, err = c.at.Open(ctx, c.env, imds); err != nil {
		return err
	}
	c.emr = &service{api: newClient(c.aws), cluster: c.cfg.Cluster, at: iam.Place{Region: c.at.Region}, denied: map[string]error{}}
	return nil
}

// run looks, and waits.
func (c *check) run(ctx context.Context) error {
	end := time.Now().Add(c.cfg.Wait)
	err := c.within(ctx, c.cfg.Timeout, func(ctx context.Context) error {
		if err := c.open(ctx); err != nil {
			return err
		}
		return c.look(ctx)
	})
	if err != nil {
		return err
	}
	for !c.report.Complete && !c.report.over {
		wait := min(max(lookPause, time.Duration(c.pages)*perPage), lookPauseMax)
		left := time.Until(end)
		if left <= 0 {
			break
		}
		c.log.Info("waiting: "+c.report.summary(), zap.Duration("left", left.Round(time.Second)))
		if err := pause.Sleep(ctx, min(wait, left)); err != nil {
			return err
		}
		before := c.report
		// The last look may take a little longer than the wait.
		if err := c.within(ctx, min(c.cfg.Timeout, time.Until(end)+grace), c.look); err != nil {
			c.report = before
			if exit.CodeOf(err) == exit.Deadline && ctx.Err() == nil {
				c.report.Notes = append(c.report.Notes, "the last look did not end in time: this is what the one before has seen")
				break
			}
			return err
		}
	}
	return nil
}

// grace is how long a look may go on after the wait is over.
const grace = 30 * time.Second

// within does something within a limit, and explains its error.
func (c *check) within(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	ctx, cancel := c.cfg.BoundBy(ctx, limit)
	defer cancel()
	return c.at.Explain(ctx, c.aws, do(ctx), iam.Place{Subnet: c.subnet, Prefix: c.report.Prefix})
}

// look fills the report anew.
func (c *check) look(ctx context.Context) error {
	v, err := c.emr.look(ctx)
	if err != nil {
		return err
	}
	l := listOf(c.cfg, v, c.read)
	c.report.Prefix = l.prefix
	census := ec2.NewCensus(c.aws.Config, c.env)
	members, err := census.Members(ctx, c.cfg.Cluster, v.started())
	if err != nil {
		return err
	}
	f := facts{emr: v, list: l, members: members, ledger: map[record]inventory.Sighting{}, now: time.Now()}
	var subnets []string
	for _, m := range members {
		subnets = append(subnets, m.Subnet)
	}
	slices.Sort(subnets)
	c.pages = 0
	for _, subnet := range slices.Compact(subnets) {
		if subnet == "" { // an instance that is about to have or to lose its interface
			continue
		}
		if !identifier.EC2(subnet, "subnet-") {
			return fmt.Errorf("EC2 lists an instance of the cluster in the subnet %s", text.Quote(subnet))
		}
		c.subnet = subnet
		inv := &inventory.Inventory{API: inventory.NewAPI(c.aws.Config), EC2: census, Prefix: l.prefix, Subnet: subnet}
		view, err := inv.Look(ctx)
		if err != nil {
			return fmt.Errorf("comparing the ledger of %s: %w", subnet, err)
		}
		for _, s := range view.Seen {
			f.ledger[record{s.Subnet, s.Addr}] = s
		}
		c.pages += 1 + len(view.Seen)/10
		f.now = inv.Now()
	}
	c.report.take(f, c.emr.unseen())
	return nil
}
