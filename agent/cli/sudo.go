package cli

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
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
	rootsOwn   func(path string) bool
}

// Elevate returns nil if this process is root. Otherwise it replaces this process by sudo -n with
// the same program and arguments. Before that it runs the program behind sudo once, to see whether
// sudo allows it and leads to root. So a refusal has a reason and a remedy, and a sudo that leads
// to another user causes no endless loop.
//
// It passes on the variables that the run depends on: see passedOn. It passes them by name, never
// in an argument that others could see. No shell is involved.
func Elevate(ctx context.Context, args []string) error {
	return sudo{
		euid:       os.Geteuid,
		executable: os.Executable,
		lookPath:   exec.LookPath,
		environ:    os.Environ,
		output:     host.Output,
		exec:       syscall.Exec,
		rootsOwn:   rootsOwn,
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
	names := passedOn(s.environ())
	if len(names) > 0 {
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
			"switch requiretty off for this program, with visudo: Defaults!"+self+" !requiretty")
	case err != nil:
		refused := fmt.Errorf("becoming root with %s -n: %w: %s", program, err, text.Clean(strings.TrimSpace(stderr), text.MaxLine))
		if without, _, err := s.output(trial, []string{program, "-n", "--", self, euidCommand}); len(names) > 0 && err == nil && strings.TrimSpace(without) == "0" {
			return notRoot(refused, "unset "+strings.Join(names, ", ")+", or let sudo pass them on: in sudoers, Defaults!"+self+` env_keep += "`+strings.Join(names, " ")+`"`)
		}
		return notRoot(refused, s.sudoers(self))
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

// sudoers returns the remedy for a user who may not become root. It does not suggest SETENV: a user
// who sets variables of a root process (LD_PRELOAD, PATH, AWS_CONFIG_FILE) runs any program as
// root. So does a user who can write the file that sudo starts.
func (s sudo) sudoers(self string) string {
	install := ""
	if s.rootsOwn == nil || !s.rootsOwn(self) {
		install = "install -m 0755 " + self + " " + systemd.Program + ", as root, since others can write " + self + "; then "
		self = systemd.Program
	}
	return install + "allow this user to run it with sudo and without a password: in sudoers, USER ALL=(root) NOPASSWD: " + self
}

// rootsOwn reports whether nobody but root can write p, or put another file in its place.
func rootsOwn(p string) bool {
	for {
		info, err := os.Lstat(p)
		if err != nil || info.Mode().Perm()&0o022 != 0 || info.Mode().Type()&fs.ModeSymlink != 0 {
			return false
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Uid != 0 {
			return false
		}
		if p == filepath.Dir(p) {
			return true
		}
		p = filepath.Dir(p)
	}
}

// harmless are the variables of the AWS SDK that neither name a program nor a file with secrets or
// settings.
var harmless = []string{
	"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL",
	"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_USE_FIPS_ENDPOINT", "AWS_STS_REGIONAL_ENDPOINTS", "AWS_DEFAULTS_MODE",
	"AWS_RETRY_MODE", "AWS_MAX_ATTEMPTS", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	"AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CA_BUNDLE",
}

// passedOn returns the names of the variables that the program needs behind sudo, sorted. Others of
// the AWS SDK are not passed on. A config file can name a program (credential_process). Other files
// are read, and sent to the address that another variable names.
func passedOn(environ []string) []string {
	return slices.DeleteFunc(runVariables(environ), func(name string) bool {
		return strings.HasPrefix(name, "AWS_") && !slices.Contains(harmless, name) &&
			!strings.HasPrefix(name, "AWS_ENDPOINT_URL_") && !strings.HasPrefix(name, "AWS_EC2_METADATA_")
	})
}

// keptBack returns the names of the variables that a run depends on and that are not passed on.
func keptBack(environ []string) []string {
	passed := passedOn(environ)
	return slices.DeleteFunc(runVariables(environ), func(name string) bool { return slices.Contains(passed, name) })
}

// runVariables returns the names of the variables that a run depends on, sorted.
func runVariables(environ []string) []string {
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

// tellKeptBack warns of variables that it does not pass on to root. As root it says nothing.
func (c *commandLine) tellKeptBack(env agent.Environment) {
	user := os.Geteuid
	if c.program.User != nil {
		user = c.program.User
	}
	if names := keptBack(env.Environ()); len(names) > 0 && user() != 0 {
		env.Log.Warn("not passed on to root, since they name files that could start programs: " + strings.Join(names, ", ") + "; run this as root to use them")
	}
}
