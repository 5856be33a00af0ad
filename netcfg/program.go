package netcfg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-iptables/iptables"
)

const (
	defaultLockWait = 5 * time.Second
	runTime         = 10 * time.Second // bounds an iptables program, beside its wait for the lock
	maxOutput       = 16 << 20         // of an iptables program, in bytes
)

// program is an iptables program of either variant.
type program struct {
	path    string
	restore string
	version string // as it names itself: "iptables v1.8.9 (nf_tables)"
	variant Backend
	wait    int // for the xtables lock, in seconds
}

// systemDirs are searched after $PATH: a bootstrap action runs with the PATH of user hadoop, which need not have them.
var systemDirs = []string{"/usr/sbin", "/sbin", "/usr/local/sbin"}

// absent says that a program is not there, as opposed to there and failing.
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

var versionLine = regexp.MustCompile(`^iptables v\d+\.\d+\.\d+(?: \((legacy|nf_tables)\))?$`)

// findProgram looks for an iptables program and asks for its version and variant. The error is absent if there is none.
func findProgram(ctx context.Context, name string, lockWait time.Duration) (*program, error) {
	path, err := lookPath(name)
	if err != nil {
		return nil, fmt.Errorf("looking for the program %s: %w", name, err)
	}
	p := &program{path: path, restore: path + "-restore", wait: max(1, int((lockWait+time.Second-1)/time.Second))}
	if _, err := exec.LookPath(p.restore); err != nil {
		return nil, fmt.Errorf("looking for the program that belongs to %s: %v", path, err) // %v: half a program is not absent
	}
	tables, err := iptables.New(iptables.Path(path), iptables.Timeout(p.wait))
	if err != nil {
		return nil, fmt.Errorf("asking %s for its version: %w", path, err)
	}
	if a, b, c := tables.GetIptablesVersion(); a == 1 && (b < 6 || b == 6 && c < 2) {
		return nil, fmt.Errorf("%s is version %d.%d.%d, and iptables-restore waits for the lock since 1.6.2", path, a, b, c)
	}
	out, err := p.run(ctx, path, "", "--version")
	if err != nil {
		return nil, err
	}
	p.version = strings.TrimSpace(out)
	switch m := versionLine.FindStringSubmatch(p.version); {
	case m == nil:
		return nil, fmt.Errorf("asking %s for its version: not understood: %s", path, clean(p.version))
	case m[1] == "nf_tables":
		p.variant = IptablesNFT
	default: // before 1.8 there was one variant, and no word for it
		p.variant = IptablesLegacy
	}
	return p, nil
}

// list gives the whole nat table, as one snapshot.
func (p *program) list(ctx context.Context) (RuleSet, error) {
	out, err := p.run(ctx, p.path, "", "-w", strconv.Itoa(p.wait), "-t", "nat", "-S")
	if err != nil {
		return RuleSet{}, err
	}
	// The nft variant passes over base chains that nft made, with a remark and exit code 0: ours might be behind it.
	if strings.Contains(out, "contains incompatible base-chains") {
		return RuleSet{}, fmt.Errorf("reading table nat with %s: the table holds chains made by nft, which the program does not show; use the nftables back end", p.path)
	}
	set, err := ParseRules(out)
	if err != nil {
		return RuleSet{}, fmt.Errorf("reading table nat with %s: %w", p.path, err)
	}
	return set, nil
}

// transact applies input of iptables-restore.
func (p *program) transact(ctx context.Context, input string) error {
	_, err := p.run(ctx, p.restore, input, "--noflush", "-w", strconv.Itoa(p.wait))
	return err
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

// Is tells busy from broken. Both variants use exit code 4 for several things, so that the text has to decide; it is the same
// since 1.4.20.
func (e *programError) Is(target error) bool {
	return target == ErrBusy && e.code == 4 && strings.Contains(e.said, "xtables lock")
}

// run executes a program directly, never through a shell, in the namespace of the calling thread.
func (p *program) run(ctx context.Context, path, input string, args ...string) (string, error) {
	command := strings.Join(append([]string{path}, args...), " ")
	bound, cancel := context.WithTimeout(ctx, time.Duration(p.wait)*time.Second+runTime)
	defer cancel()
	cmd := exec.CommandContext(bound, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.WaitDelay = 3 * time.Second // a busy node may need them to pass on what a program that has ended wrote
	cmd.Stdin = strings.NewReader(input)
	stdout, stderr := &limited{left: maxOutput}, &limited{left: maxLine}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err := cmd.Run()
	if bound.Err() != nil {
		return "", fmt.Errorf("running %s: %w", command, errors.Join(bound.Err(), err))
	}
	if e := (*exec.ExitError)(nil); errors.As(err, &e) && e.Exited() {
		said := strings.Join(strings.FieldsFunc(stderr.String(), func(r rune) bool { return r == '\n' }), "; ")
		return "", &programError{command, e.ExitCode(), clean(said)}
	}
	if err != nil {
		return "", fmt.Errorf("running %s: %w", command, err)
	}
	if stdout.over {
		return "", fmt.Errorf("running %s: more than %d bytes of output", command, maxOutput)
	}
	return stdout.String(), nil
}

// limited keeps the first bytes written to it.
type limited struct {
	bytes.Buffer
	left int
	over bool
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	l.left -= n
	l.over = l.over || n < len(b)
	l.Buffer.Write(b[:n])
	return len(b), nil
}
