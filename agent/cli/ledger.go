package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/ledger"
	"github.com/emr-static-ip/emr-static-ip/agent/operator"
)

// ledgerCommands are the commands below ledger.
var ledgerCommands = []string{ledger.List, ledger.GC, ledger.Repair}

// ledger returns the command ledger with the commands below it.
func (c *commandLine) ledger() *cobra.Command {
	all := c.printing(&cobra.Command{
		Use: "ledger list|gc|repair", Short: "Show and clean the records of a subnet, from anywhere with credentials", Args: cobra.ArbitraryArgs,
		Long: `Show and clean the records of a subnet's addresses. The commands need AWS credentials, but no node.`,
		RunE: func(_ *cobra.Command, args []string) error {
			value := "ledger needs a command: list, gc or repair"
			if len(c.problems) > 0 {
				value += "; it goes before flags"
			}
			if len(args) > 0 {
				value = "ledger has no command " + text.Quote(args[0]) + ": list, gc or repair"
				if likely := text.Nearest(args[0], ledgerCommands); likely != "" {
					value += "; did you mean " + likely + "?"
				}
			}
			return exit.Invalid(errors.Join(append(c.problems, errors.New(value))...), usageHint)
		},
	}, &ledger.Report{})
	list := &cobra.Command{
		Use: "list [flags] [ADDRESS...]", Short: "List the addresses that have records, and their holders", Args: cobra.ArbitraryArgs,
		Long:    `List the addresses that have records, and the given ones, each with the node that has it by EC2.`,
		Example: `  emr-static-ip ledger list --region eu-central-1 --subnet subnet-0a1b2c3d`,
		RunE:    c.ledgerCommand(ledger.List),
	}
	gc := &cobra.Command{
		Use: "gc [flags]", Short: "Remove the records of instances that are gone", Args: cobra.ArbitraryArgs,
		Long:    `Remove the records of instances that are gone. Without --yes, show which.`,
		Example: `  emr-static-ip ledger gc --region eu-central-1 --subnet subnet-0a1b2c3d --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				c.problem("ledger gc takes no addresses (%s): it removes what is stale", text.Quote(args[0]))
			}
			return c.ledgerCommand(ledger.GC)(cmd, nil)
		},
	}
	repair := &cobra.Command{
		Use: "repair [flags] [ADDRESS...]", Short: "Repair records that are unreadable or contradict EC2", Args: cobra.ArbitraryArgs,
		Long:    `Repair records that are unreadable or contradict EC2, or only those of the given addresses. Without --yes, show which.`,
		Example: `  emr-static-ip ledger repair --region eu-central-1 --subnet subnet-0a1b2c3d --yes 10.0.1.20`,
		RunE:    c.ledgerCommand(ledger.Repair),
	}
	all.AddCommand(list, gc, repair)
	for _, cmd := range all.Commands() {
		c.printing(cmd, &ledger.Report{Command: cmd.Name()})
	}
	place := []string{flagSubnet, flagRegion}
	c.flags.add(list.Flags(), place, nil)
	for _, cmd := range []*cobra.Command{gc, repair} {
		c.flags.add(cmd.Flags(), append(place, flagYes), nil)
	}
	c.flags.add(repair.Flags(), []string{flagClaimTag}, nil)
	// These may also stand before list, gc and repair.
	c.flags.add(all.PersistentFlags(), awsFlags, map[string]time.Duration{flagIMDS: operator.IMDSTimeout})
	return all
}

// ledgerCommand returns the body of a ledger command. It needs no root.
func (c *commandLine) ledgerCommand(name string) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c.program.Elevate = nil
		return c.work(cmd, args, func(ctx context.Context, cfg agent.Config, env agent.Environment) error {
			l, err := c.program.Ledger(ctx, name, cfg, env)
			c.report, c.document, c.code, c.done = l.Work, &l, l.ExitCode(), l.Changed > 0
			return err
		})
	}
}
