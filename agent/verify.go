package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/verify"
)

// Target is a TCP service that --verify connects to.
type Target = verify.Target

// verifyTime limits all attempts at one service. EC2 carries out an assignment some time after it
// has accepted it, so the first packets may get no answer.
const verifyTime = 20 * time.Second

// prober returns a Prober for this node. static is the zero Addr if the node has no static IP.
func (r *run) prober(static netip.Addr) verify.Prober {
	p := verify.Prober{
		Resolve:    r.env.LookupHost,
		Dial:       r.env.DialTCP,
		Translates: func(a netip.Addr) bool { return r.wanted(static, nil).Translates(a) },
		Static:     static,
	}
	if r.kernel != nil {
		p.Translation = r.kernel.Translation
	}
	return p
}

// applyVerified is apply and, on a node that has got its static IP, verify.
func (r *run) applyVerified(ctx context.Context) error {
	if err := r.apply(ctx); err != nil || r.rep.LeftAlone != "" {
		return err
	}
	return r.verify(ctx)
}

// verify connects to each service of --verify. The error names every service that cannot be reached,
// with exit code 13. The node keeps its static IP.
func (r *run) verify(ctx context.Context) error {
	if len(r.cfg.Verify) == 0 {
		return nil
	}
	services := verify.Join(r.cfg.Verify)
	r.log.Info(fmt.Sprintf("verifying: connecting to %s with the static IP %s", services, r.rep.Static))
	var problems []error
	for _, result := range r.prober(r.rep.Static).Probe(ctx, r.cfg.Verify, verifyTime) {
		if result.Err == nil {
			r.note(result.String())
			continue
		}
		problems = append(problems, exit.With(ExitVerify, errors.New(result.String()), result.Remedy()))
	}
	switch {
	case len(problems) == 0:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("verifying %s: %w", services, context.Cause(ctx))
	}
	return errors.Join(append(problems, fmt.Errorf("the static IP %s itself is in order: attached and programmed, and it stays so", r.rep.Static))...)
}
