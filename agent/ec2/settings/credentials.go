package settings

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

const (
	// processTimeout is how long a program may take that gives credentials. A person may have to
	// type a code.
	processTimeout = time.Minute
	// processGrace is how long its children may keep its output open after its end.
	processGrace = 2 * time.Second
	// containerExpiry is how long before their end credentials of a container are fetched again.
	containerExpiry = 5 * time.Minute
)

// Role is a role of IAM that settings ask for. STS gives its credentials.
type Role struct {
	ARN, Session, ExternalID string
	// Seconds is how long the credentials hold.
	Seconds int
	// Base signs the call. It is nil if there is a TokenFile.
	Base aws.CredentialsProvider
	// TokenFile has the token of a web identity, which STS takes in the place of a signature.
	TokenFile string
	// Source is where the credentials come from.
	Source aws.CredentialSource
}

const (
	// roleSession is a role's session, as CloudTrail shows it, if the settings do not name one.
	roleSession = "emr-static-ip"
	// roleSeconds is how long a role's credentials hold if the settings do not say it: as short as
	// STS allows. Whoever still needs them then gets new ones.
	roleSeconds = 900
)

// console are the settings of a profile that ask for credentials of IAM Identity Center or of the
// console's sign-in. Only the AWS CLI can get them.
var console = []string{"sso_session", "sso_start_url", "sso_account_id", "sso_role_name", "login_session"}

// credentials returns what gives the credentials. The order is that of the SDKs: keys in the
// environment, a web identity there, the profile, the container, and the instance profile. STS is
// called with cfg.
func (s *Settings) credentials(cfg aws.Config, o Options) (aws.CredentialsProvider, error) {
	env, p := s.Sources[0], s.Sources[1]
	if k, err := keys(env, aws.CredentialSourceEnvVars); k != nil || err != nil {
		return k, err
	}
	if env.get("web_identity_token_file") != "" {
		return assume(cfg, o, env, Role{TokenFile: env.get("web_identity_token_file"), Source: aws.CredentialSourceEnvVarsSTSWebIDToken})
	}
	if p.get("role_arn") != "" {
		return s.role(cfg, o, p)
	}
	for _, name := range []string{"source_profile", "credential_source", "web_identity_token_file"} {
		if p.get(name) != "" {
			return nil, lacks(p, name, "role_arn")
		}
	}
	return s.plain(p, o)
}

// role returns what gives the credentials of a profile with a role.
func (s *Settings) role(cfg aws.Config, o Options, p Source) (aws.CredentialsProvider, error) {
	r := Role{Source: aws.CredentialSourceSTSAssumeRole}
	var err error
	switch from, source := p.get("source_profile"), p.get("credential_source"); {
	case p.get("mfa_serial") != "": // a person types a code
		return byCLI(p, "mfa_serial"), nil
	case from != "":
		if from != p.Profile && !s.has(from) {
			return nil, noProfile(p.called("source_profile"), from)
		}
		other := s.profile(from)
		if from != p.Profile && other.get("role_arn") != "" {
			return byCLI(p, "source_profile"), nil
		}
		if r.Base, err = keys(other, aws.CredentialSourceProfileSourceProfile); r.Base == nil && err == nil {
			return byCLI(p, "source_profile"), nil
		}
	case source == "Ec2InstanceMetadata":
		r.Base = instanceProfile(o)
	case source == "EcsContainer":
		if r.Base, err = s.container(o); r.Base == nil && err == nil {
			err = fmt.Errorf("%s is %s, and neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set", p.called("credential_source"), source)
		}
	case source == "Environment": // keys there would have come first
		err = fmt.Errorf("%s is %s, and AWS_ACCESS_KEY_ID is not set", p.called("credential_source"), source)
	case source != "":
		err = fmt.Errorf("%s is %q: write Ec2InstanceMetadata, EcsContainer or Environment", p.called("credential_source"), source)
	case p.get("web_identity_token_file") != "":
		r.TokenFile, r.Source = p.get("web_identity_token_file"), aws.CredentialSourceProfileSTSWebIDToken
	default:
		r.Base, err = s.plain(p, o)
		if _, ok := r.Base.(*cli); ok { // which knows the role too
			return r.Base, err
		}
	}
	if err != nil {
		return nil, err
	}
	return assume(cfg, o, p, r)
}

