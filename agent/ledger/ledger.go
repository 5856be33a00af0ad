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

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord/inventory"
)

// The ledger commands.
const (
	List   = "list"
	GC     = "gc"
	Repair = "repair"
)

// DefaultIMDSTimeout is how long the commands wait for IMDS by default. Mostly there is none where
// they run.
const DefaultIMDSTimeout = 5 * time.Second

// Run carries out a ledger command, from anywhere with credentials. It needs no root, touches no
// kernel, and reads none of a node's files. Region and subnet are those of cfg or of the SDK's
// settings. If neither has a region, IMDS gives both. If they have one, and credentials come from
// elsewhere, IMDS is not asked. Without a subnet the command covers all subnets that have a record.
//
// GC and Repair change nothing unless cfg.Yes is set. The report says what was done, also if an
// error is returned.
func Run(ctx context.Context, command string, cfg agent.Config, env agent.Environment) (Report, error) {
	began := time.Now()
	c := call{cfg: cfg, env: env, log: env.Logger(), report: Report{Command: command, Prefix: cfg.Prefix, Subnet: cfg.Subnet, DryRun: command != List && !cfg.Yes}}
	ctx, cancel := cfg.Bound(ctx)
	defer cancel()
	err := c.run(ctx)
	if c.node == "" {
		err = explainOutside(err, c.region, cfg.Prefix, c.subnet == "")
	}
	work := &c.report.Work
	if c.aws != nil {
		err = c.aws.Explain(ctx, err, iam.Place{Region: c.region, Subnet: c.subnet, Prefix: cfg.Prefix})
		work.Calls, work.Throttled = c.aws.Tally.Snapshot()
	}
	work.DryRun, work.Duration = c.report.DryRun, time.Since(began)
	return c.report, err
}

// call is one ledger command.
type call struct {
	cfg    agent.Config
	env    agent.Environment
	log    *zap.Logger
	region string
	subnet string       // empty: all that have a record
	cidr   netip.Prefix // of the subnet, if IMDS gave it
	node   string       // the instance that the command runs on, if IMDS was asked
	aws    *ec2.Session
	report Report
}

func (c *call) run(ctx context.Context) error {
	if err := c.place(ctx); err != nil {
		return err
	}
	l := &c.report
	l.Region, l.Subnet = c.region, c.subnet
	if !c.cfg.Pools.Empty() && c.subnet == "" {
		return exit.With(exit.Usage, errors.New("addresses are named, but no subnet"), "name their subnet: --subnet subnet-...")
	}
	var err error
	if c.aws, err = ec2.Open(ctx, c.env, c.region, c.imdsTimeout(), awsconfig.WithRegion(c.region)); err != nil {
		if c.node == "" {
			err = credentialsOutside(err)
		}
		return err
	}
	census := ec2.NewCensus(c.aws.Config, c.env)
	named, err := c.named(ctx, census)
	if err != nil {
		return err
	}
	v := &inventory.Inventory{
		API: inventory.NewAPI(c.aws.Config), EC2: census, Prefix: c.cfg.Prefix, Subnet: c.subnet, Tags: c.cfg.ClaimTags, Named: named, Notify: c.event,
	}
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
func (c *call) imdsTimeout() time.Duration { return cmp.Or(c.cfg.IMDSTimeout, DefaultIMDSTimeout) }

// place finds the region and the subnet.
func (c *call) place(ctx context.Context) error {
	c.region, c.subnet = c.cfg.Region, c.cfg.Subnet
	if c.region == "" {
		// The environment and the shared files: this asks nobody.
		cfg, err := awsconfig.LoadDefaultConfig(ctx)
		if err != nil {
			return exit.With(exit.Usage, fmt.Errorf("loading the AWS configuration: %w", err), "check the AWS_* environment variables and ~/.aws/config")
		}
		c.region = cfg.Region
	}
	if c.region != "" {
		return nil
	}
	id, err := ec2.OpenIMDS(c.env).Identity(ctx, c.env, c.imdsTimeout())
	if err != nil {
		return &exit.Error{Code: exit.Usage, Err: fmt.Errorf("no region is given, and IMDS does not name one: %w", err),
			Remedy: "name it: --region eu-central-1 (or AWS_REGION, AWS_PROFILE), and the subnet: --subnet subnet-..."}
	}
	c.node, c.region = id.InstanceID, id.Region
	if c.subnet == "" || c.subnet == id.SubnetID {
		c.subnet, c.cidr = id.SubnetID, id.Subnet
	}
	c.log.Debug("region and subnet by IMDS", zap.String("region", c.region), zap.String("subnet", c.subnet))
	return nil
}

// explainOutside explains an error of a command that did not ask IMDS: permissions and credentials
// are the operator's own.
func explainOutside(err error, region, prefix string, allSubnets bool) error {
	if !ec2.IsPermission(err) || exit.HasCode(err) {
		return err
	}
	at := iam.Place{Region: region, Partition: ec2.Partition(region), Account: ec2.AccountIn(ec2.ErrorMessage(err)), Prefix: prefix}
	remedy := fmt.Sprintf("allow %s to your user or role (aws sts get-caller-identity): %s",
		ec2.IAMAction(err), at.Statement(iam.Operator, ec2.IAMAction(err)))
	if allSubnets && ec2.IAMAction(err) == "ssm:GetParametersByPath" {
		// The policy of the nodes allows their own subnet only.
		remedy = "name one subnet with --subnet, or leave out --region on a node, which lists its own subnet; for all subnets " + remedy
	}
	return exit.With(exit.Permission, err, remedy)
}

// credentialsOutside says how an operator who is not on a node gets credentials.
func credentialsOutside(err error) error {
	e := (*exit.Error)(nil)
	if !errors.As(err, &e) || e.Code == exit.Usage {
		return err
	}
	return &exit.Error{Code: exit.Permission, Err: e.Err, Remedy: "name a profile that has credentials (AWS_PROFILE; aws sso login where it needs that), " +
		"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run this on an instance with an instance profile"}
}
