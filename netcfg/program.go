package netcfg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/emr-static-ip/emr-static-ip/internal/lazyregexp"
)

const (
	defaultLockWait = 5 * time.Second
	runTime         = 60 * time.Second // bounds an iptables program, beside its wait for the lock
	maxOutput       = 256 << 20        // of an iptables program, in bytes: a million rules
	maxText         = 64 << 10         // of one line of it, and of all that it says beside the rules
)

// program is an iptables program of either variant.
type program struct {
	path    string
	restore string
	version string // as it names itself: "iptables v1.8.9 (nf_tables)"
	variant Backend
	wait    int // for the xtables lock, in seconds

	lock string // in place of /run/xtables.lock, if not empty; since iptables 1.8.6
}

// systemDirs are searched after $PATH: a bootstrap action runs with the PATH of user hadoop, which
// need not have them.
var systemDirs = []string{"/usr/sbin", "/sbin", "/usr/local/sbin"}

// absent reports whether a program is not there, as opposed to there and failing.
func absent(err error) bool {
	return errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist)
}

// lookPath finds a program; the error is absent if there is none.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil || strings.Contains(name, "/") {
		return path, err
	}
	for _, dir := range systemDirs {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", err
}

var versionLine = lazyregexp.New(`^iptables v(\d+)\.(\d+)\.(\d+)(?: \((legacy|nf_tables)\))?$`)

// findProgram looks for an iptables program and asks for its version and variant. The error is
// absent if there is none. The go-iptables package would ask without a bound for time or output.
func findProgram(ctx context.Context, name string, lockWait time.Duration) (*program, error) {
	path, err := lookPath(name)
	if err != nil {
		return nil, fmt.Errorf("looking for the program %s: %w", name, err)
	}
	p := &program{path: path, restore: path + "-restore", wait: max(1, int((lockWait+time.Second-1)/time.Second))}
	if _, err := exec.LookPath(p.restore); err != nil {
		// %v and not %w: half a program is not absent.
		return nil, fmt.Errorf("looking for the program that belongs to %s: %v", path, err)
	}
	out := &limited{left: maxText}
	if err := p.run(ctx, path, "", out, "--version"); err != nil {
		return nil, fmt.Errorf("asking %s for its version: %w", path, err)
	}
	p.version = strings.TrimSpace(out.String())
	m := versionLine.FindStringSubmatch(p.version)
	if m == nil {
		return nil, fmt.Errorf("asking %s for its version: not understood: %s", path, clean(p.version))
	}
	var v [3]int
	for i := range v {
		if v[i], err = strconv.Atoi(m[i+1]); err != nil {
			return nil, fmt.Errorf("asking %s for its version: %w", path, err)
		}
	}
	if v[0] == 1 && (v[1] < 6 || v[1] == 6 && v[2] < 2) {
		return nil, fmt.Errorf("%s is version %d.%d.%d, and iptables-restore waits for the lock since 1.6.2", path, v[0], v[1], v[2])
	}
	p.variant = IptablesLegacy // before 1.8 there was one variant, and no word for it
	if m[4] == "nf_tables" {
		p.variant = IptablesNFT
	}
	return p, nil
}

// errHidden says that table nat has something that iptables cannot show.
var errHidden = errors.New("the table holds chains made by nft, which the program does not show")

// list reads the whole nat table, as one snapshot. The table must exist: asking creates it.
func (p *program) list(ctx context.Context) (RuleSet, error) {
	parser := newRuleParser()
	out := &lines{left: maxOutput, each: func(line string) error {
		// The nft variant passes over base chains that nft made, with a remark and exit code 0:
		// ours might be behind it.
		if strings.Contains(line, "contains incompatible base-chains") {
			return errHidden
		}
		return parser.line(line)
	}}
	err := p.run(ctx, p.path, "", out, "-w", strconv.Itoa(p.wait), "-t", "nat", "-S")
	if err == nil {
		err = out.end()
	}
	if err != nil {
		return RuleSet{}, fmt.Errorf("reading table nat with %s: %w", p.path, err)
	}
	parser.set.sort()
	return parser.set, nil
}

// unlocked returns the program with a lock file that can always be opened. It serves to read rules,
// and to remove our own, when the xtables lock cannot be opened.
func (p *program) unlocked() *program {
	q := *p
	q.lock = "/dev/null"
	return &q
}

