package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// Bounds of a doctor's waits: it is asked what is wrong now, and does not wait for it to pass.
const (
	doctorIMDS     = DefaultDoctorIMDSTimeout // for IMDS, and then for credentials, unless --imds-timeout says otherwise
	doctorCall     = 15 * time.Second         // one call to AWS with its retries
	doctorAttempts = 4
	doctorProbe    = 40 * time.Second      // the calls of the ledger's probe together, its removal apart
	doctorLock     = DefaultDoctorLockWait // for the xtables lock, unless --lock-wait says otherwise
	doctorVerify   = 5 * time.Second       // one connection of --verify: EC2 is not behind with anything
)

// doctor is one examination: a run that changes nothing.
type doctor struct {
	*run
	stateErr error        // of the state file
	usable   []pool.Named // the pools that concern this node, without what the subnet does not give
	every    []netip.Addr // of all pools, the same
	kernelOK bool         // the kernel can be looked at
	known    bool         // who this node is: r.id is IMDS's
	reached  map[string]bool
	api      aws.Config // with few retries
	signs    bool       // there are credentials
	notRoot  bool
	diagnose *Diagnosis
}

// Doctor examines everything that Apply needs, on a node or on any EC2 instance of its subnet, with Apply's arguments: identity, EMR's files, role,
// credentials, endpoints, clock, permissions, every address of the pool, room, kernel, units, and the services of --verify. It changes
// nothing, but for a probe parameter below the prefix of the ledger, which it removes again, also when ctx ends. What fails does not keep it from
// the other checks. Without root it says what cannot be looked at.
//
// The error is ctx's cause; the Diagnosis then has what was found before.
func Doctor(ctx context.Context, cfg Config, env Environment) (Diagnosis, error) {
	d := Diagnosis{Version: DiagnosisVersion, Findings: []Finding{}}
	rep, err := conduct(ctx, cfg, env, func(r *run, bounded context.Context) error {
		doc := &doctor{run: r, diagnose: &d, reached: map[string]bool{}, notRoot: os.Geteuid() != 0 && r.env.Root == ""}
		doc.examine(bounded)
		d.Instance, d.Cluster, d.Role, d.Region, d.Subnet = r.id.InstanceID, r.cluster, r.role.Role, r.id.Region, r.id.SubnetID
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case bounded.Err() != nil:
			d.add(failed(ExitDeadline, "time", "", "use a longer --timeout", "--timeout %s ended the examination before its end: what needed more time is unknown", r.cfg.Timeout))
		}
		return nil
	})
	d.Seconds = rep.Duration.Round(100 * time.Millisecond).Seconds()
	return d, err
}

// examine makes the checks, those that do not need each other at the same time, and reports them in the order in which a run meets what they are
// about: so the first that failed is what it would end with. Last is what a run would mend.
func (d *doctor) examine(ctx context.Context) {
	d.report(d.rights(), d.lastRun())
	d.report(d.identity(ctx)...)
	if d.hasState {
		d.cfg = d.cfg.Repeating(d.state.Settings)
	}
	d.report(d.lastError(ctx))
	d.report(d.localFiles()...)
	d.report(d.session(ctx)...)
	endpoints := d.endpoints(ctx)
	role := d.roleFinding(ctx)
	if role.Result == resultFailed { // perhaps for want of EC2
		d.report(endpoints...)
		endpoints = nil
	}
	d.report(role)
	d.report(d.listFindings()...)
	var room Finding
	var kernel []Finding
	findings := together(
		func() []Finding { return d.ec2Permissions(ctx) },
		func() []Finding { return d.ssmPermissions(ctx) },
		func() []Finding { return d.pools(ctx) },
		func() []Finding { room = d.room(ctx); return nil },
		func() []Finding { kernel = d.kernelFindings(ctx); return nil },
	)
	if room.Result != resultFailed {
		findings, room = append(findings, room), Finding{}
	}
	d.report(room)
	d.report(kernel...)
	d.report(endpoints...)
	d.report(findings...)
	d.report(d.staticFinding(ctx), d.unitFinding(ctx))
	d.report(d.verifyFindings(ctx)...)
}

func (d *doctor) report(findings ...Finding) {
	d.diagnose.add(slices.DeleteFunc(findings, func(f Finding) bool { return f.Check == "" })...)
}

// together runs checks at the same time and returns their findings in order.
func together(checks ...func() []Finding) []Finding {
	results := make([][]Finding, len(checks))
	var all sync.WaitGroup
	for i, check := range checks {
		all.Go(func() { results[i] = check() })
	}
	all.Wait()
	return slices.Concat(results...)
}

// patience is how long IMDS is asked.
func (d *doctor) patience() time.Duration {
	return cmp.Or(d.cfg.IMDSTimeout, doctorIMDS)
}

// session loads the SDK's configuration and gets credentials.
func (d *doctor) session(ctx context.Context) []Finding {
	region := d.id.Region
	if told := d.files.Region(); region == "" && pool.IsRegion(told) {
		region = told
	}
	var err error
	if d.aws, err = ec2.Load(ctx, d.env, region); err != nil {
		d.aws = nil
		if errors.Is(err, ec2.ErrNoRegion) && !d.known {
			return []Finding{unknown("credentials", "", "mend imds first; or set AWS_REGION, and the endpoints are looked at meanwhile",
				"IMDS does not tell the region, and neither EMR's files nor AWS_REGION do")}
		}
		return []Finding{of(err, "credentials", "")}
	}
	if d.id.Region == "" {
		d.id.Region = d.aws.Config.Region
	}
	d.api = d.aws.Config.Copy()
	if retryer := d.api.Retryer; retryer != nil {
		d.api.Retryer = func() aws.Retryer { return retry.AddWithMaxAttempts(retryer(), doctorAttempts) }
	}
	d.ec2 = ec2.NewNode(d.api, d.id, d.cluster, d.env)
	ctx, cancel := context.WithTimeout(ctx, d.patience())
	defer cancel()
	if err := ec2.WaitForCredentials(ctx, d.api, d.env, d.patience()/2); err != nil {
		return []Finding{of(err, "credentials", "")}
	}
	d.signs = true
	c, err := d.api.Credentials.Retrieve(ctx)
	if err != nil {
		return []Finding{of(exit.With(ExitPermission, err, ""), "credentials", "")}
	}
	until := ""
	if c.CanExpire {
		until = ", until " + c.Expires.UTC().Format(time.RFC3339)
	}
	findings := []Finding{fine("credentials", "", "from %s%s", c.Source, until)}
	for _, other := range d.aws.Elsewhere {
		findings = append(findings, warning("region", "", "nothing has to be done for this program; other programs on this node call the other region", "%s", other))
	}
	return findings
}

// unasked is why AWS cannot be asked by a service's calls; empty where it can.
func (d *doctor) unasked(service string) string {
	switch {
	case d.aws == nil || !d.signs:
		return "there are no credentials"
	case !d.reached[service]:
		return "the " + service + " endpoint does not answer"
	}
	return ""
}

// call bounds one call to AWS. Its error has an exit code and remedy where one is known.
func (d *doctor) call(ctx context.Context, do func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, doctorCall)
	defer cancel()
	err := do(bounded)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		return fmt.Errorf("no answer within %s: %w", doctorCall, err)
	}
	if err == nil {
		return nil
	}
	return d.explain(ctx, err)
}
