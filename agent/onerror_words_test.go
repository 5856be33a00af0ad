package agent

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// unitLines are the lines of a unit file as systemd reads them: they end at a newline, a carriage return or a NUL, and are UTF-8.
func unitLines(t *testing.T, text string) []string {
	t.Helper()
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' || r == 0 })
	for _, line := range lines {
		if strings.HasSuffix(line, `\`) || !utf8.ValidString(line) {
			t.Fatalf("the line %q goes on in the next one, or is not UTF-8", line)
		}
	}
	return lines
}

// unitWords are the words of a setting as systemd.syntax(7) and systemd.service(5) have it: quotation marks, escapes like C's, then %% and,
// where they are arguments, $$.
func unitWords(t *testing.T, line string, arguments bool) (words []string) {
	t.Helper()
	doubled := func(b byte) bool { return b == '%' || arguments && b == '$' }
	for i := 0; i < len(line); {
		if line[i] == ' ' || line[i] == '\t' {
			i++
			continue
		}
		var word []byte
		open := false
		for ; i < len(line) && (open || line[i] != ' ' && line[i] != '\t'); i++ {
			switch b := line[i]; {
			case b == '"':
				open = !open
			case b == '\'', !open && b == ';' && len(word) == 0:
				if !open {
					t.Fatalf("%q: a word begins with %q", line, b)
				}
				word = append(word, b)
			case b == '\\' && i+3 < len(line) && line[i+1] == 'x':
				n, err := strconv.ParseUint(line[i+2:i+4], 16, 8)
				if err != nil || n == 0 {
					t.Fatalf("%q: %v", line, err)
				}
				word, i = append(word, byte(n)), i+3
			case b == '\\':
				if i++; i == len(line) || line[i] != '\\' && line[i] != '"' {
					t.Fatalf("%q: an escape of another kind", line)
				}
				word = append(word, line[i])
			case doubled(b):
				if i++; i == len(line) || line[i] != b {
					t.Fatalf("%q: a single %q", line, b)
				}
				word = append(word, b)
			default:
				word = append(word, b)
			}
		}
		if open {
			t.Fatalf("%q: a quotation that does not end", line)
		}
		words = append(words, string(word))
	}
	return words
}

// FuzzUnitWords: whatever an argument and a variable hold, systemd reads them back, and reads nothing else from them.
func FuzzUnitWords(f *testing.F) {
	f.Add("10.0.1.22\r", "x", "/x\rExecStart=/bin/y")
	f.Add("a\nb\x00c", `"\%n$x'`, "\x7f\x1b")
	f.Add(";", "", "\xff\xfe\u0085\u2028")
	f.Add("@ARGS@", "@ENVIRONMENT@", "\\")
	f.Fuzz(func(t *testing.T, a, b, dir string) {
		if strings.ContainsRune(a+b+dir, 0) {
			t.Skip("the kernel passes no NUL on")
		}
		cfg := DefaultConfig()
		plain, _ := (&run{cfg: cfg}).retryUnits(nil, nil)
		list, left := (&run{cfg: cfg}).retryUnits([]string{"--prefix=" + a, b}, []string{"EMR_STATIC_IP_PREFIX=" + a, "NO_PROXY=" + b})
		lines := unitLines(t, list[0].Text)
		if want := len(unitLines(t, plain[0].Text)) + 2 - len(left); len(lines) != want {
			t.Fatalf("%d lines, want %d:\n%q", len(lines), want, list[0].Text)
		}
		var kept []string
		for _, line := range lines {
			if line, ok := strings.CutPrefix(line, "ExecStart="); ok {
				if got, want := unitWords(t, line, true), []string{systemd.Program, "retry", "--prefix=" + a, b}; !slices.Equal(got, want) {
					t.Fatalf("arguments %q, want %q in %q", got, want, line)
				}
			}
			if line, ok := strings.CutPrefix(line, "Environment="); ok {
				kept = append(kept, unitWords(t, line, false)...)
			}
		}
		for name, value := range map[string]string{"EMR_STATIC_IP_PREFIX": a, "NO_PROXY": b} {
			if !slices.Contains(left, name) && !slices.Contains(kept, name+"="+value) {
				t.Fatalf("%s=%q is not kept in %q, nor is it among %q", name, value, kept, left)
			}
		}
		lines = unitLines(t, systemd.Units(dir)[0].Text)
		if want := len(unitLines(t, systemd.Units("")[0].Text)); len(lines) != want {
			t.Fatalf("%d lines, want %d:\n%q", len(lines), want, lines)
		}
		for _, line := range lines {
			if line, ok := strings.CutPrefix(line, "ExecStart="); ok && dir != "" {
				if got := unitWords(t, line, true); !slices.Equal(got, []string{systemd.Program, "restore", "--timeout", "100s", "--state-dir", dir}) {
					t.Fatalf("arguments %q", got)
				}
			}
		}
	})
}

// A script with Windows' line ends gives a list whose last address is followed by a carriage return. What is tried again is the list without it.
func TestOnErrorCarriageReturn(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		env  map[string]string
		want string
	}{
		{"by position", []string{"10.0.1.20", "10.0.1.21", "10.0.1.22\r"}, nil, "ExecStart=" + systemd.Program + " retry --on-error=continue -- 10.0.1.20 10.0.1.21 10.0.1.22\n"},
		{"in one argument", []string{" 10.0.1.20 \t10.0.1.21-22 ,\n10.0.1.25\r"}, nil, "ExecStart=" + systemd.Program + " retry --on-error=continue -- 10.0.1.20,10.0.1.21-22,10.0.1.25\n"},
		{"by flag", []string{"--core-ips=10.0.1.21 10.0.1.22\r", "--verify", "198.51.100.1:80\r", "--only-cidr", "198.51.100.0/24, 192.0.2.1"}, nil,
			"ExecStart=" + systemd.Program + " retry --core-ips=10.0.1.21,10.0.1.22 --only-cidr=198.51.100.0/24,192.0.2.1 --on-error=continue --verify=198.51.100.1:80\n"},
		{"by variable", nil, map[string]string{"EMR_STATIC_IP_CORE_IPS": "10.0.1.21\n10.0.1.22\r"}, "Environment=\"EMR_STATIC_IP_CORE_IPS=10.0.1.21,10.0.1.22\"\n"},
		{"role", []string{"--role", "CORE\r", "10.0.1.20", "10.0.1.21-22"}, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var text, file string
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{}).withSystemd()
				w := &network{primary: n.PrimaryIP, answer: func(netip.Addr, netip.AddrPort) error { return nil }}
				w.install(&n.env)
				n.deny("ssm:PutParameter")
				n.env.LookupEnv = func(name string) (string, bool) { v, ok := test.env[name]; return v, ok }
				n.env.Environ = func() (list []string) {
					for name, value := range test.env {
						list = append(list, name+"="+value)
					}
					return list
				}
				_, _, stderr := n.program(t.Context(), append([]string{"--on-error=continue"}, test.args...)...)
				if test.want == "" {
					if systemd.RetryPending(n.env) {
						t.Error(stderr)
					}
					return
				}
				if file = n.env.Path(filepath.Join(systemd.Dir, systemd.RetryService)); !host.Exists(file) {
					t.Fatal(stderr)
				}
				if text = n.read(filepath.Join(systemd.Dir, systemd.RetryService)); !strings.Contains(text, test.want) || strings.Contains(text, "\r") {
					t.Errorf("%s\nunit\n%q", stderr, text)
				}
				n.cloud.Fault(nil)
				if test.env == nil {
					if code, stdout, stderr := n.program(t.Context(), n.unitArgs()...); code != ExitOK || !strings.Contains(stdout, "static IP  10.0.1.2") {
						t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
					}
				}
			})
			if text != "" {
				verifyUnit(t, text)
			}
		})
	}
}