// assume returns what gives the credentials of a role that a place's settings name.
func assume(cfg aws.Config, o Options, p Source, r Role) (aws.CredentialsProvider, error) {
	if r.ARN = p.get("role_arn"); r.ARN == "" {
		return nil, lacks(p, "web_identity_token_file", "role_arn")
	}
	r.Session, r.ExternalID, r.Seconds = cmp.Or(p.get("role_session_name"), roleSession), p.get("external_id"), roleSeconds
	if text := p.get("duration_seconds"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < roleSeconds {
			return nil, fmt.Errorf("%s is %q: write a number of seconds, at least %d", p.called("duration_seconds"), text, roleSeconds)
		}
		r.Seconds = n
	}
	if o.AssumeRole == nil {
		return nil, fmt.Errorf("%s: roles are not asked for here", p.called("role_arn"))
	}
	return cached(o.AssumeRole(cfg, r)), nil
}

// plain returns what gives the credentials of a profile without a role.
func (s *Settings) plain(p Source, o Options) (aws.CredentialsProvider, error) {
	if k, err := keys(p, aws.CredentialSourceProfile); k != nil || err != nil {
		return k, err
	}
	for _, name := range console {
		if p.get(name) != "" {
			return byCLI(p, name), nil
		}
	}
	if command := p.get("credential_process"); command != "" {
		return cached(&program{args: []string{"sh", "-c", command}, asked: p.called("credential_process")}), nil
	}
	if c, err := s.container(o); c != nil || err != nil {
		return c, err
	}
	return instanceProfile(o), nil
}

// keys returns the keys of a place, or nil if it has none.
func keys(p Source, from aws.CredentialSource) (aws.CredentialsProvider, error) {
	key, secret := p.get("aws_access_key_id"), p.get("aws_secret_access_key")
	switch {
	case key == "" && secret == "":
		return nil, nil
	case key == "":
		return nil, lacks(p, "aws_secret_access_key", "aws_access_key_id")
	case secret == "":
		return nil, lacks(p, "aws_access_key_id", "aws_secret_access_key")
	}
	return cached(credentials.StaticCredentialsProvider{Source: []aws.CredentialSource{from}, Value: aws.Credentials{
		AccessKeyID: key, SecretAccessKey: secret, SessionToken: p.get("aws_session_token"), Source: p.called("aws_access_key_id"),
	}}), nil
}

func lacks(p Source, has, lacks string) error {
	return fmt.Errorf("%s is set, and %s is not", p.called(has), p.called(lacks))
}

func instanceProfile(o Options) aws.CredentialsProvider {
	client := o.IMDS
	if client == nil {
		client = imds.New(imds.Options{})
	}
	return cached(ec2rolecreds.New(func(r *ec2rolecreds.Options) { r.Client = client }))
}

func cached(p aws.CredentialsProvider) aws.CredentialsProvider { return aws.NewCredentialsCache(p) }

// container returns what gives the credentials of a container (ECS, EKS, CloudShell). It is nil
// outside of one.
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
func (s *Settings) container(o Options) (aws.CredentialsProvider, error) {
	const name = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	address := s.getenv(name)
	switch relative := s.getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); {
	case relative != "":
		address = "http://169.254.170.2" + relative
	case address == "":
		return nil, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%s is no http:// or https:// URL with a host", name)
	}
	if u.Scheme == "http" && !containerHost(u.Hostname()) {
		return nil, fmt.Errorf("%s names the host %s by http: only this machine and the agents of ECS and EKS may be asked without TLS", name, strconv.Quote(u.Hostname()))
	}
	p := endpointcreds.New(address, func(e *endpointcreds.Options) {
		e.APIOptions = o.APIOptions
		if o.Container != nil {
			e.HTTPClient = o.Container
		}
		e.AuthorizationToken = s.getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN")
		if file := s.getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
			e.AuthorizationTokenProvider = endpointcreds.TokenProviderFunc(func() (string, error) {
				token, err := ReadFile(file, maxFile)
				return string(token), err
			})
		}
		e.CredentialSources = []aws.CredentialSource{aws.CredentialSourceHTTP}
	})
	return aws.NewCredentialsCache(p, func(c *aws.CredentialsCacheOptions) { c.ExpiryWindow = containerExpiry }), nil
}

// containerHost reports whether a host is this machine, or the agent of ECS or EKS.
func containerHost(name string) bool {
	if name == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(name)
	return err == nil && (a.IsLoopback() || a == netip.MustParseAddr("169.254.170.2") || a == netip.MustParseAddr("169.254.170.23") || a == netip.MustParseAddr("fd00:ec2::23"))
}

// cli gets credentials from the AWS CLI, which finds them by the same settings.
// https://docs.aws.amazon.com/cli/latest/reference/configure/export-credentials.html
type cli struct{ aws.CredentialsProvider }

// ProviderSources returns where the credentials come from.
func (*cli) ProviderSources() []aws.CredentialSource {
	return []aws.CredentialSource{aws.CredentialSourceProcess}
}

