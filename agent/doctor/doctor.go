// Package doctor is the command that checks what a run needs: endpoints, permissions, addresses and
// the node itself. It changes nothing but a probe parameter, which it removes again.
package doctor

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

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/operator"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// The limits of doctor's waits. The operator asks what is wrong now, so doctor does not wait until
// a fault passes.
const (
	doctorIMDS     = agent.DefaultDoctorIMDSTimeout // for IMDS, and then for credentials, unless --imds-timeout says otherwise
	doctorCall     = 15 * time.Second               // one call to AWS with its retries
	doctorAttempts = 4
	doctorProbe    = 40 * time.Second            // the calls of the ledger's probe together, its removal apart
	doctorLock     = agent.DefaultDoctorLockWait // for the xtables lock, unless --lock-wait says otherwise
	doctorVerify   = 5 * time.Second             // one connection of --verify: no assignment is on its way, so it need not be repeated
)

// examination is one examination of a node. It changes nothing.
type examination struct {
	cfg     agent.Config
	env     agent.Environment
	dir     string // the state directory
	facts   node.Facts
	session node.Session

	last     state.State // what the last run left
	hasState bool
	stateErr error        // of the state file
	usable   []pool.Named // the pools of this node's role, without addresses that the subnet cannot give
	every    []netip.Addr // the same of all pools
	kernelOK bool         // the kernel can be looked at
	known    bool         // who this node is: facts.ID is IMDS's
	reached  map[string]bool
	api      aws.Config // with few retries
	signs    bool       // there are credentials
	notRoot  bool
	diagnose *Diagnosis

	refused   bool  // a run would refuse the list
	elsewhere bool  // this is about nodes in another subnet
	seen      views // of the addresses in usable

	place   *operator.Place // of doctor with --subnet; nil on a node
	account string          // of the credentials, where these tell

	vpcKnown bool // facts.ID.VPC has the networks of the VPC, for doctor with --subnet
}

// Doctor examines everything that Apply needs, on a node or on any EC2 instance of its subnet:
// identity, EMR's files, role, credentials, endpoints, clock, permissions, every address of the
// pool, room, kernel, units, and the services of --verify. It takes Apply's arguments. It writes
// one probe parameter below the ledger's prefix, and removes it again, also when ctx ends. It
// changes nothing else. A check that fails does not prevent the others. Without root, Doctor says
// what it cannot look at.
//
// If cfg names a subnet, Doctor examines that subnet from outside instead.
//
// The error is ctx's cause. The Diagnosis then has what was found before.
func Doctor(ctx context.Context, cfg agent.Config, env agent.Environment) (Diagnosis, error) {
	if cfg.Subnet != "" {
		return outside(ctx, cfg, env)
	}
	began := time.Now()
	d := Diagnosis{Findings: []Finding{}}
	e := &examination{
		cfg: cfg, env: env, dir: env.Path(cfg.StateDir), diagnose: &d, reached: map[string]bool{},
		notRoot: os.Geteuid() != 0 && env.Root == "",
	}
	bounded, cancel := cfg.Bound(ctx)
	defer cancel()
	e.examine(bounded)
	d.Instance, d.Cluster, d.Role, d.Region, d.Subnet = e.facts.ID.InstanceID, e.facts.Cluster, e.facts.Role.Role, e.facts.ID.Region, e.facts.ID.SubnetID
	return e.ended(ctx, bounded, began)
}

// ended returns what was found. The error is ctx's cause; bounded is ctx with the time limit.
func (d *examination) ended(ctx, bounded context.Context, began time.Time) (Diagnosis, error) {
	var err error
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case bounded.Err() != nil:
		d.diagnose.add(failed(exit.Deadline, "time", "", "use a longer --timeout", "--timeout %s ended the checks early: the others are unknown", d.cfg.Timeout))
	}
	d.diagnose.Seconds = time.Since(began).Round(100 * time.Millisecond).Seconds()
	return *d.diagnose, err
}

// withAttempts returns the configuration with few attempts for each call.
func withAttempts(cfg aws.Config) aws.Config {
	cfg = cfg.Copy()
	if retryer := cfg.Retryer; retryer != nil {
		cfg.Retryer = func() aws.Retryer { return retry.AddWithMaxAttempts(retryer(), doctorAttempts) }
	}
	return cfg
}

// wanted returns the kernel's wanted state. If the next run derives another scope, it is the state
// that the last run programmed.
func (d *examination) wanted(static netip.Addr, former []netip.Addr) netcfg.Config {
	s := d.cfg.Settings()
	if d.derivesAnew() {
		s.Scope = d.last.Settings.Scope
	}
	return d.facts.Wanted(s, static, former)
}

