package doctor_test

import (
	"context"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/cli"
	"github.com/emr-static-ip/emr-static-ip/agent/doctor"
)

func init() {
	doctor.CommandLine = func(ctx context.Context, args []string, env agent.Environment) agent.ExitCode {
		p := cli.Program{Apply: agent.Apply, Plan: agent.Plan, Release: agent.Release, Restore: agent.Restore, Status: agent.Inspect, Suppress: agent.Suppress}
		return p.Main(ctx, args, env)
	}
}
