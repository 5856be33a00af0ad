package settings

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

const printed = `{"Version": 1, "AccessKeyId": "AKIDCLI", "SecretAccessKey": "secret", "SessionToken": "token", "Expiration": "2099-01-01T00:00:00Z"}`

// withCLI makes PATH a directory with the program aws, a script with this text. If the text is
// empty, PATH has no program.
func withCLI(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if script != "" {
		if err := os.WriteFile(filepath.Join(dir, "aws"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

// TestSources: which credentials settings ask for. STS gives those of roles, and the AWS CLI those
// that need a person or IAM Identity Center.
func TestSources(t *testing.T) {
	const (
		role  = "[default]\nrole_arn = arn:aws:iam::123456789012:role/x\n"
		sso   = "sso_session = corp\nsso_account_id = 123456789012\nsso_role_name = x\n"
		token = "AWS_WEB_IDENTITY_TOKEN_FILE=/x"
		ecs   = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/x"
	)
	messages := golden.Open(t, "sources.txt")
	for _, tt := range []struct {
		name                string
		config, credentials string
		variables           []string
	}{
		{"a role by the instance profile", role + "credential_source = Ec2InstanceMetadata\n", "", nil},
		{"a role by the container", role + "credential_source = EcsContainer\n", "", []string{ecs}},
		{"a role by no container", role + "credential_source = EcsContainer\n", "", nil},
		{"a role by no keys", role + "credential_source = Environment\n", "", nil},
		{"a role by something else", role + "credential_source = Ec2\n", "", nil},
		{"a role by nothing said", role, "", nil},
		{"a role by its own keys", role + "source_profile = default\n" + someKeys, "", nil},
		{"a role by another profile", role + "source_profile = west\n", "[west]\n" + someKeys, nil},
		{"a role by a profile without keys", role + "source_profile = west\n[profile west]\n" + sso, "", nil},
		{"a role by a profile with a role", role + "source_profile = west\n[profile west]\nrole_arn = y\n" + someKeys, "", nil},
		{"a role by no profile", role + "source_profile = wset\n", "[west]\n" + someKeys, nil},
		{"a role by half a pair", role + "source_profile = west\n", "[west]\naws_access_key_id = x\n", nil},
		{"a role with all its settings", role + "role_session_name = me\nexternal_id = 7\nduration_seconds = 3600\n" + someKeys, "", nil},
		{"a role for too short", role + "duration_seconds = 60\n", "", nil},
		{"a role with a code", role + "mfa_serial = arn:aws:iam::123456789012:mfa/x\n" + someKeys, "", nil},
		{"a role by Identity Center", role + sso, "", nil},
		{"no role", "[default]\ncredential_source = Ec2InstanceMetadata\n", "", nil},
		{"a web identity", role + "web_identity_token_file = /x\n", "", nil},
		{"a web identity of the environment", "[default]\n" + someKeys, "", []string{token, "AWS_ROLE_ARN=y", "AWS_ROLE_SESSION_NAME=me"}},
		{"a web identity without a role", "", "", []string{token}},
		{"Identity Center", "[default]\n" + sso, "", nil},
		{"a login", "[default]\nlogin_session = x\n", "", nil},
		{"keys of the environment", "[default]\n" + sso, "", []string{envKeys, envSecret, token}},
		{"keys of the profile", "[default]\n" + sso, "[default]\n" + someKeys, []string{ecs}},
		{"another profile", "[default]\n" + sso, "[west]\n" + someKeys, []string{"AWS_PROFILE=west"}},
		{"a container", "[default]\nregion = eu-west-1\n", "", []string{ecs}},
		{"nothing", "", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			place(t, tt.config, tt.credentials, tt.variables...)
			withCLI(t, `[ "$*" = "configure export-credentials --format process" ] && echo '`+printed+`'`)
			o := Options{Container: &agent{}, IMDS: noIMDS{}}
			o.AssumeRole = func(_ aws.Config, r Role) aws.CredentialsProvider {
				return aws.CredentialsProviderFunc(func(ctx context.Context) (c aws.Credentials, err error) {
					by := "the token " + r.TokenFile
					if r.Base != nil {
						by = who(r.Base.Retrieve(ctx))
					}
					r.Base = nil
					return c, fmt.Errorf("STS for %v by %s", r, by)
				})
			}
			cfg, err := Load(os.Getenv, o)
			if err != nil {
				messages.Is(t, tt.name, err.Error())
				return
			}
			messages.Is(t, tt.name, who(cfg.Credentials.Retrieve(t.Context())))
		})
	}
}

// who returns whose credentials these are.
func who(c aws.Credentials, err error) string {
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(c.AccessKeyID + " " + c.SessionToken)
}

// noIMDS stands for IMDS.
type noIMDS struct{}

func (noIMDS) GetMetadata(context.Context, *imds.GetMetadataInput, ...func(*imds.Options)) (*imds.GetMetadataOutput, error) {
	return nil, errors.New("IMDS was asked")
}

// TestProgramErrors: what a program says is told, and nothing of what it prints.
func TestProgramErrors(t *testing.T) {
	messages := golden.Open(t, "programs.txt")
	const role = "[default]\nsso_session = corp\n"
	for _, tt := range []struct {
		name, config, script string
		missing              bool
	}{
		{"no CLI", role, "", true},
		{"the CLI fails", role, "echo first >&2; echo The SSO session has expired >&2; exit 255", false},
		{"an old CLI", role, "echo 'usage: aws' >&2; echo 'aws: error: argument subcommand: Invalid choice, valid choices are:' >&2; echo >&2; echo 'list | get' >&2; exit 252", true},
		{"a CLI of version 1", role, "echo 'usage: aws' >&2; echo 'aws: error: argument subcommand: Invalid choice, valid choices are:' >&2; exit 2", true},
		{"no JSON", role, "echo secret", false},
		{"another version", role, `echo '{"Version": 2, "AccessKeyId": "secret"}'`, false},
		{"half", role, `echo '{"Version": 1, "AccessKeyId": "secret"}'`, false},
		{"no end", role, "exec yes secret", false},
		{"much is said", role, "head -c 9999 /dev/zero | tr '\\0' x >&2; echo >&2; echo at last >&2; exit 1", false},
		{"a process fails", "[default]\ncredential_process = echo no >&2; exit 3\n", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			place(t, tt.config, "")
			path := os.Getenv("PATH")
			withCLI(t, tt.script)
			if tt.name != "no CLI" {
				t.Setenv("PATH", os.Getenv("PATH")+":"+path)
			}
			cfg, err := Load(os.Getenv, Options{})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), processTimeout/2) // no program is waited for
			defer cancel()
			_, err = cfg.Credentials.Retrieve(ctx)
			var p *ProgramError
			if !errors.As(err, &p) || p.Missing() != tt.missing || p.CLI != (tt.config == role) {
				t.Fatalf("%#v", err)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("output is told: %v", err)
			}
			messages.Is(t, tt.name, err.Error())
		})
	}
}

