package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// euidCommand is the hidden command by which the program asks itself, behind sudo, for its user.
const euidCommand = "euid"

func euid() string { return strconv.Itoa(os.Geteuid()) }

// sudoWait bounds the trial of sudo, which may ask a directory service that does not answer.
const sudoWait = 30 * time.Second

// sudo starts this program again as root. Tests replace its functions.
type sudo struct {
	euid       func() int
	executable func() (string, error)
	lookPath   func(string) (string, error)
	environ    func() []string
	output     func(ctx context.Context, argv []string) (stdout, stderr string, err error)
	exec       func(path string, argv, env []string) error
}

// Elevate returns nil if this process is root. Otherwise it replaces this process by sudo -n with
// the same program and arguments. Before that it runs the program behind sudo once, to see whether
// sudo allows it and leads to root. So a refusal has a reason and a remedy, and a sudo that leads
// to another user causes no endless loop.
//
// It passes on the variables that the run depends on: AWS_*, EMR_STATIC_IP_*, proxies and
// certificates. It passes them by name, never in an argument that others could see. No shell is
// involved.
func Elevate(ctx context.Context, args []string) error {
	return sudo{
		euid:       os.Geteuid,
		executable: os.Executable,
		lookPath:   exec.LookPath,
		environ:    os.Environ,
		output:     host.Output,
		exec:       syscall.Exec,
	}.elevate(ctx, args)
}

func (s sudo) elevate(ctx context.Context, args []string) error {
	if s.euid() == 0 {
		return nil
	}
	self, err := s.executable() // absolute
	if err != nil {
		return notRoot(fmt.Errorf("becoming root: finding this program's own file: %w", err), "")
	}
	program, err := s.lookPath("sudo")
	if err != nil {
		return notRoot(fmt.Errorf("becoming root: %w", err), "install sudo or put it into PATH")
	}
	argv := []string{program, "-n"}
	if names := passedOn(s.environ()); len(names) > 0 {
		argv = append(argv, "--preserve-env="+strings.Join(names, ","))
	}
	argv = append(argv, "--", self)

	trial, cancel := context.WithTimeout(ctx, sudoWait)
	defer cancel()
	stdout, stderr, err := s.output(trial, append(slices.Clone(argv), euidCommand))
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("becoming root with %s -n: %w", program, context.Cause(ctx))
	case err != nil && strings.Contains(stderr, "must have a tty"):
		return notRoot(fmt.Errorf("becoming root with %s -n: %w: %s", program, err, text.Clean(strings.TrimSpace(stderr), text.MaxLine)),
			"take requiretty back for this program, with visudo: Defaults!"+self+" !requiretty")
	case err != nil:
		return notRoot(fmt.Errorf("becoming root with %s -n: %w: %s", program, err, text.Clean(strings.TrimSpace(stderr), text.MaxLine)),
			"allow this user to use sudo without a password and with its environment (NOPASSWD:SETENV:) for "+self)
	case strings.TrimSpace(stdout) != "0":
		return notRoot(fmt.Errorf("becoming root with %s -n: it leads to user %s, not to root", program, text.Quote(strings.TrimSpace(stdout))), "")
	}
	if err := s.exec(program, append(argv, args...), s.environ()); err != nil {
		return notRoot(fmt.Errorf("starting %s: %w", program, err), "")
	}
	return nil // not reached: exec does not return when it succeeds
}

func notRoot(err error, remedy string) error {
	if remedy != "" {
		remedy += "; or "
	}
	return exit.With(exit.NotRoot, err, remedy+"run it as root: addresses and rules need that (on EMR, sudo -n works for the user hadoop)")
}

// passedOn returns the names of the variables that the program needs behind sudo, sorted.
func passedOn(environ []string) []string {
	var names []string
	for _, variable := range environ {
		name, _, ok := strings.Cut(variable, "=")
		if !ok || name == "" || strings.ContainsFunc(name, func(r rune) bool {
			return !(r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_')
		}) {
			continue
		}
		switch upper := strings.ToUpper(name); {
		case strings.HasPrefix(name, "AWS_"), strings.HasPrefix(name, variablePrefix),
			upper == "HTTP_PROXY", upper == "HTTPS_PROXY", upper == "NO_PROXY",
			name == "SSL_CERT_FILE", name == "SSL_CERT_DIR":
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// SearchPath returns a PATH that has the directories of system programs, such as iptables and sudo.
// It appends those that are missing, as they are for ordinary users and some services.
func SearchPath(path string) string {
	dirs := strings.Split(path, ":")
	if path == "" {
		dirs = nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return strings.Join(dirs, ":")
}
