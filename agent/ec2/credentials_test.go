package ec2

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

const rolePath = "/latest/meta-data/iam/security-credentials/"

// roleIMDS is an IMDS with a role, which answers so to what begins with a path. Without a body it
// does not answer. What is not for IMDS is not answered either.
type roleIMDS struct {
	path, body string
	status     int
}

func (x roleIMDS) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := func(status int, body string) (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: int64(len(body)),
			Header: http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"300"}}, Body: io.NopCloser(strings.NewReader(body)),
		}, nil
	}
	switch {
	case r.URL.Host != "169.254.169.254", x.path != "" && strings.HasPrefix(r.URL.Path, x.path) && x.status == 0:
		<-r.Context().Done()
		return nil, r.Context().Err()
	case x.path != "" && strings.HasPrefix(r.URL.Path, x.path):
		return answer(x.status, x.body)
	case r.URL.Path == "/latest/api/token":
		return answer(200, "token")
	case r.URL.Path == rolePath:
		return answer(200, "EMR_EC2_DefaultRole")
	}
	return answer(200, `{"Code":"Success","AccessKeyId":"AKIDEXAMPLE","SecretAccessKey":"secret","Token":"token","Expiration":"2099-01-01T00:00:00Z"}`)
}

// TestNoCredentials: each reason has its own remedy and exit code. What is for good ends at once.
func TestNoCredentials(t *testing.T) {
	messages := golden.Open(t, "no-credentials.txt")
	const assume = `{"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume the role EMR_EC2_DefaultRole."}`
	const role = "[default]\nrole_arn = arn:aws:iam::123456789012:role/x\ncredential_source = Ec2InstanceMetadata\n"
	now := profileTimeout + 2*time.Second
	for _, tt := range []struct {
		name   string
		imds   roleIMDS
		config string // ~/.aws/config
		env    []string
		code   exit.Code
		within time.Duration
	}{
		{"the role cannot be assumed", roleIMDS{rolePath + "EMR", assume, 200}, "", nil, exit.Permission, 0},
		{"another reason of IMDS", roleIMDS{rolePath + "EMR", `{"Code":"InstanceProfileNotFound","Message":"gone"}`, 200}, "", nil, exit.Permission, now},
		{"no role", roleIMDS{rolePath, "<html>404</html>", 404}, "", nil, exit.Permission, now},
		{"an empty list of roles", roleIMDS{rolePath, "", 200}, "", nil, exit.Permission, now},
		{"a page in the place of IMDS", roleIMDS{rolePath, "<html>Sign in</html>", 200}, "", nil, exit.Identity, 0},
		{"something else than credentials", roleIMDS{rolePath + "EMR", "ok", 200}, "", nil, exit.Identity, 0},
		{"IMDS is silent", roleIMDS{rolePath, "", 0}, "", nil, exit.Unreachable, time.Minute + 10*time.Second},
		{"no file for the web identity", roleIMDS{}, "", []string{"AWS_WEB_IDENTITY_TOKEN_FILE=/var/run/none", "AWS_ROLE_ARN=arn:aws:iam::123456789012:role/x"}, exit.Permission, 0},
		{"no such program", roleIMDS{}, "[default]\ncredential_process = /opt/none\n", nil, exit.Permission, time.Second},
		{"STS is silent", roleIMDS{}, role, nil, exit.Unreachable, 3 * time.Minute},
		{"the other role's own role cannot be assumed", roleIMDS{rolePath + "EMR", assume, 200}, role, nil, exit.Permission, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(config, []byte(tt.config), 0o600); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				env := variablesFor(t, tt.imds, append([]string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_CONFIG_FILE=" + config}, tt.env...)...)
				began := time.Now()
				_, err := Open(t.Context(), env, "us-east-1", time.Minute)
				if took := time.Since(began); exit.CodeOf(err) != tt.code || took > tt.within {
					t.Errorf("code %d after %s, want %d within %s", exit.CodeOf(err), took, tt.code, tt.within)
				}
				text := told(err)
				messages.Is(t, tt.name, steady(text))
				if tt.code == exit.Permission && strings.Contains(text, "hop") {
					t.Errorf("the hop limit is named:\n%s", text)
				}
			})
		})
	}
}

// TestMetadataDisabled: the variable is meant for other programs. This one cannot do without IMDS.
func TestMetadataDisabled(t *testing.T) {
	env := variablesFor(t, roleIMDS{}, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_EC2_METADATA_DISABLED=true")
	s, err := Open(t.Context(), env, "us-east-1", 0)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := s.Config.Credentials.Retrieve(t.Context()); err != nil || c.AccessKeyID != "AKIDEXAMPLE" {
		t.Errorf("%v, %v", c.AccessKeyID, err)
	}
	if _, err := OpenIMDS(env).get(t.Context(), "instance-id"); err != nil {
		t.Error(err)
	}
}

// TestSTSAnswers: pages in the place of STS, and refusals of its own, end the wait at once.
func TestSTSAnswers(t *testing.T) {
	messages := golden.Open(t, "sts.txt")
	for _, tt := range []struct {
		name, body string
		status     int
		code       exit.Code
	}{
		{"a page", "<html>Sign in</html>", 200, exit.Unreachable},
		{"denied by a proxy", "<html>no</html>", 403, exit.Unreachable},
		{"denied by STS", "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>", 403, exit.Permission},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(config, []byte("[default]\nrole_arn = arn:aws:iam::123456789012:role/x\ncredential_source = Ec2InstanceMetadata\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			answers := stsAnswers{roleIMDS{}, tt.status, tt.body}
			env := variablesFor(t, answers, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_CONFIG_FILE="+config)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := Open(ctx, env, "us-east-1", time.Minute)
			if exit.CodeOf(err) != tt.code || ctx.Err() != nil {
				t.Errorf("code %d: %v", exit.CodeOf(err), err)
			}
			messages.Is(t, tt.name, steady(told(err)))
		})
	}
}

type stsAnswers struct {
	roleIMDS
	status int
	body   string
}

func (x stsAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Host, "sts.") {
		return refusing(x.status, x.body)(&http.Response{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, Header: http.Header{}})
	}
	return x.roleIMDS.RoundTrip(r)
}
