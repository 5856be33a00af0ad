package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord/inventory"
)

// The ledger commands.
const (
	LedgerList   = "list"
	LedgerGC     = "gc"
	LedgerRepair = "repair"
)

// ledgerIMDS bounds how long the ledger commands wait for IMDS unless --imds-timeout says otherwise: mostly they run where there is none.
const ledgerIMDS = 5 * time.Second

// InspectLedger carries out a ledger command, from anywhere with credentials: it needs no root, touches no kernel, and reads none of a node's files.
// Region and subnet are those of the flags or of the SDK's settings; where no region is given, IMDS tells both. Given a region, and credentials
// that come from elsewhere, IMDS is not asked. Without a subnet it is about all subnets that have a record.
//
// gc and repair change nothing unless cfg.Yes is set. A report is returned also with an error: it tells what had been done.
func InspectLedger(ctx context.Context, command string, cfg Config, env Environment) (LedgerReport, error) {
	l := LedgerReport{Command: command, Prefix: cfg.Prefix, Subnet: cfg.Subnet, DryRun: command != LedgerList && !cfg.Yes}
	rep, err := conduct(ctx, cfg, env, func(r *run, ctx context.Context) error {
		err := r.ledger(ctx, &l)
		if err != nil && r.id.InstanceID == "" {
			err = explainOutside(err, r.id.Region, cfg.Prefix)
		}
		return err
	})
	rep.Changes, rep.Notes, rep.DryRun = append(rep.Changes, l.report.Changes...), l.report.Notes, l.DryRun
	l.report = rep
	return l, err
}

func (r *run) ledger(ctx context.Context, l *LedgerReport) error {
	if err := r.ledgerPlace(ctx); err != nil {
		return err
	}
	l.Region, l.Subnet = r.id.Region, r.id.SubnetID
	named := slices.Concat(r.cfg.Pools.Master, r.cfg.Pools.Core, r.cfg.Pools.Task)
	if len(named) > 0 && r.id.SubnetID == "" {
		return exit.With(ExitUsage, errors.New("addresses are named, but no subnet"), "say whose they are: --subnet subnet-...")
	}
	var err error
	if r.aws, err = ec2.Open(ctx, r.env, r.id.Region, r.ledgerPatience(), awsconfig.WithRegion(r.id.Region)); err != nil {
		if r.id.InstanceID == "" {
			err = credentialsOutside(err)
		}
		return err
	}
	v := &inventory.Inventory{
		API: inventory.NewAPI(r.aws.Config), EC2: ec2.NewCensus(r.aws.Config, r.env), Prefix: r.cfg.Prefix, Subnet: r.id.SubnetID, Named: named, Notify: r.event,
	}
	view, err := v.Look(ctx)
	if err != nil {
		return err
	}
	l.Time, l.named = v.Now().UTC().Truncate(time.Second), len(named) > 0
	l.take(view)
	var rule inventory.Sweep
	switch l.Command {
	case LedgerGC:
		rule = inventory.Collect
	case LedgerRepair:
		rule = inventory.Mend
	default:
		return nil
	}
	steps := rule(view.Seen, v.Now())
	if l.named {
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

// ledgerPatience is how long IMDS is waited for.
func (r *run) ledgerPatience() time.Duration {
	if slices.Contains(r.cfg.Given, flagIMDS) {
		return r.cfg.IMDSTimeout
	}
	return ledgerIMDS
}

// ledgerPlace finds out which region and subnet are meant.
func (r *run) ledgerPlace(ctx context.Context) error {
	r.id.Region, r.id.SubnetID = r.cfg.Region, r.cfg.Subnet
	if r.id.Region == "" {
		// The environment and the shared files: this asks nobody.
		cfg, err := awsconfig.LoadDefaultConfig(ctx)
		if err != nil {
			return exit.With(ExitUsage, fmt.Errorf("loading the AWS configuration: %w", err), "check the AWS_* environment variables and ~/.aws/config")
		}
		r.id.Region = cfg.Region
	}
	if r.id.Region != "" {
		return nil
	}
	id, err := ec2.OpenIMDS(r.env).Identity(ctx, r.env, r.ledgerPatience())
	if err != nil {
		return &Error{Code: ExitUsage, Err: fmt.Errorf("no region is given, and this is no node that could tell: %w", err),
			Remedy: "name it: --region eu-central-1 (or AWS_REGION, AWS_PROFILE), and the subnet: --subnet subnet-..."}
	}
	if r.id = id; r.cfg.Subnet != "" {
		r.id.SubnetID = r.cfg.Subnet
	}
	r.log.Debug("region and subnet by IMDS", zap.String("region", id.Region), zap.String("subnet", r.id.SubnetID))
	return nil
}

// explainOutside is explain for somebody who is no node: permissions and credentials are the operator's own.
func explainOutside(err error, region, prefix string) error {
	if !ec2.IsPermission(err) || exit.HasCode(err) {
		return err
	}
	at := iam.Place{Region: region, Partition: ec2.Partition(region), Account: ec2.AccountIn(ec2.ErrorMessage(err)), Prefix: prefix}
	return exit.With(ExitPermission, err, fmt.Sprintf("allow %s to the user or role that you are (aws sts get-caller-identity): %s",
		ec2.IAMAction(err), at.Statement(iam.Operator, ec2.IAMAction(err))))
}

// credentialsOutside says what somebody who is no node can do about credentials that cannot be had.
func credentialsOutside(err error) error {
	e := (*Error)(nil)
	if !errors.As(err, &e) || e.Code == ExitUsage {
		return err
	}
	return &Error{Code: ExitPermission, Err: e.Err, Remedy: "name a profile that has credentials (AWS_PROFILE; aws sso login where it needs that), " +
		"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run this on an instance with an instance profile"}
}
