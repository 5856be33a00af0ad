package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Session is a program on a node that an operator works with.
type Session struct {
	Argv     []string // the program, by name or path on the node, and its arguments; empty: a shell
	Term     string   // value of TERM
	Terminal *os.File // becomes the program's controlling terminal, in place of the three below
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
}

// Session runs a program on a node as root until it ends or the context is cancelled, which hangs
// it up. It returns the exit code: 127 if the node has no such program, 128 plus the number of a
// signal that ended it.
func (l *Lab) Session(ctx context.Context, n *Node, s Session) (exitCode int, err error) {
	argv := s.Argv
	if len(argv) == 0 {
		if argv, err = n.shell(s.Terminal != nil); err != nil {
			return -1, err
		}
	}
	n.wakeIMDS(ctx)
	err = n.ns.do(func() error {
		path, err := onNode(argv[0])
		if err != nil {
			exitCode = 127
			return err
		}
		cmd := exec.CommandContext(ctx, path, argv[1:]...)
		cmd.Env = []string{shellPath, "HOME=/root", "USER=root", "LANG=C.UTF-8", "TERM=" + s.Term, "PS1=" + n.Name + "# ", "AWS_ENDPOINT_URL=" + l.spec.Plan.EndpointURL()}
		cmd.Dir = "/root"
		cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Stdin, s.Stdout, s.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if s.Terminal != nil {
			cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Terminal, s.Terminal, s.Terminal
			cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
		}
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGHUP) }
		cmd.WaitDelay = 2 * time.Second
		err = cmd.Run()
		if cmd.ProcessState == nil {
			return fmt.Errorf("running %s on %s: %w", argv[0], n.Name, err)
		}
		exitCode = cmd.ProcessState.ExitCode()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			exitCode = 128 + int(status.Signal())
		}
		return nil
	})
	return exitCode, err
}

// shellPath is nodePath with the directories of Run's programs, where the agent is in any case.
const shellPath = nodePath + ":" + installed + ":" + plainInstalled

// onNode is called inside a node. It searches a program as a shell there does.
func onNode(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(strings.TrimPrefix(shellPath, "PATH=")) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: command not found on the node", name)
}

// shell returns the command of a shell: bash if the machine has it, otherwise sh. An interactive
// bash has completion and history.
func (n *Node) shell(interactive bool) (argv []string, err error) {
	err = n.ns.do(func() error {
		_, missing := onNode("bash")
		switch {
		case missing != nil && interactive:
			argv = []string{"sh", "-i"}
		case missing != nil:
			argv = []string{"sh"}
		case !interactive:
			argv = []string{"bash"}
		default:
			argv = []string{"bash", "--rcfile", shellStart, "-i"}
			text := strings.ReplaceAll(shellStartText, "NODE", n.Name)
			return errors.Join(os.MkdirAll(filepath.Dir(shellStart), 0o755), os.WriteFile(shellStart, []byte(text), 0o644))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("preparing a shell on %s: %w", n.Name, err)
	}
	return argv, nil
}

// shellStart is the file that bash reads when it starts on a node.
const shellStart = "/root/.emrsim.bashrc"

const shellStartText = `PS1='NODE# '
HISTFILE=/root/.bash_history
HISTCONTROL=ignoredups
shopt -s histappend checkwinsize
alias ll='ls -l'
[ -r /usr/share/bash-completion/bash_completion ] && . /usr/share/bash-completion/bash_completion
command -v emr-static-ip >/dev/null && . <(emr-static-ip completion bash)
`

// Hint returns what can be tried in a shell on a node.
func (l *Lab) Hint() string {
	return fmt.Sprintf(`try  emr-static-ip status          what the node has, and whether it is in order
     emr-static-ip plan            what a run would do
     emr-static-ip restore         put back what is missing, after: iptables -t nat -F; ip addr flush dev ...
     curl -o /dev/null http://%s/file   a download from the data centre (ports %d and %d)
`, l.spec.Plan.Server, httpPort, hdfsPort)
}

// RunShutdownActions runs the scripts that EMR runs at the end of a node, one after the other. The
// result is of the last one.
func (l *Lab) RunShutdownActions(ctx context.Context, n *Node) (last Result, err error) {
	paths, err := n.shutdownActions()
	for _, path := range paths {
		if err == nil {
			last, err = l.Run(ctx, n, Command{Program: path, OnNode: true})
		}
	}
	return last, err
}

// shutdownActions returns the paths of the node's shutdown actions.
func (n *Node) shutdownActions() (paths []string, err error) {
	const dir = controllerPublic + "/shutdown-actions"
	err = n.ns.do(func() error {
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			paths = append(paths, dir+"/"+e.Name())
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
	return paths, err
}
