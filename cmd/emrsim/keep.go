package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/control"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/terminal"
)

// stay keeps the cluster for other terminals until the rehearsal is interrupted.
func (r *rehearsal) stay(ctx context.Context) error {
	site := control.Site{Cluster: r.cluster, Binary: r.binary, Args: r.args}
	node, kind := "core-1", "core"
	if r.spec.Plain > 0 {
		node, kind = "node-1", "node"
	}
	fmt.Fprintf(os.Stdout, "\nThe cluster stays until Ctrl-C. In another terminal:\n"+
		"  emrsim nodes                     the nodes and their addresses\n"+
		"  emrsim shell %[1]s              a shell on a node\n"+
		"  emrsim exec %[1]s -- COMMAND    one command\n"+
		"  emrsim end %[1]s                end a node, as a resize does (--abrupt: as a failure does)\n"+
		"  emrsim add %[2]s                  add a node and run the bootstrap action on it\n", node, kind)
	err := site.Serve(ctx)
	fmt.Fprintln(os.Stdout, "\nthe cluster is removed")
	return err
}

// openShell gives the operator a shell on a node and returns when the shell ends: an exitError if
// the shell's exit code is not 0.
func (r *rehearsal) openShell(ctx context.Context) error {
	fmt.Fprintf(os.Stdout, "\na shell on %s; the cluster ends with it\n", r.shell)
	n := r.named(r.shell)
	if !terminal.Is(os.Stdin) {
		code, err := r.cluster.Session(ctx, n, lab.Session{Term: os.Getenv("TERM"), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
		return ended(code, err)
	}
	fmt.Fprint(os.Stdout, r.cluster.Hint())
	return attach(func(tty *os.File) error {
		code, err := r.cluster.Session(ctx, n, lab.Session{Term: os.Getenv("TERM"), Terminal: tty})
		return ended(code, err)
	})
}

// ended returns an exitError with the exit code of a program that ran on a node.
func ended(code int, err error) error {
	if err == nil && code != 0 {
		return exitError(code)
	}
	return err
}

// attach connects this process's terminal to a new pseudo-terminal while use runs. The program of
// use is in other namespaces and so cannot have this process's terminal as its own.
func attach(use func(tty *os.File) error) error {
	master, tty, err := terminal.Open()
	if err != nil {
		return err
	}
	defer master.Close()
	size := func() error { return terminal.Resize(master, terminal.SizeOf(os.Stdin)) }
	if err := size(); err != nil {
		return errors.Join(err, tty.Close())
	}
	restore, err := terminal.Raw(os.Stdin)
	if err != nil {
		return errors.Join(err, tty.Close())
	}
	defer restore()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	defer signal.Stop(resized)
	go func() {
		for range resized {
			_ = size() // the terminal may have gone
		}
	}()
	go func() { _, _ = io.Copy(master, os.Stdin) }() // ends with the process
	finish := terminal.Copy(os.Stdout, master)
	err = use(tty)
	tty.Close()
	finish()
	return err
}

// siteCommands are the commands for a rehearsal that stays in another terminal.
func siteCommands() []*cobra.Command {
	pid := 0
	ask := func(cmd *cobra.Command, r control.Request, interactive bool) error {
		code, err := control.Ask(cmd.Context(), pid, r, interactive)
		switch {
		case errors.As(err, &control.ChoiceError{}):
			return usageError{err}
		case err != nil:
			return err
		case code != 0:
			return exitError(code)
		}
		return nil
	}
	abrupt := false
	nodes := &cobra.Command{Use: "nodes", Short: "List the nodes of a rehearsal that stays", Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return ask(cmd, control.Request{Command: "nodes"}, false) }}
	shell := &cobra.Command{Use: "shell NODE", Short: "Open a shell on a node of a rehearsal that stays", Args: oneNode,
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(cmd, control.Request{Command: "shell", Node: args[0]}, true)
		}}
	execute := &cobra.Command{Use: "exec [flags] NODE -- COMMAND [ARGUMENT...]", Short: "Run a command on a node of a rehearsal that stays; the exit code is the command's",
		Example: "  emrsim exec core-1 -- emr-static-ip status\n  emrsim exec core-1 -- ip addr del 10.0.1.11/32 dev ens5",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 || (len(args) == 2 && args[1] == "--") {
				return usageError{errors.New("a node and a command: emrsim exec core-1 -- emr-static-ip status")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			command := args[1:]
			if command[0] == "--" {
				command = command[1:]
			}
			return ask(cmd, control.Request{Command: "exec", Node: args[0], Args: command}, true)
		}}
	execute.Flags().SetInterspersed(false)
	end := &cobra.Command{Use: "end NODE", Short: "End a node of a rehearsal that stays: EMR's shutdown actions run, and the instance terminates", Args: oneNode,
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(cmd, control.Request{Command: "end", Node: args[0], Abrupt: abrupt}, false)
		}}
	end.Flags().BoolVar(&abrupt, "abrupt", false, "without shutdown actions, as in a failure of the hardware")
	add := &cobra.Command{Use: "add core|task|master|node", Short: "Add a node to a rehearsal that stays, and run the bootstrap action on it", Args: func(_ *cobra.Command, args []string) error {
		if len(args) != 1 || (args[0] != "core" && args[0] != "task" && args[0] != "master" && args[0] != "node") {
			return usageError{errors.New("which role? core, task or master; node outside EMR")}
		}
		return nil
	}, RunE: func(cmd *cobra.Command, args []string) error {
		role := map[string]string{"core": cloud.RoleCore, "task": cloud.RoleTask, "master": cloud.RoleMaster}[args[0]]
		return ask(cmd, control.Request{Command: "add", Node: role}, false)
	}}
	all := []*cobra.Command{nodes, shell, execute, end, add}
	for _, c := range all {
		c.Flags().IntVar(&pid, "pid", 0, "process id of the rehearsal, where more than one runs")
	}
	return all
}

func none(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("nothing is expected after the command, and there is %q", args[0])}
	}
	return nil
}

func oneNode(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{errors.New("which node? emrsim nodes shows them")}
	}
	return nil
}
