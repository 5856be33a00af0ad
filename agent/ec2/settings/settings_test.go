package settings

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"golang.org/x/sys/unix"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// place is a home directory with shared files, and an environment without other settings of AWS.
func place(t *testing.T, config, credentials string, variables ...string) (home string) {
	t.Helper()
	home = t.TempDir()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", home)
	if err := os.Mkdir(filepath.Join(home, ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"config": config, "credentials": credentials} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(home, ".aws", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	return home
}

const (
	someKeys  = "aws_access_key_id = AKIDPROFILE\naws_secret_access_key = secret\n"
	localEC2  = "[profile local]\nservices = here\nregion = eu-west-1\n" + someKeys + "[services here]\nec2 =\n  endpoint_url = http://127.0.0.1:4566\n"
	envKeys   = "AWS_ACCESS_KEY_ID=AKIDENV"
	envSecret = "AWS_SECRET_ACCESS_KEY=secret"
)

// places are settings that this package and the SDK's own must read alike.
var places = []struct {
	name                string
	config, credentials string
	variables           []string
}{
	{"nothing", "", "", nil},
	{"region by the environment", "[default]\nregion = eu-west-1\n", "", []string{"AWS_REGION=us-east-2", "AWS_DEFAULT_REGION=us-west-1"}},
	{"default region by the environment", "[default]\nregion = eu-west-1\n", "", []string{"AWS_DEFAULT_REGION=us-west-1"}},
	{"region by the file", "# typed\n[default]\nRegion=eu-west-1 ; here\n", "", nil},
	{"a profile", "[default]\nregion = eu-west-1\n[profile west]\nregion = us-west-2\n", "", []string{"AWS_PROFILE=west"}},
	{"a profile by the old variable", "[profile west]\nregion = us-west-2\n", "", []string{"AWS_DEFAULT_PROFILE=west"}},
	{"a profile without the prefix", "[default]\nregion = eu-west-1\n[west]\nregion = us-west-2\n", "[west]\n" + someKeys, []string{"AWS_PROFILE=west"}},
	{"a profile of credentials only", "[default]\nregion = eu-west-1\n", "[west]\nregion = us-west-2\n" + someKeys, []string{"AWS_PROFILE=west"}},
	{"both defaults", "[default]\nregion = eu-west-1\n[profile default]\nregion = us-west-2\n", "", nil},
	{"a profile of no file", "[default]\nregion = eu-west-1\n", "", []string{"AWS_PROFILE=west"}},
	{"a section twice", "[default]\nregion = eu-west-1\n[profile a]\n[default]\nregion = eu-west-2\nmax_attempts = 7\n", "", nil},
	{"all indented", "[profile west]\nregion = us-west-2\n[default]\n  sdk_ua_app_id = x\n  region = eu-west-1\n", "", nil},
	{"all indented by tabs", "[services here]\n\tec2 =\n\t\tendpoint_url = http://127.0.0.1:4566\n[default]\n\tregion = eu-west-1\n\tservices = here\n", "", nil},
	{"services and then none", "[services here]\nec2 =\n  endpoint_url = http://127.0.0.1:4566\nec2 = x\n[default]\nregion = eu-west-1\nservices = here\n", "", nil},
	{"remarks after tabs", "[default]\t; c\nregion = eu-west-1\t# c\nsdk_ua_app_id = x\t; c\n[profile\twest]\n", "", nil},
	{"values with marks", "[default]\nsdk_ua_app_id = \"a#b\" # c\nregion: 'eu-west-1'\n", "", nil},
	{"keys in both files", "[default]\n" + someKeys, "[default]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = other\naws_session_token = other\n", nil},
	{"keys in both places", "", "[default]\n" + someKeys, []string{envKeys, envSecret, "AWS_SESSION_TOKEN=token"}},
	{"a profile beside keys of the environment", "", "[west]\n" + someKeys, []string{envKeys, envSecret, "AWS_PROFILE=west"}},
	{"endpoint by the environment", "[default]\nendpoint_url = http://10.0.0.9\n", "", []string{"AWS_ENDPOINT_URL=http://10.0.0.10"}},
	{"endpoint by the file", "[default]\nendpoint_url = http://10.0.0.9\n", "", nil},
	{"endpoint of one service", localEC2, "", []string{"AWS_PROFILE=local"}},
	{"endpoint of one service, and of all", localEC2, "", []string{"AWS_PROFILE=local", "AWS_ENDPOINT_URL=http://10.0.0.10"}},
	{"endpoint of one service, in both places", localEC2, "", []string{"AWS_PROFILE=local", "AWS_ENDPOINT_URL_EC2=http://10.0.0.10"}},
	{"endpoints ignored", localEC2, "", []string{"AWS_PROFILE=local", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true", "AWS_ENDPOINT_URL=http://10.0.0.10"}},
	{"endpoints ignored by the file", "[default]\nignore_configured_endpoint_urls = true\nendpoint_url = http://10.0.0.9\n", "", nil},
	{"FIPS", "[default]\nuse_fips_endpoint = true\n", "", nil},
	{"no FIPS by the environment", "[default]\nuse_fips_endpoint = true\n", "", []string{"AWS_USE_FIPS_ENDPOINT=FALSE"}},
	{"dual stack", "[default]\nuse_dualstack_endpoint = False\n", "", []string{"AWS_USE_DUALSTACK_ENDPOINT=True"}},
	{"a wrong flag", "", "", []string{"AWS_USE_FIPS_ENDPOINT=yes"}},
	{"retries", "[default]\nretry_mode = adaptive\nmax_attempts = 2\n", "", []string{"AWS_MAX_ATTEMPTS=9"}},
	{"a wrong retry mode", "", "", []string{"AWS_RETRY_MODE=brave"}},
	{"a wrong number", "[default]\nmax_attempts = many\n", "", nil},
	{"half a pair of keys", "", "[default]\naws_access_key_id = AKIDPROFILE\n", nil},
	{"no CA certificates", "[default]\nca_bundle = /none.pem\n", "", nil},
	{"clock", "", "", []string{"AWS_DISABLE_CLOCK_SKEW_CORRECTION=true"}},
	{"a credential process", "[default]\ncredential_process = printf '{\"Version\":1,\"AccessKeyId\":\"AKIDPROCESS\",\"SecretAccessKey\":\"s\",\"SessionToken\":\"t\"}'\n", "", nil},
	{"a credential process beside keys", "[default]\ncredential_process = false\n" + someKeys, "", nil},
	{"a container by a wrong host", "", "", []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://192.0.2.1/creds"}},
}

// TestLikeTheSDK compares what this package makes of settings with what the SDK's own makes of
// them: the configuration, where calls to EC2 and Parameter Store go, and the keys that sign them.
func TestLikeTheSDK(t *testing.T) {
	for _, tt := range places {
		t.Run(tt.name, func(t *testing.T) {
			home := place(t, tt.config, tt.credentials, tt.variables...)
			// The SDK finds the home directory when a program starts.
			t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, ".aws", "config"))
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, ".aws", "credentials"))
			want, errWant := config.LoadDefaultConfig(t.Context())
			got, errGot := Load(os.Getenv, Options{})
			if (errGot == nil) != (errWant == nil) {
				t.Fatalf("%v, and by the SDK %v", errGot, errWant)
			}
			if errWant != nil {
				return
			}
			if got.Region == "" { // neither finds an endpoint without one
				got.Region, want.Region = "us-east-1", cmp.Or(want.Region, "us-east-1")
			}
			if a, b := describe(t, got), describe(t, want); a != b {
				t.Errorf("%s\nand by the SDK\n%s", a, b)
			}
		})
	}
}

// TestKeysStayTogether: the keys of one file do not get the token of the other, with which AWS
// refuses them. The SDK mixes the two.
func TestKeysStayTogether(t *testing.T) {
	place(t, "[default]\n"+someKeys+"aws_session_token = of config\n", "[default]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = other\n")
	cfg, err := Load(os.Getenv, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := cfg.Credentials.Retrieve(t.Context()); err != nil || c.AccessKeyID != "AKIDOTHER" || c.SessionToken != "" {
		t.Errorf("%s, %q, %v", c.AccessKeyID, c.SessionToken, err)
	}
}

// recorder notes where requests go, and who signs them.
type recorder struct{ lines []string }

var errSent = errors.New("sent")

func (r *recorder) Do(q *http.Request) (*http.Response, error) {
	signed, _, _ := strings.Cut(q.Header.Get("Authorization"), ",")
	r.lines = append(r.lines, fmt.Sprintf("%s %s %s", q.URL, signed, q.Header.Get("X-Amz-Security-Token")))
	return nil, errSent
}

// describe returns what counts of a configuration.
func describe(t *testing.T, cfg aws.Config) string {
	t.Helper()
	r := &recorder{}
	out := fmt.Sprintf("%s %s %d %s %s %t\n", cfg.Region, aws.ToString(cfg.BaseEndpoint), cfg.RetryMaxAttempts, cfg.RetryMode, cfg.AppID, cfg.DisableClockSkewCorrection)
	credentials := cfg.Credentials
	cfg.HTTPClient, cfg.Retryer = r, func() aws.Retryer { return aws.NopRetryer{} }
	if c, err := retrieve(t.Context(), credentials); err != nil {
		cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "none", SecretAccessKey: "none"}, nil
		})
	} else if c.AccessKeyID == "" {
		t.Error("credentials without a key")
	}
	if _, err := ec2.NewFromConfig(cfg).DescribeVpcs(t.Context(), nil); !errors.Is(err, errSent) {
		out += "EC2: " + err.Error() + "\n"
	}
	if _, err := ssm.NewFromConfig(cfg).GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/x")}); !errors.Is(err, errSent) {
		out += "SSM: " + err.Error() + "\n"
	}
	return out + strings.Join(r.lines, "\n")
}

