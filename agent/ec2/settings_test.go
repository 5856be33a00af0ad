package ec2

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

// TestSettings: settings with which no request can be made are refused at once, by name.
func TestSettings(t *testing.T) {
	for _, tt := range []struct {
		env  []string
		says []string // nil: nothing is wrong
	}{
		{[]string{"AWS_ENDPOINT_URL=http://10.0.0.10"}, nil},
		{[]string{"AWS_ENDPOINT_URL=https://vpce-1.ssm.us-east-1.vpce.amazonaws.com:443/"}, nil},
		{[]string{"AWS_USE_DUALSTACK_ENDPOINT=true"}, nil},
		{[]string{"AWS_USE_FIPS_ENDPOINT=true"}, nil},
		{[]string{"AWS_ENDPOINT_URL=http://10.0.0.10 "}, []string{`AWS_ENDPOINT_URL (now "http://10.0.0.10 ")`, "without blanks"}},
		{[]string{"AWS_ENDPOINT_URL= http://10.0.0.10"}, []string{"AWS_ENDPOINT_URL", "without blanks"}},
		{[]string{"AWS_ENDPOINT_URL=10.0.0.10"}, []string{"AWS_ENDPOINT_URL", "http://HOST"}},
		{[]string{"AWS_ENDPOINT_URL=10.0.0.10:8080"}, []string{"AWS_ENDPOINT_URL", "http://HOST"}},
		{[]string{"AWS_ENDPOINT_URL=localhost:8080"}, []string{"AWS_ENDPOINT_URL", "http://HOST"}},
		{[]string{"AWS_ENDPOINT_URL_EC2=ftp://10.0.0.10"}, []string{"AWS_ENDPOINT_URL_EC2", "http://HOST"}},
		{[]string{"AWS_ENDPOINT_URL_SSM=http://"}, []string{"AWS_ENDPOINT_URL_SSM", "http://HOST"}},
		{[]string{"AWS_ENDPOINT_URL_SSM=http://10.0.0.10:99999"}, []string{"AWS_ENDPOINT_URL_SSM", "no valid port"}},
		{[]string{"AWS_ENDPOINT_URL=http://10.0.0.10", "AWS_USE_DUALSTACK_ENDPOINT=true"}, []string{"unset AWS_USE_DUALSTACK_ENDPOINT", "AWS_ENDPOINT_URL"}},
		{[]string{"AWS_ENDPOINT_URL=http://10.0.0.10", "AWS_USE_FIPS_ENDPOINT=true"}, []string{"unset AWS_USE_FIPS_ENDPOINT"}},
		{[]string{"AWS_USE_DUALSTACK_ENDPOINT=yes"}, []string{"AWS_USE_DUALSTACK_ENDPOINT"}},
		{[]string{"AWS_SECRET_ACCESS_KEY=secret\n"}, []string{"AWS_SECRET_ACCESS_KEY has a blank"}},
		{[]string{"AWS_SESSION_TOKEN= token"}, []string{"AWS_SESSION_TOKEN has a blank"}},
		{[]string{"AWS_PROFILE=none "}, []string{"AWS_PROFILE is set"}},
		{[]string{"AWS_CA_BUNDLE=/none.pem"}, []string{"AWS_CA_BUNDLE is set"}},
	} {
		t.Run(strings.Join(tt.env, " "), func(t *testing.T) {
			_, err := session(t, nil, tt.env...)
			if want := map[bool]exit.Code{true: exit.OK, false: exit.Usage}[tt.says == nil]; exit.CodeOf(err) != want {
				t.Fatalf("code %d: %v", exit.CodeOf(err), err)
			}
			for _, want := range tt.says {
				if text := fmt.Sprint(err, exit.Remedies(err)); !strings.Contains(text, want) {
					t.Errorf("lacks %q: %s", want, text)
				}
			}
		})
	}
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
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("[default]\nregion = eu-west-1\n[profile west]\nregion = us-west-2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		env  []string
		says string
	}{
		{nil, ""},
		{[]string{"AWS_REGION=us-east-1"}, ""},
		{[]string{"AWS_REGION=eu-west-1"}, `AWS_REGION names the region "eu-west-1", and this node is in us-east-1`},
		{[]string{"AWS_DEFAULT_REGION=eu-west-1"}, `AWS_DEFAULT_REGION names the region "eu-west-1"`},
		{[]string{"AWS_REGION=us-east-1 "}, `AWS_REGION names the region "us-east-1 "`},
		{[]string{"AWS_CONFIG_FILE=" + config}, `the profile "default" of the AWS config file names the region "eu-west-1"`},
		{[]string{"AWS_CONFIG_FILE=" + config, "AWS_PROFILE=west"}, `the profile "west" of the AWS config file names the region "us-west-2"`},
	} {
		t.Run(strings.Join(tt.env, " "), func(t *testing.T) {
			s, err := session(t, nil, tt.env...)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(s.Elsewhere, "\n"); s.Config.Region != "us-east-1" || !strings.Contains(got, tt.says) || tt.says == "" && got != "" {
				t.Errorf("region %s, %q", s.Config.Region, got)
			}
		})
	}
}
