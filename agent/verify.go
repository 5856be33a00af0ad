package agent

import (
	"context"
	"fmt"
	"net/netip"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/verify"
)

// Target is a TCP service that --verify connects to.
type Target = verify.Target

// verify connects to each service of --verify. The error names every service that cannot be
// reached, with exit code 13. The node keeps its static IP.
func (r *run) verify(ctx context.Context, static netip.Addr) error {
	if len(r.cfg.Verify) == 0 {
		return nil
	}
	r.report.log.Info(fmt.Sprintf("verifying: connecting to %s with the static IP %s", verify.Join(r.cfg.Verify), static), zap.String("step", stepVerify), addressField(static))
	notes, err := verify.NewProber(r.env, r.session.Kernel, r.wanted(static, nil)).Verify(ctx, r.cfg.Verify)
	for _, note := range notes {
		r.report.note(note)
	}
	return err
}
