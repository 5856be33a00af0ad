package lab

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A Command is a run of a program on a node.
type Command struct {
	Program string   // path on this machine; it is copied to the node
	OnNode  bool     // Program is a path on the node, where the program exists already
	Args    []string // without the program's name
	Env     []string // in addition to the node's own: NAME=value; the last one counts
	User    string   // root or hadoop; empty means root. EMR starts a bootstrap action as hadoop, which has sudo; a node of a lab has no sudo
	Quiet   bool     // do not report stderr as progress

	Signal syscall.Signal // sent when the context is cancelled; 0 means SIGTERM
}

// A Result is the result of a program.
type Result struct {
	Stdout   string
	Stderr   string
	ExitCode int // 128 plus the number of a signal that ended it; -1 if it did not start
	Duration time.Duration
	CPU      time.Duration // of the program and the programs that it called
}

// installed is the directory in which EMR puts a bootstrap action. plainInstalled is where the
// user-data of an instance outside EMR might put the program.
const (
	installed      = "/emr/instance-controller/lib/bootstrap-actions/1/"
	plainInstalled = "/opt/"
)

// Run starts a program on a node as EMR starts a bootstrap action, and waits for it. The program
// gets credentials and identity from the node's IMDS. Only the address of the AWS API is passed, as
// AWS_ENDPOINT_URL. When ctx is cancelled, the program gets the command's signal, and SIGKILL ten
// seconds later. The error is about starting the program; the result says how it ended.
func (l *Lab) Run(ctx context.Context, n *Node, c Command) (Result, error) {
	path, err := c.Program, error(nil)
	if !c.OnNode {
		path, err = n.install(c.Program)
	}
	if err != nil {
		return Result{ExitCode: -1}, err
	}
	n.wakeIMDS(ctx)
	var stdout bytes.Buffer
	stderr := &lineWriter{quiet: c.Quiet, emit: func(line string) { l.event(n.Name, line) }}
	attributes := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	env := []string{
		nodePath, "LANG=C.UTF-8", "HOME=/root", "USER=root",
		"AWS_ENDPOINT_URL=" + l.spec.Plan.EndpointURL(),
	}
	switch c.User {
	case "", "root":
	case "hadoop":
		if OneUser() {
			return Result{ExitCode: -1}, fmt.Errorf("running %s on %s as hadoop: this user namespace has no user but root: run the lab as root", c.Program, n.Name)
		}
		attributes.Credential = &syscall.Credential{Uid: hadoopID, Gid: hadoopID, NoSetGroups: false}
		env = append(env, "HOME=/home/hadoop", "USER=hadoop")
	default:
		return Result{ExitCode: -1}, fmt.Errorf("running %s on %s: no user %s there", c.Program, n.Name, c.User)
	}
	cmd := exec.CommandContext(ctx, path, c.Args...)
	cmd.Env = append(env, c.Env...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = &stdout, stderr
	cmd.SysProcAttr = attributes
	cmd.Cancel = func() error { return cmd.Process.Signal(cmp.Or(c.Signal, syscall.SIGTERM)) }
	cmd.WaitDelay = 10 * time.Second
	l.observe(func(o Observer) { o.Started(n, c) })
	start := time.Now()
	err = n.ns.do(cmd.Run)
	stderr.flush()
	result := Result{Stdout: stdout.String(), Stderr: stderr.all.String(), Duration: time.Since(start)}
	defer func() { l.observe(func(o Observer) { o.Finished(n, c, result) }) }()
	if cmd.ProcessState == nil {
		result.ExitCode = -1
		return result, fmt.Errorf("running %s on %s: %w", c.Program, n.Name, err)
	}
	result.ExitCode = cmd.ProcessState.ExitCode()
	result.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		result.ExitCode = 128 + int(status.Signal())
	}
	return result, nil
}

// hadoopID is the user and group id of hadoop in a node's /etc/passwd.
const hadoopID = 498

// install copies a program of the machine to the directory for bootstrap actions, unless it is
// there.
func (n *Node) install(from string) (string, error) {
	dir := installed
	if n.Role == "" {
		dir = plainInstalled
	}
	to := dir + filepath.Base(from)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.program == from {
		return to, nil
	}
	if err := n.Copy(from, to, 0o755); err != nil {
		return "", err
	}
	n.program = from
	return to, nil
}

// Copy copies a file of the machine to the node.
func (n *Node) Copy(from, to string, mode os.FileMode) error {
	source, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copying to %s: %w", n.Name, err)
	}
	defer source.Close()
	// A process that starts while the copy is open for writing would inherit the descriptor. A
	// program that is open for writing cannot be started (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	err = n.ns.do(func() error {
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
		if err != nil {
			return err
		}
		_, err = io.Copy(target, source)
		return errors.Join(err, target.Chmod(mode), target.Close())
	})
	if err != nil {
		return fmt.Errorf("copying %s to %s: %w", from, n.Name, err)
	}
	return nil
}

// nodePath is the search path of programs on a node.
const nodePath = "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
