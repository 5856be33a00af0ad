package ec2

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2/settings"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

const (
	roleARN    = "arn:aws:iam::123456789012:role/x"
	roleKeys   = "<Credentials><AccessKeyId>AKIDROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
	signedRole = "<AssumeRoleResponse><AssumeRoleResult>" + roleKeys + "</AssumeRoleResult></AssumeRoleResponse>"
	tokenRole  = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>" + roleKeys + "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
)

// TestAssumeRoleIsTheSDK compares the calls to STS with those of the SDK's own credentials: where
// they go, how they are signed, and what they say.
func TestAssumeRoleIsTheSDK(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a.b.c"), 0o600); err != nil {
		t.Fatal(err)
	}
	eachSetting(t, "STS", func(t *testing.T, region string, variables []string) {
		for _, tt := range []struct {
			answer string
			role   settings.Role
			theirs func(*sts.Client) aws.CredentialsProvider
		}{
			{signedRole, settings.Role{ARN: roleARN, Session: "me", ExternalID: "7", Seconds: 3600}, func(c *sts.Client) aws.CredentialsProvider {
				return stscreds.NewAssumeRoleProvider(c, roleARN, func(o *stscreds.AssumeRoleOptions) {
					o.RoleSessionName, o.ExternalID, o.Duration = "me", aws.String("7"), time.Hour
				})
			}},
			{tokenRole, settings.Role{ARN: roleARN, Session: "me", Seconds: 900, TokenFile: token}, func(c *sts.Client) aws.CredentialsProvider {
				return stscreds.NewWebIdentityRoleProvider(c, roleARN, stscreds.IdentityTokenFile(token), func(o *stscreds.WebIdentityRoleOptions) {
					o.RoleSessionName, o.Duration = "me", 15*time.Minute
				})
			}},
		} {
			theirs, ours := &answers{list: []answer{{status: 200, body: tt.answer}}}, &answers{list: []answer{{status: 200, body: tt.answer}}}
			s, err := Load(t.Context(), variablesFor(t, theirs, variables...), region)
			if err != nil {
				t.Fatal(err)
			}
			if tt.role.TokenFile == "" {
				tt.role.Base = credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "")
			}
			want, err := tt.theirs(sts.NewFromConfig(s.Config)).Retrieve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if s, err = Load(t.Context(), variablesFor(t, ours, variables...), region); err != nil {
				t.Fatal(err)
			}
			got, err := AssumeRole(s.Config, tt.role).Retrieve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got.AccessKeyID != want.AccessKeyID || got.SecretAccessKey != want.SecretAccessKey || got.SessionToken != want.SessionToken || !got.Expires.Equal(want.Expires) || got.CanExpire != want.CanExpire {
				t.Errorf("%+v, want %+v", got, want)
			}
			if tt.role.TokenFile == "" {
				compareRequests(t, ours.requests[0], theirs.requests[0])
			} else if a, b := ours.requests[0], theirs.requests[0]; a.URL.String() != b.URL.String() || a.Header.Get("Authorization") != "" || b.Header.Get("Authorization") != "" {
				t.Errorf("%s %q, want %s %q", a.URL, a.Header.Get("Authorization"), b.URL, b.Header.Get("Authorization"))
			}
			if ours.bodies[0] != theirs.bodies[0] {
				t.Errorf("body %s, want %s", ours.bodies[0], theirs.bodies[0])
			}
		}
	})
}

