package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/doctor"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// flagVersion is the flag that does the same as the version command.
const flagVersion = "version"

// What commands have of their own about flags. Some do not wait as long as apply does.
var (
	restoreFlags = with(lastRun, map[string]own{flagIMDS: {shown: shortDuration(agent.DefaultRestoreIMDSTimeout)}})
	statusFlags  = with(restoreFlags, map[string]own{flagTimeout: eachLook("with --wait")})
	doctorFlags  = map[string]own{
		flagIMDS:     {shown: shortDuration(agent.DefaultDoctorIMDSTimeout)},
		flagLockWait: {shown: shortDuration(agent.DefaultDoctorLockWait)},
		flagSubnet:   {help: "examine this subnet from outside (default: this node)"},
		flagRegion:   {help: "region of --subnet (default: from the AWS settings, else this node's)"},
	}
)

// restoreCommand is the command that a timer runs every minute.
const restoreCommand = "restore"

// poweroffCommand is the release by emr-static-ip-release.service.
const poweroffCommand = "at-poweroff"

// tree returns the root command with all commands below it. Without a command, the root does the
// same as apply.
func (c *commandLine) tree() *cobra.Command {
	c.flags = newFlags(c.env)
	c.flags.only = c.only
	root := &cobra.Command{
		Use:               "emr-static-ip [flags] MASTER_IP CORE_IP...",
		Short:             "Give an EMR node a static private IP",
		Long:              helpText,
		Args:              cobra.ArbitraryArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(cmd *cobra.Command, args []string) error {
			if asked, err := cmd.Flags().GetBool(flagVersion); err != nil || asked {
				c.document = versions()
				return err
			}
			return c.run(c.program.Apply)(cmd, args)
		},
	}
	root.Flags().Bool(flagVersion, false, "version for emr-static-ip")
	root.SetOut(c.env.Stdout)
	root.SetErr(c.env.Stderr)
	root.SetHelpFunc(c.help)
	c.flags.add(root, applyFlags, nil)
	c.flags.add(root, nodeFlags, nil)
	run := &c.report
	root.AddCommand(c.printing(c.apply(), run), c.printing(c.plan(), run), c.printing(c.doctorCommand(), &doctor.Diagnosis{}), c.printing(c.retryCommand(), run), c.printing(c.poweroffCommand(), run),
		c.printing(c.release(), run), c.printing(c.restore(), run), c.printing(c.statusCommand(), &agent.Status{Verdict: agent.VerdictUnknown}), c.ledger(), c.cluster(),
		c.completion(), c.printing(c.version(), versions()), c.euid())
	return c.printing(root, run)
}

func (c *commandLine) apply() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apply [flags] [MASTER_IP CORE_IP...]",
		Short: "Give this node its static IP (default command)",
		Long: `Give this node an address of its role's list: assign it in EC2, program address and rules, write
the record. Without addresses, repeat the last run, with its settings in place of the defaults. A
second run changes nothing.`,
		Example: `  emr-static-ip 10.0.1.10 10.0.1.20-29
  emr-static-ip --master-ips 10.0.1.10-12 --core-ips 10.0.1.20-29 --verify 192.168.50.10:8020`,
		Args: cobra.ArbitraryArgs,
		RunE: c.run(c.program.Apply),
	}
	c.flags.add(cmd, applyFlags, nil)
	c.flags.add(cmd, nodeFlags, nil)
	return cmd
}

func (c *commandLine) plan() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "plan [flags] [MASTER_IP CORE_IP...]",
		Short:   "Show what apply would change, and change nothing",
		Long:    `Show what apply would change, and change nothing. Give it the arguments of apply.`,
		Example: `  emr-static-ip plan 10.0.1.10 10.0.1.20-29`,
		Args:    cobra.ArbitraryArgs,
		RunE:    c.run(c.program.Plan),
	}
	c.flags.add(cmd, applyFlags, nil)
	c.flags.add(cmd, nodeFlags, nil)
	return cmd
}

// retryCommand returns the hidden command that the retry unit runs.
func (c *commandLine) retryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: retryCommand, Short: "Repeat a failed apply, for the timer of --on-error continue", Hidden: true, Args: cobra.ArbitraryArgs,
		RunE: c.run(c.program.Apply),
	}
	c.flags.add(cmd, applyFlags, nil)
	c.flags.add(cmd, nodeFlags, nil)
	return cmd
}

func (c *commandLine) release() *cobra.Command {
	cmd := c.withoutArguments("release", "it gives back what this node has", c.run(c.program.Release))
	cmd.Short = "Give this node's static IP back"
	cmd.Long = `Give this node's static IP back: remove rules and address from the kernel, delete the record, and
unassign the address in EC2. An interrupted release goes on when it is run again.`
	cmd.Example = `  emr-static-ip release`
	c.flags.add(cmd, nodeFlags, lastRun)
	return cmd
}

// poweroffCommand returns the hidden command that the release unit runs when it is stopped. The
// unit has the word too.
func (c *commandLine) poweroffCommand() *cobra.Command {
	cmd := c.withoutArguments(poweroffCommand, "it gives back what this node has", c.run(c.program.Release))
	cmd.Short, cmd.Hidden = "Release at poweroff, for the unit of instances outside EMR", true
	c.flags.add(cmd, nodeFlags, lastRun)
	return cmd
}

