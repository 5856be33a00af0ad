package ec2

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// TestSettings: settings with which no request can be made are refused at once, by name.
func TestSettings(t *testing.T) {
	messages := golden.Open(t, "settings.txt")
	for _, tt := range []struct {
		env   []string
		wrong bool
	}{
		{[]string{"AWS_ENDPOINT_URL=http://10.0.0.10"}, false},
		{[]string{"AWS_ENDPOINT_URL=https://vpce-1.ssm.us-east-1.vpce.amazonaws.com:443/"}, false},
		{[]string{"AWS_USE_DUALSTACK_ENDPOINT=true"}, false},
		{[]string{"AWS_USE_FIPS_ENDPOINT=true"}, false},
		{[]string{"AWS_ENDPOINT_URL=http://10.0.0.10 "}, true},
		{[]string{"AWS_ENDPOINT_URL= http://10.0.0.10"}, true},
		{[]string{"AWS_ENDPOINT_URL=10.0.0.10"}, true},
		{[]string{"AWS_ENDPOINT_URL=10.0.0.10:8080"}, true},
		{[]string{"AWS_ENDPOINT_URL=localhost:8080"}, true},
		{[]string{"AWS_ENDPOINT_URL_EC2=ftp://10.0.0.10"}, true},
		{[]string{"AWS_ENDPOINT_URL_SSM=http://"}, true},
		{[]string{"AWS_ENDPOINT_URL_SSM=http://10.0.0.10:99999"}, true},
		{[]string{"AWS_ENDPOINT_URL=http://10.0.0.10", "AWS_USE_DUALSTACK_ENDPOINT=true"}, true},
		{[]string{"AWS_ENDPOINT_URL=http://10.0.0.10", "AWS_USE_FIPS_ENDPOINT=true"}, true},
		{[]string{"AWS_USE_DUALSTACK_ENDPOINT=yes"}, true},
		{[]string{"AWS_SECRET_ACCESS_KEY=secret\n"}, true},
		{[]string{"AWS_SESSION_TOKEN= token"}, true},
		{[]string{"AWS_PROFILE=none "}, true},
		{[]string{"AWS_CA_BUNDLE=/none.pem"}, true},
		{[]string{"AWS_CA_BUNDLE=/dev/zero"}, true},
		{[]string{"AWS_CONFIG_FILE=/dev/zero"}, true},
		{[]string{"AWS_CONFIG_FILE=/dev/null"}, false},
		{[]string{"AWS_WEB_IDENTITY_TOKEN_FILE=/none", "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, true},
	} {
		t.Run(strings.Join(tt.env, " "), func(t *testing.T) {
			_, err := session(t, nil, tt.env...)
			if want := map[bool]exit.Code{true: exit.Usage, false: exit.OK}[tt.wrong]; exit.CodeOf(err) != want {
				t.Fatalf("code %d: %v", exit.CodeOf(err), err)
			}
			if tt.wrong {
				messages.Is(t, fmt.Sprintf("%q", tt.env), told(err))
			}
		})
	}
}

// A file of the settings that nobody writes to the end costs no more than the run's own time.
func TestSettingsWithoutEnd(t *testing.T) {
	p := filepath.Join(t.TempDir(), "config")
	if err := syscall.Mkfifo(p, 0o600); err != nil {
		t.Fatal(err)
	}
	env := variablesFor(t, nil, "AWS_CONFIG_FILE="+p)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Load(ctx, env, "us-east-1")
	if exit.CodeOf(err) != exit.Usage {
		t.Fatalf("code %d: %v", exit.CodeOf(err), err)
	}
	golden.Is(t, "settings-without-end.txt", strings.ReplaceAll(told(err), p, "FILE")+"\n")
	if _, other := RegionOf(ctx, env); other == nil || told(other) != told(err) {
		t.Errorf("the region: %v", other)
	}
	// Both wait for somebody who writes, and would do so until the tests end.
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func TestIMDSEndpoint(t *testing.T) {
	for value, good := range map[string]bool{"": true, "http://127.0.0.1:9101": true, "http://[fd00:ec2::254]": true, "127.0.0.1:9101": false, "http://127.0.0.1 ": false, "ftp://x": false} {
		err := checkIMDS(variablesFor(t, nil, imdsEndpoint+"="+value))
		if (err == nil) != good || !good && (exit.CodeOf(err) != exit.Usage || !strings.Contains(exit.Remedies(err)[0], "unset "+imdsEndpoint)) {
			t.Errorf("%q: %v", value, err)
		}
	}
}

// TestElsewhere: the node's region is used, whatever others have set, and both are named.
func TestElsewhere(t *testing.T) {
	messages := golden.Open(t, "elsewhere.txt")
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("[default]\nregion = eu-west-1\n[profile west]\nregion = us-west-2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, env := range [][]string{
		nil,
		{"AWS_REGION=us-east-1"},
		{"AWS_REGION=eu-west-1"},
		{"AWS_DEFAULT_REGION=eu-west-1"},
		{"AWS_REGION=us-east-1 "},
		{"AWS_CONFIG_FILE=" + config},
		{"AWS_CONFIG_FILE=" + config, "AWS_PROFILE=west"},
	} {
		t.Run(strings.Join(env, " "), func(t *testing.T) {
			s, err := session(t, nil, env...)
			if err != nil {
				t.Fatal(err)
			}
			if s.Config.Region != "us-east-1" {
				t.Errorf("region %s", s.Config.Region)
			}
			messages.Is(t, strings.ReplaceAll(strings.Join(env, " "), config, "CONFIG"), strings.Join(s.Elsewhere, "\n"))
		})
	}
}
