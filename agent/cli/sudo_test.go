package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// testSudo is a sudo that works, for a user that is not root.
func testSudo(executed *[][]string) sudo {
	return sudo{
		euid:       func() int { return 1000 },
		executable: func() (string, error) { return "/home/hadoop/emr-static-ip", nil },
		lookPath:   func(name string) (string, error) { return "/usr/bin/" + name, nil },
		environ:    func() []string { return []string{"HOME=/home/hadoop", "PATH=/bin"} },
		output: func(_ context.Context, argv []string) (string, string, error) {
			*executed = append(*executed, argv)
			return "0\n", "", nil
		},
		exec: func(path string, argv, env []string) error {
			*executed = append(*executed, append([]string{path}, argv...))
			return nil
		},
	}
}

func TestElevate(t *testing.T) {
	var executed [][]string
	s := testSudo(&executed)
	s.environ = func() []string {
		return []string{"HOME=/home/hadoop", "AWS_SECRET_ACCESS_KEY=secret", "EMR_STATIC_IP_ROLE=CORE", "https_proxy=http://user:secret@proxy", "AWS_EVIL,LD_PRELOAD=x",
			"LD_PRELOAD=/x", "NO_PROXY=*", "SSL_CERT_FILE=/ca", "=odd", "AWS_REGION", "AWS_REGION=eu-west-1", "XAWS_REGION=x", "PATH=/bin"}
	}
	if err := s.elevate(t.Context(), []string{"10.0.1.10", "--role", "$(reboot); a b"}); err != nil {
		t.Fatal(err)
	}
	const keep = "--preserve-env=AWS_REGION,AWS_SECRET_ACCESS_KEY,EMR_STATIC_IP_ROLE,NO_PROXY,SSL_CERT_FILE,https_proxy"
	want := [][]string{
		{"/usr/bin/sudo", "-n", keep, "--", "/home/hadoop/emr-static-ip", "euid"},
		{"/usr/bin/sudo", "/usr/bin/sudo", "-n", keep, "--", "/home/hadoop/emr-static-ip", "10.0.1.10", "--role", "$(reboot); a b"},
	}
	if !slices.EqualFunc(executed, want, slices.Equal) {
		t.Errorf("got\n%q\nwant\n%q", executed, want)
	}
	for _, argv := range executed {
		if strings.Contains(strings.Join(argv, " "), "secret@") || slices.Contains(argv, "secret") {
			t.Errorf("a secret in %q", argv)
		}
	}
}

func TestElevateWithoutEnvironment(t *testing.T) {
	var executed [][]string
	if err := testSudo(&executed).elevate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{"/usr/bin/sudo", "-n", "--", "/home/hadoop/emr-static-ip", "euid"}; !slices.Equal(executed[0], want) {
		t.Errorf("got %q, want %q: SETENV must not be needed where nothing is passed on", executed[0], want)
	}
}

