package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/ledger"
	"github.com/emr-static-ip/emr-static-ip/agent/operator"
)

// ledgerCommands are the commands below ledger.
var ledgerCommands = []string{ledger.List, ledger.GC, ledger.Repair, ledger.Remove, ledger.Watch}

// ledger returns the command ledger with the commands below it.
func (c *commandLine) ledger() *cobra.Command {
	all := c.printing(&cobra.Command{
		Use: "ledger " + strings.Join(ledgerCommands, "|"), Short: "Show and clean the records of a subnet, from anywhere with credentials", Args: cobra.ArbitraryArgs,
		Long: `Show and clean the records of a subnet's addresses. The commands need AWS credentials, but no node.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			value := "ledger needs a command: " + enumeratedBy("or", ledgerCommands)
			if len(c.problems) > 0 {
				value += "; it goes before flags"
			}
			if len(args) > 0 {
				value = "ledger has no command " + text.Quote(args[0]) + ": " + enumeratedBy("or", ledgerCommands)
				if likely := likelyCommand(cmd, args[0]); likely != "" {
					value += "; did you mean " + likely + "?"
				}
			}
			return exit.Invalid(errors.Join(append(c.problems, errors.New(value))...), usageHint(cmd))
		},
	}, &ledger.Report{})
	list := &cobra.Command{
		Use: "list [flags] [ADDRESS...]", Short: "List the addresses that have records, and their holders", Args: cobra.ArbitraryArgs,
		Long: `List the addresses that have records, and the given ones, each with the node that has it by EC2. The
exit code is 10 if somebody should look after one of them.`,
		Example: `  emr-static-ip ledger list --region eu-central-1 --subnet subnet-0a1b2c3d`,
		RunE:    c.ledgerCommand(ledger.List),
	}
	gc := &cobra.Command{
		Use: "gc [flags]", Short: "Remove the records of instances that are gone", Args: cobra.ArbitraryArgs,
		Long:    `Remove the records of instances that are gone. Without --yes, show which.`,
		Example: `  emr-static-ip ledger gc --region eu-central-1 --subnet subnet-0a1b2c3d --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				c.problem("ledger gc takes no arguments (%s): it removes what is stale", text.Quote(args[0]))
			}
			return c.ledgerCommand(ledger.GC)(cmd, nil)
		},
	}
	repair := &cobra.Command{
		Use: "repair [flags] [ADDRESS...]", Short: "Repair records that are unreadable or contradict EC2", Args: cobra.ArbitraryArgs,
		Long: `Repair records that are unreadable or contradict EC2, or only those of the given addresses. Without
--yes, show which. The exit code is 10 if something is left to repair.`,
		Example: `  emr-static-ip ledger repair --region eu-central-1 --subnet subnet-0a1b2c3d --yes 10.0.1.20`,
		RunE:    c.ledgerCommand(ledger.Repair),
	}
	remove := &cobra.Command{
		Use: "remove [flags] ADDRESS", Short: "Remove the record of one address that nobody has", Args: cobra.ArbitraryArgs,
		Long: `Remove the record of one address, on purpose. It is looked at first: the record of an address that a
network interface carries is left, and the message has the command that takes the address away. Without
--yes, show what would be done. The exit code is 10 if the record is left.`,
		Example: `  emr-static-ip ledger remove --region eu-central-1 --subnet subnet-0a1b2c3d 10.0.1.20 --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				c.problem("ledger remove takes one address")
			} else if _, err := text.IPv4(args[0]); err != nil {
				c.problem("ledger remove takes one address: %s %w", text.Quote(args[0]), err)
				args = nil
			}
			return c.ledgerCommand(ledger.Remove)(cmd, args)
		},
	}
	watch := &cobra.Command{
		Use: "watch [flags] [ADDRESS...]", Short: "Print changes of records and their holders until interrupted", Args: cobra.ArbitraryArgs,
		Long: `Look at the ledger every few seconds, and print what has changed: states, records and holders. It ends
when it is interrupted (Ctrl-C), with exit code 0. With -o json each line is an object.`,
		Example: `  emr-static-ip ledger watch --region eu-central-1 --subnet subnet-0a1b2c3d`,
		RunE:    c.watch,
	}
	all.AddCommand(list, gc, repair, remove, watch)
	for _, cmd := range all.Commands() {
		c.printing(cmd, &ledger.Report{Command: cmd.Name()})
	}
	place := []string{flagSubnet, flagRegion}
	c.flags.add(list, append(place, flagRegions), nil)
	c.flags.add(watch, place, nil)
	for _, cmd := range []*cobra.Command{gc, repair, remove} {
		c.flags.add(cmd, append(place, flagYes), nil)
	}
	c.flags.add(repair, []string{flagClaimTag}, nil)
	// These may also stand before list and the others.
	c.flags.addBelow(all, awsFlags, map[string]own{flagIMDS: {shown: shortDuration(operator.IMDSTimeout)}, flagTimeout: eachLook("watch")})
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

// watch is the body of ledger watch. It needs no root.
func (c *commandLine) watch(cmd *cobra.Command, args []string) error {
	c.program.Elevate = nil
	return c.work(cmd, args, func(ctx context.Context, cfg agent.Config, env agent.Environment) error {
		l, err := c.program.Watch(ctx, cfg, env, func(l ledger.Report) error { return c.emit(&l, cfg.Output) })
		if c.report = l.Work; cfg.Output == formatJSON {
			c.document = &l // the last object has the ledger as it was at the end
		}
		return err
	})
}
