package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

func TestRetryUnits(t *testing.T) {
	cfg := DefaultConfig()
	list, left := (&run{cfg: cfg}).retryUnits([]string{"--prefix=/a b", "--", `10.0.1.1, 10.0.1.2`, "%n$x"}, []string{
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
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("REQUIRE_NETNS") == "1" {
			t.Fatal("REQUIRE_NETNS=1, and ", err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	list, _ := (&run{cfg: DefaultConfig()}).retryUnits([]string{"--prefix=/a b", "--", `10.0.1.1, 10.0.1.2`, "%n$x"}, []string{"AWS_REGION=eu-west-1", "AWS_ENDPOINT_URL=http://10.0.0.9/100%\"\\"})
	var files []string
	for _, u := range list {
		p := filepath.Join(dir, u.Name)
		if err := os.WriteFile(p, []byte(strings.ReplaceAll(u.Text, systemd.Program, "/bin/true")), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, p)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, program, append([]string{"verify", "--man=no"}, files...)...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestErrorTag(t *testing.T) {
	e := LastError{Code: 4, Meaning: "x", Error: `a\nb` + "\x1b[2J \u202e\"q\" " + strings.Repeat("y", 1000), First: time.Unix(0, 0)}
	if got := errorTag(e); len(got) != maxTag || !strings.HasPrefix(got, "exit code 4, x, since 1970-01-01T00:00:00Z: a b?[2J ?'q' yyy") || !strings.HasSuffix(got, "...") {
		t.Errorf("%q", got)
	}
}

// FuzzLastError: whatever the file says, it can be shown, and what is valid reads back the same.
func FuzzLastError(f *testing.F) {
	f.Add([]byte(`{"version":1,"exit_code":4,"error":"x","count":1}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"remedies":["\u001b[2J"],"first":"0000-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e := state.DecodeLastError(data)
		var out bytes.Buffer
		s := Status{LastError: &e}
		if err := s.Render(&out, "text"); err != nil || strings.ContainsAny(out.String(), "\x1b\r\t") {
			t.Fatalf("%v, %q", err, &out)
		}
		if len(errorTag(e)) > maxTag {
			t.Fatalf("%q", errorTag(e))
		}
		encoded, err := json.Marshal(e)
		if err != nil {
			return // a time that JSON cannot hold
		}
		if again := state.DecodeLastError(encoded); e.Version == state.LastErrorVersion && again.Error != e.Error {
			t.Fatalf("%+v, %+v", e, again)
		}
	})
}
