// Package ledger has the operator's commands about the ledger: list, gc and repair.
package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/operator"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord/inventory"
)

// The ledger commands.
const (
	List   = "list"
	GC     = "gc"
	Repair = "repair"
	Remove = "remove"
	Watch  = "watch" // see Observe
)

// Run carries out a ledger command, from anywhere with credentials. It needs no root, touches no
// kernel, and reads none of a node's files. Region and subnet are those of cfg or of the SDK's
// settings. If neither has a region, IMDS gives both. If they have one, and credentials come from
// elsewhere, IMDS is not asked. Without a subnet the command covers all subnets that have a record.
//
// GC, Repair and Remove change nothing unless cfg.Yes is set. The report says what was done, also
// if an error is returned.
func Run(ctx context.Context, command string, cfg agent.Config, env agent.Environment) (Report, error) {
	began := time.Now()
	c := newCall(command, cfg, env)
	do := c.run
	if cfg.AllRegions {
		do = c.everywhere
	}
	err := c.bounded(ctx, do)
	c.report.Work.DryRun, c.report.Work.Duration = c.report.DryRun, time.Since(began)
	return c.report, err
}

// newCall returns a call of a ledger command.
func newCall(command string, cfg agent.Config, env agent.Environment) *call {
	looks := command == List || command == Watch
	return &call{cfg: cfg, env: env, log: env.Logger(), report: Report{Command: command, Prefix: cfg.Prefix, Subnet: cfg.Subnet, DryRun: !looks && !cfg.Yes}}
}

// bounded does something within the command's time, and explains its error.
func (c *call) bounded(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := c.cfg.Bound(ctx)
	defer cancel()
	err := c.at.Explain(ctx, c.aws, do(ctx), iam.Place{Subnet: c.subnet, Prefix: c.cfg.Prefix})
	if work := &c.report.Work; c.aws != nil && work.Calls == nil {
		work.Calls, work.Throttled = c.aws.Tally.Snapshot()
	}
	return err
}

// call is one ledger command.
type call struct {
	cfg    agent.Config
	env    agent.Environment
	log    *zap.Logger
	at     operator.Place
	subnet string       // empty: all that have a record
	cidr   netip.Prefix // of the subnet, if IMDS gave it
	aws    *ec2.Session
	report Report
}

// open finds the place, and opens AWS there. It does so once.
func (c *call) open(ctx context.Context) error {
	if c.aws != nil {
		return nil
	}
	if err := c.place(ctx); err != nil {
		return err
	}
	c.report.Region, c.report.Subnet = c.at.Region, c.subnet
	if !c.cfg.Pools.Empty() && (c.subnet == "" || c.cfg.AllRegions) {
		return exit.With(exit.Usage, errors.New("addresses are named, but no subnet"), "name their subnet: --subnet subnet-...")
	}
	session, err := c.at.Open(ctx, c.env, c.imdsTimeout())
	c.aws = session
	return err
}

// inventory returns the inventory of a subnet, or of all subnets of the region.
func (c *call) inventory(session *ec2.Session, subnet string, named []netip.Addr) *inventory.Inventory {
	return &inventory.Inventory{
		API: inventory.NewAPI(session.Config), EC2: ec2.NewCensus(session.Config, c.env), Prefix: c.cfg.Prefix, Subnet: subnet,
		Tags: c.cfg.ClaimTags, Named: named, Notify: c.event,
	}
}

func (c *call) run(ctx context.Context) error {
	if err := c.open(ctx); err != nil {
		return err
	}
	l := &c.report
	named, err := c.named(ctx, ec2.NewCensus(c.aws.Config, c.env))
	if err != nil {
		return err
	}
	v := c.inventory(c.aws, c.subnet, named)
	view, err := v.Look(ctx)
	if err != nil {
		return err
	}
	l.Time, l.named = v.Now().UTC().Truncate(time.Second), len(named)
	l.take(view)
	var rule inventory.Sweep
	switch l.Command {
	case GC:
		rule = inventory.Collect
	case Repair:
		rule = inventory.Repair
	case Remove:
		rule = inventory.Discard
	default:
		return nil
	}
	steps := rule(view.Seen, v.Now())
	if l.named > 0 {
		steps = slices.DeleteFunc(steps, func(s inventory.Step) bool { return !slices.Contains(named, s.Addr) })
	}
	if l.DryRun {
		l.plan(steps)
		return nil
	}
	results, err := v.Do(ctx, steps, rule)
	l.results(results)
	return err
}

// named returns the named addresses that are in the subnet. A list for several subnets may be given
// as it is: the others are in the ledgers of other subnets, which the report says.
func (c *call) named(ctx context.Context, census *ec2.Census) ([]netip.Addr, error) {
	all := slices.Concat(c.cfg.Pools.Master, c.cfg.Pools.Core, c.cfg.Pools.Task)
	if len(all) == 0 {
		return nil, nil
	}
	cidr, err := c.cidr, error(nil)
	if !cidr.IsValid() {
		cidr, err = census.Network(ctx, c.subnet)
	}
	if err != nil {
		return nil, err
	}
	own := slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool { return !cidr.Contains(a) })
	if len(own) == 0 {
		return nil, exit.With(exit.Usage, fmt.Errorf("none of the named addresses is in subnet %s (%s)", c.subnet, cidr), "name the subnet that they are in: --subnet subnet-...")
	}
	if n := len(all) - len(own); n > 0 {
		c.report.Work.Notes = append(c.report.Work.Notes, fmt.Sprintf("%s not in subnet %s (%s), and skipped: name the subnets they are in with --subnet",
			text.Count(n, "named address is", "named addresses are"), c.subnet, cidr))
	}
	return own, nil
}

// event logs a line of the inventory, and reports a change.
func (c *call) event(e ssmcoord.Event) {
	line := e.Line(text.Clean(e.Detail, text.MaxLine))
	if e.Change {
		c.report.Work.Changes = append(c.report.Work.Changes, line)
	}
	fields := []zap.Field{zap.String("step", string(e.Kind))}
	if e.Addr.IsValid() {
		fields = append(fields, zap.Stringer("address", e.Addr))
	}
	c.log.Info(line, fields...)
}

// imdsTimeout returns how long the command waits for IMDS.
func (c *call) imdsTimeout() time.Duration { return cmp.Or(c.cfg.IMDSTimeout, operator.IMDSTimeout) }

// place finds the region and the subnet.
func (c *call) place(ctx context.Context) (err error) {
	c.subnet = c.cfg.Subnet
	if c.at, err = operator.Locate(ctx, c.env, c.cfg.Region, c.imdsTimeout()); err != nil {
		return err
	}
	if c.subnet == "" || c.subnet == c.at.Subnet {
		c.subnet, c.cidr = c.at.Subnet, c.at.CIDR
	}
	return nil
}