// retrieve gets credentials, if no network is needed for that.
func retrieve(ctx context.Context, p aws.CredentialsProvider) (aws.Credentials, error) {
	if cache, ok := p.(*aws.CredentialsCache); ok {
		for _, s := range cache.ProviderSources() {
			if s == aws.CredentialSourceIMDS || s == aws.CredentialSourceHTTP {
				return aws.Credentials{}, errors.New("not asked")
			}
		}
	}
	return p.Retrieve(ctx)
}

// TestProblems: each wrong setting is named, all at once, with the place where it stands.
func TestProblems(t *testing.T) {
	messages := golden.Open(t, "problems.txt")
	for _, tt := range []struct {
		name                string
		config, credentials string
		variables           []string
	}{
		{"no profile", "[default]\n", "", []string{"AWS_PROFILE=west"}},
		{"many", "[default]\nuse_fips_endpoint = on\nmax_attempts = many\nretry_mode = brave\nca_bundle = /none.pem\n", "[default]\naws_secret_access_key = s\n", []string{"AWS_USE_DUALSTACK_ENDPOINT=1"}},
		{"half a pair in the environment", "", "", []string{envKeys}},
		{"a line", "[default]\nregion eu-west-1\n", "", nil},
		{"a heading", "[default\n", "", nil},
		{"a heading with a mark", "[#]\n", "", nil},
		{"a heading of nothing", "[\"\"]\n", "", nil},
		{"a heading that ends with a blank", "[profile \"x \"]\n", "", nil},
		{"before the heading", "region = eu-west-1\n", "", nil},
		{"fewer than no attempts", "", "", []string{"AWS_MAX_ATTEMPTS=-1"}},
		{"a setting without a name", "[default]\n= x\n", "", nil},
		{"keys below a region", "[default]\nregion = eu-west-1\n  AWS_secret_access_key = secret\n", "", nil},
		{"below a service", "[services x]\nec2 =\n  here\n", "", nil},
		{"no PEM", "[default]\nca_bundle = /etc/hostname\n", "", nil},
		{"a directory", "", "", []string{"AWS_CONFIG_FILE=/etc"}},
		{"no URL of a container", "", "", []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=ftp://x"}},
		{"a container far away", "", "", []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://192.0.2.1/creds"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home := place(t, tt.config, tt.credentials, tt.variables...)
			_, err := Load(os.Getenv, Options{})
			if err == nil {
				t.Fatal("no error")
			}
			messages.Is(t, tt.name, strings.ReplaceAll(err.Error(), home, "HOME"))
		})
	}
}