// transact applies input of iptables-restore. With trial the program parses it and throws it away.
func (p *program) transact(ctx context.Context, input string, trial bool) error {
	args := []string{"--noflush", "-w", strconv.Itoa(p.wait)}
	if trial {
		args = append(args, "--test")
	}
	return p.run(ctx, p.restore, input, &limited{left: maxText}, args...)
}

// programError is a program's non-zero exit.
type programError struct {
	command string
	code    int
	said    string
}

func (e *programError) Error() string {
	return fmt.Sprintf("running %s: exit code %d: %s", e.command, e.code, e.said)
}

// Is tells busy from broken. Both variants use exit code 4 for several things, so that the text has
// to decide. It is the same since 1.4.20.
func (e *programError) Is(target error) bool {
	if target == ErrLockFile {
		return strings.Contains(e.said, "can't open lock file")
	}
	return target == ErrBusy && e.code == 4 && strings.Contains(e.said, "xtables lock")
}

// run executes a program directly, never through a shell, in the namespace of the calling thread.
// The program ends with the context, and when out refuses what it prints.
func (p *program) run(ctx context.Context, path, input string, out io.Writer, args ...string) error {
	command := strings.Join(append([]string{path}, args...), " ")
	bound, cancel := context.WithTimeout(ctx, time.Duration(p.wait)*time.Second+runTime)
	defer cancel()
	cmd := exec.CommandContext(bound, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if p.lock != "" {
		cmd.Env = append(cmd.Env, "XTABLES_LOCKFILE="+p.lock)
	}
	// The program may be a script that waits for another one: the whole group is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = kill
	// A busy node may need some time to pass on what a program that has ended wrote.
	cmd.WaitDelay = 3 * time.Second
	if input != "" { // otherwise the program reads /dev/null, which costs less than an empty pipe
		cmd.Stdin = strings.NewReader(input)
	}
	stderr := &limited{left: maxText}
	stdout, complaints := &refusal{Writer: out}, &refusal{Writer: stderr}
	cmd.Stdout, cmd.Stderr = stdout, complaints
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		kill() // it has ended, and left a child that holds its output
	}
	switch e := (*exec.ExitError)(nil); {
	case bound.Err() != nil:
		return fmt.Errorf("running %s: %w", command, errors.Join(bound.Err(), err))
	case stdout.err != nil || complaints.err != nil:
		return fmt.Errorf("running %s: %w", command, errors.Join(stdout.err, complaints.err))
	case errors.As(err, &e) && e.Exited():
		said := strings.Join(strings.FieldsFunc(stderr.String(), func(r rune) bool { return r == '\n' }), "; ")
		return &programError{command, e.ExitCode(), clean(said)}
	case err != nil:
		return fmt.Errorf("running %s: %w", command, err)
	}
	return nil
}

// refusal keeps the error of a writer. The pipe to the program is then closed, which ends it.
type refusal struct {
	io.Writer
	err error
}

func (r *refusal) Write(b []byte) (int, error) {
	n, err := r.Writer.Write(b)
	if err != nil {
		r.err = err
	}
	return n, err
}

// limited keeps what is written to it. More than is left is an error.
type limited struct {
	bytes.Buffer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	l.left -= n
	l.Buffer.Write(b[:n])
	if n < len(b) {
		return n, errors.New("it prints more than expected")
	}
	return len(b), nil
}

// lines hands on what is written to it, line by line. It keeps one line.
type lines struct {
	left    int
	partial []byte
	each    func(string) error
}

func (l *lines) Write(b []byte) (int, error) {
	size := len(b)
	if l.left -= size; l.left < 0 {
		return 0, fmt.Errorf("it prints more than %d bytes", maxOutput)
	}
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			break
		}
		l.partial = append(l.partial, b[:i]...)
		b = b[i+1:]
		if err := l.end(); err != nil {
			return 0, err
		}
	}
	if l.partial = append(l.partial, b...); len(l.partial) > maxText {
		return 0, fmt.Errorf("it prints a line of more than %d bytes", maxText)
	}
	return size, nil
}

// end hands on the line that has been collected.
func (l *lines) end() error {
	line := string(l.partial)
	l.partial = l.partial[:0]
	return l.each(line)
}