// verifyUnit has systemd judge a unit, where it is here.
func verifyUnit(t *testing.T, text string) {
	t.Helper()
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log(err)
		return
	}
	p := filepath.Join(t.TempDir(), systemd.RetryService)
	if err := os.WriteFile(p, []byte(strings.ReplaceAll(text, systemd.Program, "/bin/true")), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, program, "verify", "--man=no", p).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s\n%q", err, out, text)
	}
}

// What a path or any other value may not hold is refused before anything is done.
func TestControlCharactersAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"--state-dir", "/x\rExecStart=/bin/sh"}, {"--state-dir", "/x\ny"}, {"--state-dir", "/x\x7f"}, {"--state-dir", "/x\xff"}, {"--state-dir", "/x\u0085y"}, {"--role", "CORE\r"}, {"--timeout", "5m\r"},
		{"--prefix", "/x\r"}, {"--nat-backend", "auto\r"}, {"--ssm-put-rate", "3\r"}, {"--verbose=true\r"}, {"--verify", "a\rb:80"}, {"--only-cidr", "10.0.0.0/8\x7f"},
	} {
		code, _, stderr, got := runMain(t, t.Context(), append(args, "10.0.1.10", "10.0.1.11"), nil, Report{}, nil)
		if code != ExitUsage || got.what != "" || strings.ContainsAny(stderr, "\r\x7f") {
			t.Errorf("%q: exit code %d, %q", args, code, stderr)
		}
	}
}