func TestElevateAsRoot(t *testing.T) {
	s := sudo{euid: func() int { return 0 }} // everything else would panic
	if err := s.elevate(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestElevateRefused(t *testing.T) {
	messages := golden.Open(t, "sudo.txt")
	tests := []struct {
		name   string
		change func(*sudo)
	}{
		{"no sudo", func(s *sudo) {
			s.lookPath = func(string) (string, error) { return "", &exec.Error{Name: "sudo", Err: exec.ErrNotFound} }
		}},
		{"a password is wanted", func(s *sudo) {
			s.output = func(context.Context, []string) (string, string, error) {
				return "", "sudo: a password is required\n\x1b[2J", errors.New("exit status 1")
			}
		}},
		{"a password is wanted, for a file of root's", func(s *sudo) {
			s.executable = func() (string, error) { return "/opt/bin/emr-static-ip", nil }
			s.rootsOwn = func(p string) bool { return p == "/opt/bin/emr-static-ip" }
			s.output = func(context.Context, []string) (string, string, error) {
				return "", "sudo: a password is required", errors.New("exit status 1")
			}
		}},
		{"the environment is not passed on", func(s *sudo) {
			s.environ = func() []string { return []string{"AWS_REGION=x", "HTTPS_PROXY=http://x"} }
			s.output = func(_ context.Context, argv []string) (string, string, error) {
				if strings.Contains(strings.Join(argv, " "), "--preserve-env") {
					return "", "sudo: sorry, you are not allowed to set the following environment variables: AWS_REGION", errors.New("exit status 1")
				}
				return "0\n", "", nil
			}
		}},
		{"requiretty", func(s *sudo) {
			s.output = func(context.Context, []string) (string, string, error) {
				return "", "sudo: sorry, you must have a tty to run sudo\n", errors.New("exit status 1")
			}
		}},
		{"not to root", func(s *sudo) {
			s.output = func(context.Context, []string) (string, string, error) { return "1001\n", "", nil }
		}},
		{"says nothing", func(s *sudo) {
			s.output = func(context.Context, []string) (string, string, error) { return "", "", nil }
		}},
		{"own file gone", func(s *sudo) {
			s.executable = func() (string, error) { return "", errors.New("gone") }
		}},
		{"cannot be started", func(s *sudo) {
			s.exec = func(string, []string, []string) error { return errors.New("exec format error") }
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var executed [][]string
			s := testSudo(&executed)
			run := s.exec
			s.exec = func(path string, argv, env []string) error {
				t.Error("started although it was refused")
				return run(path, argv, env)
			}
			test.change(&s)
			err := s.elevate(t.Context(), nil)
			if exit.CodeOf(err) != exit.NotRoot {
				t.Fatalf("code %d: %v", exit.CodeOf(err), err)
			}
			text := err.Error() + "\n" + strings.Join(exit.Remedies(err), "\n")
			if strings.Contains(text, "SETENV") {
				t.Errorf("the remedy gives root away:\n%s", text)
			}
			messages.Is(t, test.name, text)
		})
	}
}

func TestElevateEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	var executed [][]string
	s := testSudo(&executed)
	s.output = func(ctx context.Context, _ []string) (string, string, error) {
		cancel(&SignalError{Signal: syscall.SIGTERM})
		<-ctx.Done()
		return "", "", errors.New("signal: killed")
	}
	var signal *SignalError
	if err := s.elevate(ctx, nil); !errors.As(err, &signal) {
		t.Errorf("got %v", err)
	}
}

func TestOutputOf(t *testing.T) {
	stdout, stderr, err := host.Output(t.Context(), []string{"/bin/sh", "-c", "echo out; echo err >&2; exit 3"})
	if stdout != "out\n" || stderr != "err\n" || err == nil {
		t.Errorf("%q, %q, %v", stdout, stderr, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	// The grandchild keeps the output open: it must not be waited for.
	if _, _, err := host.Output(ctx, []string{"/bin/sh", "-c", "sleep 5 & wait"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(began); d > 4*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestSearchPath(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin",
		"/opt/x:/usr/bin:/bin":  "/opt/x:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
		"/sbin:/usr/sbin:/bin/": "/sbin:/usr/sbin:/bin/:/usr/local/sbin:/usr/bin:/bin",
	} {
		if got := SearchPath(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// FuzzSudo checks that the program is started again only if sudo leads to root, with its own
// arguments and without values of the environment among them.
func FuzzSudo(f *testing.F) {
	f.Add("0\n", "", false, "AWS_REGION=eu-west-1\nHOME=/home/hadoop")
	f.Add("0", "sudo: a password is required\n", true, "EMR_STATIC_IP_ROLE=CORE")
	f.Add("1001\n", "\x1b[2J", false, "https_proxy=http://user:secret@proxy")
	f.Add("00", "", false, "AWS_EVIL,LD_PRELOAD=x")
	f.Add(" 0\nLast login: today", strings.Repeat("x", 5000), false, "AWS_=\n=AWS_X\nAWS_A B=c")
	f.Fuzz(func(t *testing.T, stdout, stderr string, failed bool, environ string) {
		var executed [][]string
		s := testSudo(&executed)
		s.environ = func() []string { return strings.Split(environ, "\n") }
		s.output = func(context.Context, []string) (string, string, error) {
			if failed {
				return stdout, stderr, errors.New("exit status 1")
			}
			return stdout, stderr, nil
		}
		args := []string{"10.0.1.10", "--role", "CORE"}
		err := s.elevate(t.Context(), args)
		if err != nil {
			if len(executed) != 0 || exit.CodeOf(err) != exit.NotRoot || len(exit.Remedies(err)) == 0 {
				t.Fatalf("started %q, error %v", executed, err)
			}
			checkFailure(t, err)
			return
		}
		if failed || strings.TrimSpace(stdout) != "0" || len(executed) != 1 {
			t.Fatalf("started %q although sudo said %q", executed, stdout)
		}
		argv := executed[0]
		if !slices.Equal(argv[len(argv)-len(args):], args) || !slices.Equal(argv[:3], []string{"/usr/bin/sudo", "/usr/bin/sudo", "-n"}) {
			t.Fatalf("argv %q", argv)
		}
		for _, arg := range argv[3 : len(argv)-len(args)] {
			names, ok := strings.CutPrefix(arg, "--preserve-env=")
			if !ok && arg != "--" && arg != "/home/hadoop/emr-static-ip" {
				t.Fatalf("argument %q", arg)
			}
			for _, name := range strings.Split(names, ",") {
				if ok && (strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != "" || strings.HasPrefix(name, "LD_")) {
					t.Fatalf("variable %q", name)
				}
			}
		}
	})
}

// checkFailure fails the test unless the error is shown bounded and harmless, in both formats.
func checkFailure(t *testing.T, err error) {
	t.Helper()
	const most = 20000
	for _, format := range []string{"console", "json"} {
		var out bytes.Buffer
		renderFailure(&out, format, exit.CodeOf(err), err, agent.Report{})
		lines := strings.Split(out.String(), "\n")
		for _, line := range lines {
			if text.Clean(line, utf8.RuneCountInString(line)) != line {
				t.Fatalf("%s: %q is not fit for a terminal", format, line)
			}
		}
		if format == "json" {
			if len(lines) != 2 || lines[1] != "" {
				t.Fatalf("%d lines of JSON:\n%s", len(lines), &out)
			}
			continue
		}
		if out.Len() > most {
			t.Fatalf("%d bytes:\n%.2000s", out.Len(), &out)
		}
		if !strings.HasPrefix(out.String(), "\nemr-static-ip failed: ") || !strings.HasSuffix(lines[1], " "+strconv.Itoa(int(exit.CodeOf(err)))+")") {
			t.Fatalf("begins with %q", lines[:2])
		}
	}
}

// What can start a program as root, or make root read a file, does not pass through sudo.
func TestFilesAndProgramsAreNotPassedOn(t *testing.T) {
	environ := []string{"AWS_CONFIG_FILE=/x", "AWS_SHARED_CREDENTIALS_FILE=/x", "AWS_PROFILE=x", "AWS_DEFAULT_PROFILE=x", "AWS_WEB_IDENTITY_TOKEN_FILE=/etc/shadow",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=/etc/shadow", "AWS_LOGIN_CACHE_DIRECTORY=/x", "AWS_VARIABLE_OF_TOMORROW=/x"}
	passed := []string{"AWS_REGION=x", "AWS_ENDPOINT_URL=x", "AWS_ENDPOINT_URL_EC2=x", "AWS_EC2_METADATA_SERVICE_ENDPOINT=x", "AWS_USE_FIPS_ENDPOINT=true", "AWS_CA_BUNDLE=/x", "EMR_STATIC_IP_ROLE=CORE"}
	if got := passedOn(environ); len(got) > 0 {
		t.Errorf("passed on: %q", got)
	}
	if got := passedOn(append(slices.Clone(environ), passed...)); len(got) != len(passed) {
		t.Errorf("passed on: %q", got)
	}
	if got := keptBack(append(slices.Clone(passed), environ...)); len(got) != len(environ) {
		t.Errorf("kept back: %q", got)
	}
	for _, uid := range []int{0, 1000} {
		var stderr bytes.Buffer
		p := Program{Elevate: func(context.Context, []string) error { return nil }, User: func() int { return uid },
			Status: func(context.Context, agent.Config, agent.Environment) (agent.Status, error) {
				return agent.Status{Verdict: agent.VerdictInOrder}, nil
			}}
		p.Main(t.Context(), []string{"status"}, agent.Environment{Stderr: &stderr, Environ: func() []string { return environ }, LookupEnv: func(string) (string, bool) { return "", false }})
		if told := stderr.Len() > 0; told != (uid != 0) {
			t.Errorf("user %d: %s", uid, stderr.String())
		}
	}
}

func TestRootsOwn(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "program")
	if err := errors.Join(os.WriteFile(p, nil, 0o755), os.Symlink("/usr/bin/env", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{p, filepath.Join(dir, "link"), filepath.Join(dir, "missing")} { // below /tmp, which everybody writes
		if rootsOwn(p) {
			t.Errorf("%s is called root's own", p)
		}
	}
	if info, err := os.Stat("/usr/bin/env"); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Skip("no file of root's here")
	}
	if real, err := filepath.EvalSymlinks("/usr/bin/env"); err != nil || !rootsOwn(real) {
		t.Errorf("%s: %v", real, err)
	}
}