// TestCLIProfile: the AWS CLI takes the profile that is read here. If both variables are set, it
// would take the other one.
func TestCLIProfile(t *testing.T) {
	place(t, "[profile a]\nsso_session = corp\n[profile b]\nsso_session = corp\n", "", "AWS_PROFILE=a", "AWS_DEFAULT_PROFILE=b")
	withCLI(t, `echo "{\"Version\": 1, \"AccessKeyId\": \"$AWS_PROFILE$AWS_DEFAULT_PROFILE\", \"SecretAccessKey\": \"s\"}"`)
	cfg, err := Load(os.Getenv, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := cfg.Credentials.Retrieve(t.Context()); err != nil || c.AccessKeyID != "aa" {
		t.Error(c.AccessKeyID, err)
	}
}

// TestProgramEnds: a program whose child keeps its output open, and one that does not end, cost no
// more than the caller's own time.
func TestProgramEnds(t *testing.T) {
	place(t, "[default]\ncredential_process = sleep 60 & sleep 60\n", "")
	cfg, err := Load(os.Getenv, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := cfg.Credentials.Retrieve(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if took := time.Since(began); took > processGrace+10*time.Second {
		t.Errorf("it took %s", took)
	}
}

// agent is the agent of a container.
type agent struct{ asked []string }

func (a *agent) Do(r *http.Request) (*http.Response, error) {
	a.asked = append(a.asked, r.URL.String()+" "+r.Header.Get("Authorization"))
	return &http.Response{StatusCode: http.StatusOK, Request: r, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(`{"AccessKeyId":"AKIDAGENT","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}`))}, nil
}

// TestContainer: ECS, EKS and CloudShell are asked at their own address, with their token.
func TestContainer(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("of a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		variables []string
		asked     string
	}{
		{"ECS", []string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/1"}, "http://169.254.170.2/v2/credentials/1 "},
		{"EKS", []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://169.254.170.23/v1/credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=" + token}, "http://169.254.170.23/v1/credentials of a file"},
		{"CloudShell", []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://localhost:1338/latest/meta-data/container/security-credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN=abc"},
			"http://localhost:1338/latest/meta-data/container/security-credentials abc"},
		{"EKS by IPv6", []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://[fd00:ec2::23]/v1/credentials"}, "http://[fd00:ec2::23]/v1/credentials "},
		{"both", []string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/x", "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1/y"}, "http://169.254.170.2/x "},
		{"this machine", []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1/y"}, "http://127.0.0.1/y "},
		{"TLS", []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=https://creds.example.com/x"}, "https://creds.example.com/x "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			place(t, "[default]\nregion = eu-west-1\n", "", tt.variables...)
			a := &agent{}
			cfg, err := Load(os.Getenv, Options{Container: a})
			if err != nil {
				t.Fatal(err)
			}
			c, err := cfg.Credentials.Retrieve(t.Context())
			if err != nil || c.AccessKeyID != "AKIDAGENT" || len(a.asked) != 1 || a.asked[0] != tt.asked {
				t.Errorf("%s, %q, %v", c.AccessKeyID, a.asked, err)
			}
		})
	}
}