// derivesAnew reports whether the scope of the last run was derived from a public address that the
// node has no more.
func (d *examination) derivesAnew() bool {
	return d.hasState && d.known && d.last.Static.IsValid() && !d.cfg.Given.Scope && agent.DerivedPrivate(d.last.Settings) && d.cfg.Scope != d.last.Settings.Scope
}

// explain gives an error its exit code and remedy.
func (d *examination) explain(ctx context.Context, err error) error {
	if d.place != nil {
		return d.place.Explain(ctx, d.session.AWS, err, d.facts.Place(d.cfg.Prefix))
	}
	return d.session.Explain(ctx, err, d.facts.Place(d.cfg.Prefix))
}

// examine runs independent checks at the same time, and reports them in the order in which a run
// would hit them: the run would end with the first failed one. The last checks are about what a run
// would repair.
func (d *examination) examine(ctx context.Context) {
	d.report(d.rights(), d.lastRun())
	d.report(d.writable()...)
	d.report(d.identity(ctx)...)
	if d.hasState {
		d.cfg = d.cfg.Repeating(d.last.Settings)
	}
	d.facts.Plain = d.cfg.Pools.Plain()
	d.cfg = d.cfg.WithScope(d.facts.ID)
	d.report(d.lastError(ctx))
	d.report(d.localFiles()...)
	d.report(d.credentials(ctx)...)
	endpoints := d.endpoints(ctx)
	role := d.roleFinding(ctx)
	if role.Result == resultFailed { // perhaps because EC2 did not answer
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
		func() []Finding {
			kernel = d.kernelFindings(ctx) // the plan needs the rules
			return d.pools(ctx)
		},
		func() []Finding { return d.otherSubnets(ctx) },
		func() []Finding { room = d.room(ctx); return nil },
	)
	if room.Result != resultFailed {
		findings, room = append(findings, room), Finding{}
	}
	d.report(room)
	d.report(kernel...)
	d.report(endpoints...)
	d.report(findings...)
	d.report(d.seen.runFinding(d.diagnose.Failed > 0)...)
	d.report(d.staticFinding(ctx))
	d.report(d.tracking(ctx)...)
	d.report(d.unitFinding(ctx))
	d.report(d.verifyFindings(ctx)...)
}

func (d *examination) report(findings ...Finding) {
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

// imdsTimeout returns how long IMDS is asked.
func (d *examination) imdsTimeout() time.Duration {
	return cmp.Or(d.cfg.IMDSTimeout, doctorIMDS)
}

// credentials loads the SDK's configuration and gets credentials.
func (d *examination) credentials(ctx context.Context) []Finding {
	region := d.facts.ID.Region
	if told := d.facts.Files.Region(); region == "" && pool.IsRegion(told) {
		region = told
	}
	var err error
	if d.session.AWS, err = ec2.Load(ctx, d.env, region); err != nil {
		d.session.AWS = nil
		if errors.Is(err, ec2.ErrNoRegion) && !d.known {
			return []Finding{unknown("credentials", "", "repair imds first; or set AWS_REGION to have the endpoints checked meanwhile",
				"the region is unknown: neither IMDS nor EMR's files nor AWS_REGION names it")}
		}
		return []Finding{of(err, "credentials", "")}
	}
	if d.facts.ID.Region == "" {
		d.facts.ID.Region = d.session.AWS.Config.Region
	}
	d.api = withAttempts(d.session.AWS.Config)
	d.session.EC2 = ec2.NewNode(d.api, d.facts.ID, d.facts.Cluster, d.env)
	d.session.EC2.Plain = d.facts.Plain
	ctx, cancel := context.WithTimeout(ctx, d.imdsTimeout())
	defer cancel()
	if err := ec2.WaitForCredentials(ctx, d.api, d.env, d.imdsTimeout()/2); err != nil {
		return []Finding{of(err, "credentials", "")}
	}
	d.signs = true
	c, err := d.api.Credentials.Retrieve(ctx)
	if err != nil {
		return []Finding{of(exit.With(exit.Permission, err, ""), "credentials", "")}
	}
	until := ""
	if c.CanExpire {
		until = ", until " + c.Expires.UTC().Format(time.RFC3339)
	}
	findings := []Finding{fine("credentials", "", "from %s%s", c.Source, until)}
	for _, other := range d.session.AWS.Elsewhere {
		findings = append(findings, warning("region", "", "nothing has to be done for this program; other programs on this node call the other region", "%s", other))
	}
	return findings
}

// unasked returns why a service's calls cannot be made, or "" if they can.
func (d *examination) unasked(service string) string {
	switch {
	case d.session.AWS == nil || !d.signs:
		return "there are no credentials"
	case !d.reached[service]:
		return "the " + service + " endpoint does not answer"
	}
	return ""
}

// call bounds one call to AWS. Its error has an exit code and remedy where one is known.
func (d *examination) call(ctx context.Context, do func(context.Context) error) error {
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
