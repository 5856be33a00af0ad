package cli

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

// retryUnits returns the units that a failure with these arguments leaves, and the names of the
// variables that are left out.
func retryUnits(args, environ []string) (list []systemd.Unit, left []string) {
	kept, left := retryEnvironment(environ)
	return systemd.RetryUnits(args, kept, 12*time.Minute), left
}

func TestRetryUnits(t *testing.T) {
	list, left := retryUnits([]string{"--prefix=/a b", "--", `10.0.1.1, 10.0.1.2`, "%n$x"}, []string{
		"PATH=/bin", "AWS_REGION=eu-west-1", "AWS_SECRET_ACCESS_KEY=s3cret", "AWS_ACCESS_KEY_ID=AKIA1", "AWS_SESSION_TOKEN=tok", "AWS_WEB_IDENTITY_TOKEN_FILE=/x",
		"HTTPS_PROXY=http://user:hunter2@proxy:3128", "http_proxy=user:hunter2@proxy:3128", "NO_PROXY=169.254.169.254,.internal", "EMR_STATIC_IP_CORE_IPS=10.0.1.20 10.0.1.21",
		"AWS_ENDPOINT_URL=http://10.0.0.9/100%", "EMR_STATIC_IP_X=a\nb", "HTTP_PROXY=http://proxy:3128",
	})
	text := list[0].Text
	for _, want := range []string{
		"ExecStart=" + systemd.Program + ` retry "--prefix=/a b" -- "10.0.1.1, 10.0.1.2" "%%n$$x"` + "\n",
		"Environment=\"AWS_REGION=eu-west-1\"\n", "Environment=\"AWS_ENDPOINT_URL=http://10.0.0.9/100%%\"\n", "Environment=\"AWS_WEB_IDENTITY_TOKEN_FILE=/x\"\n",
		"Environment=\"EMR_STATIC_IP_CORE_IPS=10.0.1.20,10.0.1.21\"\n", "Environment=\"NO_PROXY=169.254.169.254,.internal\"\n", "Environment=\"HTTP_PROXY=http://proxy:3128\"\n", "TimeoutStartSec=720\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %s", want)
		}
	}
	for _, secret := range []string{"s3cret", "AKIA1", "tok\"", "hunter2", "PATH=", "@"} {
		if strings.Contains(text, secret) {
			t.Errorf("has %q", secret)
		}
	}
	if want := []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "EMR_STATIC_IP_X", "HTTPS_PROXY", "http_proxy"}; !slices.Equal(left, want) {
		t.Errorf("left out %q, want %q", left, want)
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestRetryUnitsVerify(t *testing.T) {
	list, _ := retryUnits([]string{"--prefix=/a b", "--", `10.0.1.1, 10.0.1.2`, "%n$x"}, []string{"AWS_REGION=eu-west-1", "AWS_ENDPOINT_URL=http://10.0.0.9/100%\"\\"})
	agenttest.VerifyUnits(t, list...)
}

// unitLines returns the lines of a unit file as systemd reads them. They end at a newline, a
// carriage return or a NUL, and are UTF-8.
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

// unitWords returns the words of a setting by the rules of systemd.syntax(7) and
// systemd.service(5): quotation marks, escapes like C's, then %% and, in arguments, $$.
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

// FuzzUnitWords checks that systemd reads any argument and variable back unchanged, and nothing
// else from them.
func FuzzUnitWords(f *testing.F) {
	f.Add("10.0.1.22\r", "x", "/x\rExecStart=/bin/y")
	f.Add("a\nb\x00c", `"\%n$x'`, "\x7f\x1b")
	f.Add(";", "", "\xff\xfe\u0085\u2028")
	f.Add("@ARGS@", "@ENVIRONMENT@", "\\")
	f.Fuzz(func(t *testing.T, a, b, dir string) {
		if strings.ContainsRune(a+b+dir, 0) {
			t.Skip("the kernel passes no NUL on")
		}
		plain, _ := retryUnits(nil, nil)
		list, left := retryUnits([]string{"--prefix=" + a, b}, []string{"EMR_STATIC_IP_PREFIX=" + a, "NO_PROXY=" + b})
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
