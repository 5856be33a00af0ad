package agent

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/verify"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// Target is a TCP service that --verify connects to.
type Target = verify.Target

// verifyServices connects to each service of --verify. The error names every service that cannot be
// reached, with exit code 13. The node keeps its static IP. want is the kernel's wanted state.
func verifyServices(ctx context.Context, targets []Target, env Environment, k netcfg.Kernel, want netcfg.Config, report *reporter) error {
	if len(targets) == 0 {
		return nil
	}
	report.log.Info(fmt.Sprintf("verifying: connecting to %s with the static IP %s", verify.Join(targets), want.Static), zap.String("step", stepVerify), addressField(want.Static))
	notes, err := verify.NewProber(env, k, want).Verify(ctx, targets)
	for _, note := range notes {
		report.note(note)
	}
	return err
}