// TestUnreadableFile: a file in a home directory that this user may not look into is none of its
// settings. One that it may see and not read is an error, and so is one that a variable names.
func TestUnreadableFile(t *testing.T) {
	home := place(t, "[default]\nregion = eu-west-1\n", "")
	file := filepath.Join(home, ".aws", "config")
	if err := os.Chmod(file, 0); err != nil {
		t.Fatal(err)
	}
	obey(t)
	if _, err := os.ReadFile(file); err == nil {
		t.Fatal("the file can be read")
	}
	if _, err := Read(os.Getenv); err == nil {
		t.Error("no error")
	}
	if err := os.Chmod(filepath.Dir(file), 0); err != nil {
		t.Fatal(err)
	}
	if s, err := Read(os.Getenv); err != nil || s.Region() != "" {
		t.Error(s, err)
	}
	t.Setenv("AWS_CONFIG_FILE", file)
	if _, err := Read(os.Getenv); err == nil {
		t.Error("no error")
	}
	if err := os.Chmod(filepath.Dir(file), 0o700); err != nil { // so that it can be removed
		t.Fatal(err)
	}
}

// obey makes the test's thread obey the modes of files, also if it is root's.
func obey(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&head, &caps[0]); err != nil {
		t.Fatal(err)
	}
	before := caps
	caps[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	if err := unix.Capset(&head, &caps[0]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Capset(&head, &before[0]); err != nil {
			t.Fatal(err) // the thread stays locked, and ends with the test
		}
		runtime.UnlockOSThread()
	})
}

