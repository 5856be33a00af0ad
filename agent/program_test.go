package agent_test

import (
	"context"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/cli"
)

// The tests of package agent run the command line and its log through these variables.
func init() {
	agent.NewLogger = cli.NewLogger
	agent.CommandLine = func(ctx context.Context, apply func(context.Context, agent.Config, agent.Environment) (agent.Report, error), args []string, env agent.Environment) agent.ExitCode {
		p := cli.Program{Apply: apply, Plan: agent.Plan, Release: agent.Release, Restore: agent.Restore, Status: agent.Inspect, Suppress: agent.Suppress}
		return p.Main(ctx, args, env)
	}
}