func (c *commandLine) restore() *cobra.Command {
	cmd := c.withoutArguments("restore", "it restores what the last run left", c.run(c.program.Restore))
	cmd.Short = "Put back address and rules that the kernel has lost"
	cmd.Long = `Put back address and rules that the kernel has lost, and write a record that is still pending. A
systemd timer runs it every minute. The exit code is 12 if EC2 no longer gives the static IP to this
node: address and rules are then taken out.`
	cmd.Example = `  emr-static-ip restore`
	c.flags.add(cmd, nodeFlags, restoreFlags)
	return cmd
}

func (c *commandLine) statusCommand() *cobra.Command {
	cmd := c.withoutArguments("status", "it looks at what the last run left", func(cmd *cobra.Command, _ []string) error { return c.work(cmd, nil, c.status) })
	cmd.Short = "Compare this node with what the last run left"
	cmd.Long = `Compare kernel, units, IMDS, EC2 and the record with what the last run left, and change nothing. The
exit code is the verdict:

     0  in order, or settling: AWS may be late to show what a run has just done
    10  drifted, or with --wait still settling
    11  not configured: this node has no static IP
    12  withdrawn: EC2 no longer gives the static IP to this node

Any other code means that there is no verdict.`
	cmd.Example = `  emr-static-ip status -o json
  emr-static-ip status --wait 1m`
	c.flags.add(cmd, nodeFlags, statusFlags)
	c.flags.add(cmd, []string{flagWait}, nil)
	return cmd
}

func (c *commandLine) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [flags] [MASTER_IP CORE_IP...]",
		Short: "Check endpoints, permissions, addresses and this node",
		Long: `Check everything that a run needs: endpoints, permissions, addresses and this node. Run it with the
arguments of the bootstrap action, on a node or on another instance of the subnet. With --subnet it
runs anywhere with AWS credentials, also before there is an instance: it then says what EC2 and IAM
tell of that subnet, and what cannot be seen from there. On a node, without addresses, it takes the
list and the settings of the last run. The exit code is that of the first failed check, or 0.`,
		Example: `  emr-static-ip doctor 10.0.1.10 10.0.1.20-29 --verify 192.168.50.10:8020
  emr-static-ip doctor --region eu-central-1 --subnet subnet-0a1b2c3d --role-name EMR_EC2_DefaultRole 10.0.1.10 10.0.1.20-29
  emr-static-ip doctor --bundle /tmp/node.tar.gz`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(c.flags.get(cmd, flagSubnet).texts) > 0 {
				c.program.Elevate = nil // it looks at nothing of this machine
				if w := c.flags.get(cmd, flagBundle); len(w.texts) > 0 {
					c.problem("%s is of the node that doctor runs on: not with --subnet, which is a look from outside", w.name)
				}
			} else {
				for _, flag := range []string{flagCluster, flagRoleName} {
					if w := c.flags.get(cmd, flag); len(w.texts) > 0 {
						c.problem("%s goes with --subnet, which names the subnet to look at from outside", w.name)
					}
				}
				// The variable may be meant for ledger and cluster.
				if w := c.flags.get(cmd, flagRegion); len(w.texts) > 0 && !w.variable {
					c.problem("%s goes with --subnet, which names the subnet to look at from outside; on a node the region is the node's", w.name)
				}
			}
			return c.work(cmd, args, c.doctor)
		},
	}
	c.flags.add(cmd, applyFlags, nil)
	c.flags.add(cmd, []string{flagSubnet, flagRegion, flagCluster, flagRoleName}, doctorFlags)
	c.flags.add(cmd, nodeFlags, doctorFlags)
	c.flags.add(cmd, []string{flagBundle}, nil)
	return cmd
}

// withoutArguments returns a command that takes no arguments. why says what it works on instead.
func (c *commandLine) withoutArguments(name, why string, run func(*cobra.Command, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: name + " [flags]", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				c.problem("%s takes no arguments (%s): %s", name, text.Quote(args[0]), why)
			}
			return run(cmd, nil)
		},
	}
}

func (c *commandLine) version() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version [flags]", Short: "Print the version", Args: cobra.ArbitraryArgs,
		Example: `  emr-static-ip version -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				c.problem("version takes no arguments (%s)", text.Quote(args[0]))
			}
			_, err := c.flags.config(cmd, nil)
			if err := errors.Join(append(c.problems, err)...); err != nil {
				return exit.Invalid(err, usageHint(cmd))
			}
			c.document = versions()
			return nil
		},
	}
	c.flags.add(cmd, []string{flagOutput}, nil)
	return cmd
}

// euid returns the hidden command by which the program asks itself, behind sudo, for its user.
func (c *commandLine) euid() *cobra.Command {
	return &cobra.Command{
		Use: euidCommand, Short: "Print the effective user id", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(c.problems) > 0 {
				return exit.Invalid(errors.Join(c.problems...), usageHint(cmd))
			}
			_, err := fmt.Fprintln(c.env.Stdout, euid())
			return err
		},
	}
}

// commandPath returns a command's name, after that of the command that it is part of.
func commandPath(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}