// TestWithoutHome: a service of systemd has no HOME. The files are root's then.
func TestWithoutHome(t *testing.T) {
	place(t, "", "")
	t.Setenv("HOME", "")
	if _, err := Read(os.Getenv); err != nil {
		t.Error(err)
	}
}

// TestIndentedLines: what is indented is read as by the AWS CLI. The SDK gives other answers.
func TestIndentedLines(t *testing.T) {
	for name, text := range map[string]string{
		"less than before": "[default]\n    s3 =\n        x = 1\n  region = eu-west-1\n",
		"a heading":        "  [default]\n  region = eu-west-1\n  [profile x]\n  region = us-west-2\n",
		"as far":           "[default]\n  output =\n  region = eu-west-1\n",
		"a long value":     "[default]\ncredential_process = /bin/x\n  --region=us-west-2\nregion = eu-west-1\n",
		"a quotation mark": "[default]\noutput = \"\nregion = eu-west-1\n",
		"nothing":          "\ufeff[default]\r\nregion = eu-west-1\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			place(t, text, "")
			s, err := Read(os.Getenv)
			if err != nil || s.Region() != "eu-west-1" {
				t.Error(s, err)
			}
		})
	}
}

// TestQuotedProfile: a name with a blank has quotation marks in ~/.aws/config: so the AWS CLI
// writes it.
func TestQuotedProfile(t *testing.T) {
	for _, name := range []string{"my west", "west"} {
		place(t, "[profile \""+name+"\"]\nregion = us-west-2\n", "", "AWS_PROFILE="+name)
		if s, err := Read(os.Getenv); err != nil || s.Region() != "us-west-2" {
			t.Error(name, s, err)
		}
	}
	place(t, "", "[\"west\"]\nregion = us-west-2\n", "AWS_PROFILE=west")
	if s, err := Read(os.Getenv); err != nil || s.Region() != "us-west-2" {
		t.Error(s, err)
	}
}

// TestHomeIsNoDirectory: a service user's HOME may be /dev/null.
func TestHomeIsNoDirectory(t *testing.T) {
	place(t, "", "")
	t.Setenv("HOME", os.DevNull)
	if _, err := Read(os.Getenv); err != nil {
		t.Error(err)
	}
}

// isIndented finds settings that are indented. The SDK does not ask how far.
var isIndented = regexp.MustCompile(`(?m)^[ \t]+.*[=:\[]`)

// FuzzFile: what parse accepts, the SDK reads alike.
func FuzzFile(f *testing.F) {
	for _, p := range places {
		f.Add(p.config)
	}
	f.Add("[profile x]\nrole_arn = a\n b\nsource_profile = y ; c\n[default] # c\nregion=\n  a = b\n")
	f.Add("[\"\"]\n")
	file := filepath.Join(f.TempDir(), "config")
	f.Fuzz(func(t *testing.T, text string) {
		sections, err := parse(text)
		if err != nil {
			return
		}
		for name, s := range sections {
			if name == "" || strings.TrimSpace(name) != name {
				t.Errorf("the section %q", name)
			}
			for key := range s.below {
				if s.values[key] != "" {
					t.Errorf("%q has a value and settings below it", key)
				}
			}
		}
		if isIndented.MatchString(text) || strings.HasPrefix(text, byteOrderMark) {
			return
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		want, err := bySDK(t, file)
		if err != nil {
			return
		}
		got := (&Settings{config: sections}).profile("default")
		for name, value := range map[string]string{"region": want.Region, "credential_process": want.CredentialProcess, "role_session_name": want.RoleSessionName} {
			if got.get(name) != value {
				t.Errorf("%s is %q, and by the SDK %q", name, got.get(name), value)
			}
		}
	})
}

// bySDK reads the profile default of a file. The SDK panics at a value of one quotation mark.
func bySDK(t *testing.T, file string) (c config.SharedConfig, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return config.LoadSharedConfigProfile(t.Context(), "default", func(o *config.LoadSharedConfigOptions) {
		o.ConfigFiles, o.CredentialsFiles = []string{file}, []string{}
	})
}
