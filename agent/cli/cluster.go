package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/cluster"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/operator"
)

// cluster returns the command cluster with the command below it.
func (c *commandLine) cluster() *cobra.Command {
	all := c.printing(&cobra.Command{
		Use: "cluster check", Short: "Check whether all nodes of a cluster have their addresses, from anywhere with credentials", Args: cobra.ArbitraryArgs,
		Long: `Check whether all nodes of a cluster have their addresses. The command needs AWS credentials, but no node.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			value := "cluster needs a command: check"
			if len(args) > 0 {
				value = "cluster has no command " + text.Quote(args[0]) + ": emr-static-ip cluster check j-..."
			}
			return exit.Invalid(errors.Join(append(c.problems, errors.New(value))...), usageHint(cmd))
		},
	}, &cluster.Report{})
	check := c.printing(&cobra.Command{
		Use: "check [flags] CLUSTER_ID", Short: "List a cluster's nodes with their addresses and records", Args: cobra.ArbitraryArgs,
		Long: `List a cluster's nodes with what EC2, EMR and the records say of them. The exit code is 0 if every node
that should have an address has it, with its record, and 10 otherwise. Use it as a gate of a step or a
pipeline. The list of addresses is that of the bootstrap action, unless flags name one.`,
		Example: `  emr-static-ip cluster check j-1K48XXXXXXHCB --region eu-central-1 --wait 10m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.program.Elevate = nil
			id := c.clusterID(args)
			return c.work(cmd, nil, func(ctx context.Context, cfg agent.Config, env agent.Environment) error {
				cfg.Cluster = id
				r, err := c.program.Cluster(ctx, cfg, env, readArguments)
				c.document, c.code = &r, r.ExitCode()
				return err
			})
		},
	}, &cluster.Report{})
	all.AddCommand(check)
	c.flags.add(check, append(roleFlags, flagRegion, flagWait), nil)
	// These may also stand before check.
	c.flags.addBelow(all, awsFlags, map[string]own{
		flagIMDS:    {shown: shortDuration(operator.IMDSTimeout)},
		flagTimeout: eachLook("with --wait"),
		flagPrefix:  {help: "where the records are in Parameter Store (default: the bootstrap action's, else " + agent.DefaultPrefix + ")"},
	})
	return all
}

// clusterID returns the id of a cluster from the arguments of cluster check.
func (c *commandLine) clusterID(args []string) string {
	form := clusterForm()
	switch {
	case len(args) == 0:
		c.problem("cluster check needs the id of a cluster: emr-static-ip cluster check j-...")
		return ""
	case !form.Fits(args[0]):
		c.problem("%s is not the id of a cluster: %s", text.Quote(args[0]), form.Name)
	case len(args) > 1:
		c.problem("cluster check takes one cluster, and %s is one more argument", text.Quote(args[1]))
	}
	return args[0]
}

// readArguments reads the command line of a bootstrap action. The error says that it is not this
// program's, or that it does not give a node an address.
func readArguments(args []string) (agent.Config, error) {
	c := commandLine{env: agent.Environment{LookupEnv: func(string) (string, bool) { return "", false }}}
	root := c.tree()
	kept := c.scan(root, args)
	if len(c.problems) > 0 {
		return agent.Config{}, errors.Join(c.problems...)
	}
	cmd, rest, err := root.Find(kept)
	if err != nil {
		return agent.Config{}, err
	}
	if cmd != root && cmd.Name() != "apply" {
		return agent.Config{}, errors.New("the command is " + commandPath(cmd))
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return agent.Config{}, err
	}
	return c.flags.config(cmd, cmd.Flags().Args())
}
