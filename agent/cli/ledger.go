package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/ledger"
)

// ledger is the command ledger with the commands below it. output is the flag that status has too.
func (c *commandLine) ledger(output *pflag.Flag) *cobra.Command {
	all := &cobra.Command{
		Use: "ledger list|gc|repair", Short: "Show and clean the claims of a subnet, from anywhere with credentials", Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			value := "ledger needs a command: list, gc or repair"
			if len(c.problems) > 0 {
				value += "; it goes before flags"
			}
			if len(args) > 0 {
				value = "ledger has no command " + text.Quote(args[0]) + ": list, gc or repair"
				if likely := text.Nearest(args[0], []string{"list", "gc", "repair"}); likely != "" {
					value += "; did you mean " + likely + "?"
				}
			}
			return exit.Invalid(errors.Join(append(c.problems, errors.New(value))...), usageHint)
		},
	}
	list := &cobra.Command{
		Use: "list [flags] [ADDRESS...]", Short: "List the addresses of the ledger with their holders, and the given ones", Args: cobra.ArbitraryArgs,
		RunE: c.ledgerCommand(ledger.List),
	}
	gc := &cobra.Command{
		Use: "gc [flags]", Short: "Remove the records of owners that are gone; without --yes: show them", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				c.problem("ledger gc takes no addresses (%s): it removes what is stale", text.Quote(args[0]))
			}
			return c.ledgerCommand(ledger.GC)(cmd, nil)
		},
	}
	repair := &cobra.Command{
		Use: "repair [flags] [ADDRESS...]", Short: "Mend records that cannot be read or contradict EC2; without --yes: show them", Args: cobra.ArbitraryArgs,
		RunE: c.ledgerCommand(ledger.Repair),
	}
	all.AddCommand(list, gc, repair)
	for _, cmd := range all.Commands() {
		cmd.Flags().AddFlag(output)
	}
	help := c.help
	all.SetHelpFunc(func(cmd *cobra.Command, args []string) { // the commands below it have it too
		for _, name := range notOfLedger() {
			cmd.Root().Flag(name).Hidden = true
		}
		help(cmd, args)
	})
	c.flags.add(flagSubnet, "SUBNET", "", "whose ledger (without: a node's own; where a region is given, all)", list, gc, repair)
	c.flags.add(flagRegion, "REGION", "", "where (without: by the AWS settings, else a node's own)", list, gc, repair)
	c.flags.add(flagYes, "bool", "", "carry out what gc and repair would do", gc, repair)
	return all
}

// notOfLedger are the flags of all commands that are about a node, and the ledger commands do nothing with.
func notOfLedger() []string { return []string{flagBackend, flagLockWait, flagStateDir} }

// ledgerCommand is the body of a ledger command. It is run as whoever calls it.
func (c *commandLine) ledgerCommand(name string) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c.program.Elevate = nil
		return c.work(cmd, args, func(ctx context.Context, cfg agent.Config, env agent.Environment) error {
			l, err := c.program.Ledger(ctx, name, cfg, env)
			if c.report = l.Work; err != nil {
				return err
			}
			l.Tool = agent.Version()
			if c.code = l.ExitCode(); l.Changed == 0 {
				return l.Render(env.Stdout, cfg.Output)
			}
			if err := l.Render(env.Stdout, cfg.Output); err != nil {
				env.Log.Warn("the report could not be written", zap.Error(err)) // what it tells is done
			}
			return nil
		})
	}
}