// TestNoCLI: what asks for the AWS CLI is told at once, with what to install.
func TestNoCLI(t *testing.T) {
	messages := golden.Open(t, "no-cli.txt")
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("[default]\nsso_session = corp\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{"none": "", "it fails": "echo 'Error loading SSO Token: Token for corp does not exist' >&2; exit 255"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if script != "" {
				if err := os.WriteFile(filepath.Join(dir, "aws"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			env := variablesFor(t, roleIMDS{}, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_CONFIG_FILE="+config, "PATH="+dir)
			_, err := Open(t.Context(), env, "us-east-1", time.Minute)
			if exit.CodeOf(err) != exit.Permission {
				t.Errorf("code %d: %v", exit.CodeOf(err), err)
			}
			messages.Is(t, name, told(err))
		})
	}
}

// TestRoleTellsNoSecrets: AWS answers a wrong signature with what was signed, which has the session
// token of the credentials that a role is asked for with.
func TestRoleTellsNoSecrets(t *testing.T) {
	const secret, token = "secret-of-the-base", "token-of-the-base"
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("[default]\nrole_arn = "+roleARN+"\naws_access_key_id = AKIDBASE\naws_secret_access_key = "+secret+"\naws_session_token = "+token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refusal := "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>x-amz-security-token:" + token + " by " + secret + "</Message></Error></ErrorResponse>"
	env := variablesFor(t, &answers{list: []answer{{status: 403, body: refusal}}}, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_CONFIG_FILE="+config)
	env.Redactor = &host.Redactor{}
	_, err := Open(t.Context(), env, "us-east-1", 0)
	if err == nil || !strings.Contains(err.Error(), token) {
		t.Fatal(err)
	}
	if said := env.Redactor.Text(err.Error()); strings.Contains(said, token) || strings.Contains(said, secret) {
		t.Error(said)
	}
}

// TestRoleFollowsNoRedirect: a token that proves who the node is goes nowhere else.
func TestRoleFollowsNoRedirect(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a.b.c"), 0o600); err != nil {
		t.Fatal(err)
	}
	var led atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { led.Store(true) }))
	defer elsewhere.Close()
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	env := variablesFor(t, nil, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_ENDPOINT_URL_STS="+server.URL, "AWS_WEB_IDENTITY_TOKEN_FILE="+token, "AWS_ROLE_ARN="+roleARN, "AWS_MAX_ATTEMPTS=1")
	if _, err := Open(t.Context(), env, "us-east-1", 0); err == nil || led.Load() {
		t.Error(led.Load(), err)
	}
}

// TestRoleByOtherClock: if the node's clock is wrong, credentials hold for as long as AWS says all
// the same.
func TestRoleByOtherClock(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a.b.c"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		ahead         time.Duration // of AWS
		answer, token string
	}{{-time.Hour, signedRole, ""}, {time.Hour, signedRole, ""}, {time.Hour, tokenRole, token}} {
		end := time.Now().Add(tt.ahead + 15*time.Minute).UTC()
		body := strings.ReplaceAll(tt.answer, "2099-01-01T00:00:00Z", end.Format(time.RFC3339))
		s, err := session(t, &answers{list: []answer{{status: 200, body: body, date: time.Now().Add(tt.ahead)}}})
		if err != nil {
			t.Fatal(err)
		}
		role := settings.Role{ARN: roleARN, Session: "me", Seconds: 900, Base: s.Config.Credentials, TokenFile: tt.token}
		if tt.token != "" {
			role.Base = nil
		}
		c, err := AssumeRole(s.Config, role).Retrieve(t.Context())
		if left := time.Until(c.Expires); err != nil || left < 14*time.Minute || left > 16*time.Minute {
			t.Errorf("AWS is ahead by %s: the credentials hold for %s (%v)", tt.ahead, left, err)
		}
	}
}

// containerAgent answers for the agent of ECS, and for nothing else.
type containerAgent struct{ roleIMDS }

func (x containerAgent) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == "169.254.170.2" && r.URL.Path == "/v2/1" {
		r.URL.Host = "169.254.169.254" // IMDS has the same form
	}
	return x.roleIMDS.RoundTrip(r)
}

// TestContainerCredentials: the agent of a container is asked with the run's own client.
func TestContainerCredentials(t *testing.T) {
	env := variablesFor(t, containerAgent{}, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/1")
	s, err := Open(t.Context(), env, "us-east-1", 0)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := s.Config.Credentials.Retrieve(t.Context()); err != nil || c.AccessKeyID != "AKIDEXAMPLE" {
		t.Errorf("%s, %v", c.AccessKeyID, err)
	}
}

// TestSlowCLI: the time of the run ends the wait for a program, and the remedy names it.
func TestSlowCLI(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("[default]\ncredential_process = sleep 60\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := Open(ctx, variablesFor(t, roleIMDS{}, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_CONFIG_FILE="+config), "us-east-1", time.Minute)
	if exit.CodeOf(err) != exit.Deadline {
		t.Errorf("code %d: %v", exit.CodeOf(err), err)
	}
	golden.Is(t, "slow-cli.txt", told(err)+"\n")
}

// TestOddRoles: an answer of STS that lacks a part of the credentials is an error.
func TestOddRoles(t *testing.T) {
	messages := golden.Open(t, "odd-roles.txt")
	for name, body := range map[string]string{
		"empty":    "<AssumeRoleResponse/>",
		"half":     "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId></Credentials></AssumeRoleResult></AssumeRoleResponse>",
		"no token": "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>s</SecretAccessKey><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
		"no end":   "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken></Credentials></AssumeRoleResult></AssumeRoleResponse>",
		"no date":  "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>soon</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
	} {
		t.Run(name, func(t *testing.T) {
			s, err := session(t, &answers{list: []answer{{status: 200, body: body}}}, "AWS_MAX_ATTEMPTS=1")
			if err != nil {
				t.Fatal(err)
			}
			_, err = AssumeRole(s.Config, settings.Role{ARN: roleARN, Session: "me", Seconds: 900, Base: s.Config.Credentials}).Retrieve(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			messages.Is(t, name, err.Error())
		})
	}
}
