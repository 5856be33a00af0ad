package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// views is what the claim protocol sees of a list of addresses, and what a run would do.
type views struct {
	ssmcoord.Preview
	planned     bool             // Plan and Err are those of a run on this node
	last        netip.Addr       // the address in use, for the plan
	ledger      *ssmcoord.Ledger // where the records are
	before, now []string         // the steps of the plan, before and after the kernel is programmed
}

// look asks ledger and EC2 about the addresses. For this node it also makes the plan of the run
// that would begin now, of the same facts and by the same clock as that run.
func (d *examination) look(ctx context.Context, addrs []netip.Addr, programmed []netip.Addr) (v views) {
	c := d.claimant()
	c.AWS, c.EC2 = d.askable("ssm"), ec2.NewNode(d.askable("ec2"), d.facts.ID, d.facts.Cluster, d.env)
	c.EC2.Role, c.EC2.Plain = d.facts.Role.Role, d.facts.Plain
	err := error(nil)
	if v.planned = !d.elsewhere && !d.refused; v.planned {
		err = c.FindUnnamed(ctx, programmed)
	}
	o := c.Options(c.State().Resumed())
	v.planned = v.planned && len(o.Pools[o.Self.Role]) > 0
	if !v.planned || err != nil {
		o.Pools, o.Past = nil, ssmcoord.Past{}
	}
	v.ledger, v.last = o.Ledger, o.Past.Last
	v.Preview = ssmcoord.New(o).Preview(ctx, addrs)
	if err != nil {
		v.Err = err
	}
	v.before, v.now = o.Ledger.Steps(v.Plan.Claim, o.Self.ENI), o.Ledger.Steps(v.Plan.Settle, o.Self.ENI)
	for _, err := range []*error{&v.Err, &v.LedgerErr, &v.EC2Err} {
		if *err != nil {
			*err = d.explainCall(ctx, *err)
		}
	}
	return v
}

// claimant returns what the node's coordinator is made of, without the way to AWS.
func (d *examination) claimant() agent.Claimant {
	return agent.Claimant{Config: d.cfg, Facts: d.facts, File: d.last, Known: d.hasState}
}

// uncalled is the error of a call that was not made, with the reason.
type uncalled string

func (u uncalled) Error() string { return string(u) }

// explainCall gives the error of a call its exit code and remedy where one is known.
func (d *examination) explainCall(ctx context.Context, err error) error {
	if u := uncalled(""); errors.As(err, &u) {
		return u
	}
	return d.explain(ctx, err)
}

// askable returns the configuration for a service of which each call ends within doctorCall. If the
// service cannot be asked, or has not answered a call, its calls fail at once.
func (d *examination) askable(service string) aws.Config {
	cfg, silent := d.api.Copy(), atomic.Pointer[error]{}
	if why := d.unasked(service); why != "" {
		err := error(uncalled(why))
		silent.Store(&err)
	}
	bound := func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
		if err := silent.Load(); err != nil {
			return middleware.InitializeOutput{}, middleware.Metadata{}, *err
		}
		bounded, cancel := context.WithTimeout(ctx, doctorCall)
		defer cancel()
		out, meta, err := next.HandleInitialize(bounded, in)
		if err != nil && ctx.Err() == nil && bounded.Err() != nil {
			err = fmt.Errorf("no answer within %s: %w", doctorCall, err)
			silent.Store(&err)
		}
		return out, meta, err
	}
	cfg.APIOptions = append(slices.Clip(cfg.APIOptions), func(s *middleware.Stack) error {
		return s.Initialize.Add(middleware.InitializeMiddlewareFunc("BoundCall", bound), middleware.Before)
	})
	return cfg
}

// programmedStatics returns the static IPs that the rules in the kernel name. It returns none if
// the kernel cannot be looked at, as a plan that is not made by root.
func (d *examination) programmedStatics(ctx context.Context) ([]netip.Addr, error) {
	if !d.kernelOK {
		return nil, nil
	}
	o, err := d.session.Kernel.Observe(ctx, d.facts.ID.MAC)
	return agent.ProgrammedStatics(o, d.facts.ID.PrimaryIP), node.KernelError(err)
}

// exhausted reports whether a run would find every address taken.
func (v views) exhausted() bool {
	e := (*ssmcoord.ExhaustedError)(nil)
	return errors.As(v.Err, &e)
}

// runFinding says what a run would do in EC2 and the ledger. It is the plan that `emr-static-ip
// plan` prints, and that a run carries out.
func (v views) runFinding(failedBefore bool) []Finding {
	switch {
	case !v.planned:
		return nil
	case v.exhausted():
		return []Finding{failed(exit.NoAddress, "run", "", "name more addresses, or end what holds them (see above)",
			"every address is in use: a run would wait for one, and fail at its --timeout if none comes free")}
	case v.Err != nil:
		return []Finding{unknown("run", "", strings.Join(exit.Remedies(v.Err), "; or "), "what a run would do is unknown: %v", v.Err)}
	}
	begin := "a run would "
	if failedBefore {
		begin = "when the failed checks above are repaired, a run would "
	}
	steps := append(v.before, v.now...)
	f := fine("run", "", "%s", begin+strings.Join(steps, "; "))
	if len(steps) == 0 {
		f = fine("run", "", "%skeep %s, and change nothing in EC2 and the ledger", begin, v.Plan.Addr)
	}
	if v.Plan.Doubt {
		f.Result, f.Detail = resultWarning, agent.DoubtText(v.last)+". "+strings.ToUpper(f.Detail[:1])+f.Detail[1:]
		f = f.with("run emr-static-ip")
	}
	f.Addresses = []netip.Addr{v.Plan.Addr}
	findings := []Finding{f}
	for _, note := range v.Plan.Notes {
		findings = append(findings, fine("run", "", "%s", note))
	}
	return findings
}