func byCLI(p Source, name string) *cli {
	return &cli{cached(&program{
		args: []string{"aws", "configure", "export-credentials", "--format", "process"}, asked: p.called(name), cli: true,
		// To the AWS CLI AWS_DEFAULT_PROFILE takes precedence, to the SDKs AWS_PROFILE.
		environ: []string{"AWS_PROFILE=" + p.Profile, "AWS_DEFAULT_PROFILE=" + p.Profile},
	})}
}

// program gets credentials from another program: the AWS CLI, or the one of credential_process.
type program struct {
	args    []string
	asked   string // the setting because of which it runs
	cli     bool
	environ []string // what it has besides this process's environment
}

// ProgramError is the error of a program that should give credentials and does not.
type ProgramError struct {
	// Asked is the setting because of which the program runs, as a person finds it.
	Asked string
	// CLI reports whether the program is the AWS CLI. Otherwise the setting names it.
	CLI bool
	// Said is the line with the error, or the last one, that the program wrote to stderr.
	Said string
	Err  error
}

func (e *ProgramError) Error() string {
	name := "its program"
	if e.CLI {
		name = "the AWS CLI"
	}
	if e.Said == "" {
		return fmt.Sprintf("%s asks for credentials, and %s gave none: %v", e.Asked, name, e.Err)
	}
	return fmt.Sprintf("%s asks for credentials, and %s gave none: %v: %s", e.Asked, name, e.Err, e.Said)
}

func (e *ProgramError) Unwrap() error { return e.Err }

// Missing reports whether there is no such program, or an AWS CLI that cannot do this: those before
// 2.9 do not know the command. They end with 252, and those of version 1 with 2.
// https://docs.aws.amazon.com/cli/latest/userguide/cli-usage-returncodes.html
func (e *ProgramError) Missing() bool { return errors.Is(e.Err, exec.ErrNotFound) || e.outdated() }

func (e *ProgramError) outdated() bool {
	x := (*exec.ExitError)(nil)
	return e.CLI && errors.As(e.Err, &x) && (x.ExitCode() == 2 || x.ExitCode() == 252)
}

// errNoCredentials is the error of a program that ends well and prints something else. Its output
// is not told: it may be half a secret.
var errNoCredentials = errors.New("its output is no credentials in JSON")

var errSlow = fmt.Errorf("it did not end within %s", processTimeout)

// Retrieve runs the program.
func (p *program) Retrieve(ctx context.Context) (aws.Credentials, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, processTimeout, errSlow)
	defer cancel()
	var said tail
	var printed limit
	builder := processcreds.NewCommandBuilderFunc(func(ctx context.Context) (*exec.Cmd, error) {
		cmd := exec.CommandContext(ctx, p.args[0], p.args[1:]...)
		cmd.Env = append(os.Environ(), p.environ...)
		cmd.Stdin, cmd.Stderr, cmd.WaitDelay = os.Stdin, &said, processGrace // a code may be typed
		cmd.Stdout = &printed
		return cmd, nil
	})
	c, err := processcreds.NewProviderCommand(builder, func(o *processcreds.Options) { o.Timeout = -1 }).Retrieve(ctx)
	if err == nil {
		return c, nil
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &kind) {
		err = errNoCredentials
	} else if e := (*processcreds.ProviderError)(nil); errors.As(err, &e) && e.Unwrap() != nil {
		err = e.Unwrap()
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
	}
	switch {
	case printed > maxOutput:
		err = errNoCredentials
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return c, &ProgramError{Asked: p.asked, CLI: p.cli, Said: said.line(), Err: err}
}

// ProviderSources returns where the credentials come from.
func (p *program) ProviderSources() []aws.CredentialSource {
	return []aws.CredentialSource{aws.CredentialSourceProcess}
}

// maxOutput limits what a program prints, in bytes. Credentials have a few thousand.
const maxOutput = 1 << 20

// limit counts what is written to it, and refuses more than maxOutput. The program gets SIGPIPE.
type limit int

func (l *limit) Write(data []byte) (int, error) {
	if *l += limit(len(data)); *l > maxOutput {
		return 0, errNoCredentials
	}
	return len(data), nil
}

// tail keeps the end of what is written to it.
type tail struct{ buf []byte }

const maxTail = 4 << 10

func (t *tail) Write(data []byte) (int, error) {
	t.buf = append(t.buf, data...)
	if len(t.buf) > maxTail {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-maxTail:]...)
	}
	return len(data), nil
}

// line returns the first line that says error, or the last one that is not empty.
func (t *tail) line() string {
	lines := bytes.Split(bytes.TrimSpace(t.buf), []byte("\n"))
	said := lines[len(lines)-1]
	if i := slices.IndexFunc(lines, func(line []byte) bool { return bytes.Contains(line, []byte("error: ")) }); i >= 0 {
		said = lines[i]
	}
	return strings.ToValidUTF8(string(bytes.TrimSpace(said)), "?")
}
