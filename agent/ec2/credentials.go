package ec2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2/settings"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// redactCredentials makes credentials secret as soon as the provider returns them.
func redactCredentials(r *host.Redactor, provider aws.CredentialsProvider) aws.CredentialsProvider {
	if r == nil || provider == nil {
		return provider
	}
	return aws.NewCredentialsCache(redactedCredentials{provider, r})
}

type redactedCredentials struct {
	aws.CredentialsProvider
	redactor *host.Redactor
}

func (p redactedCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := p.CredentialsProvider.Retrieve(ctx)
	p.redactor.Hide(c.SecretAccessKey, c.SessionToken)
	return c, err
}

// ProviderSources returns where the credentials come from.
func (p redactedCredentials) ProviderSources() []aws.CredentialSource {
	return sourcesOf(p.CredentialsProvider)
}

func sourcesOf(provider aws.CredentialsProvider) []aws.CredentialSource {
	if s, ok := provider.(aws.CredentialProviderSource); ok {
		return s.ProviderSources()
	}
	return nil
}

// WaitForCredentials waits until there are AWS credentials, for at most the given time. It ends at
// once if no repetition helps.
func WaitForCredentials(ctx context.Context, cfg aws.Config, env host.Environment, atMost time.Duration) error {
	began := time.Now()
	wait := host.NewProgress(env.Logger(), began)
	interval := func() time.Duration { return pause.Jitter(env.Random(), time.Second) }
	var last error
	done, err := pause.Poll(ctx, interval, func() (done bool, err error) {
		if _, err = cfg.Credentials.Retrieve(ctx); err == nil {
			return true, nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		waited := time.Since(began)
		final, limit := noCredentials(last, cfg)
		if limit = min(limit, atMost); waited >= limit {
			what := "getting AWS credentials"
			if limit > 0 {
				what += ", for " + waited.Round(time.Second).String()
			}
			return true, exit.With(final.code, Plain(fmt.Errorf("%s: %w", what, last)), final.remedy)
		}
		wait.Waiting(ctx, limit, "for AWS credentials: %s", Clause(err))
		return false, err
	})
	if !done {
		final, _ := noCredentials(last, cfg)
		return exit.With(final.code, Plain(fmt.Errorf("getting AWS credentials: %w", err)), final.remedy)
	}
	return err
}

// verdict holds the exit code and the remedy of an error.
type verdict struct {
	code   exit.Code
	remedy string
}

// noCredentials returns what an error of the credentials means, and for how long a repetition may
// help.
func noCredentials(err error, cfg aws.Config) (verdict, time.Duration) {
	const forGood, late = 0, time.Hour // WaitForCredentials has a limit of its own
	service := innermostService(err, "")
	code := imdsCode(err)
	var sources []aws.CredentialSource
	if cfg.Credentials != nil {
		sources = sourcesOf(cfg.Credentials)
	}
	from := func(list ...aws.CredentialSource) bool {
		return slices.ContainsFunc(list, func(s aws.CredentialSource) bool { return slices.Contains(sources, s) })
	}
	var program *settings.ProgramError
	switch clock := ClockError(err, time.Now()); {
	case clock != nil: // which may be set meanwhile
		return verdict{exit.CodeOf(clock), ClockRemedy}, late
	case code == "AssumeRoleUnauthorizedAccess":
		return verdict{exit.Permission, trustRemedy(cfg.Region)}, forGood
	case code != "":
		return verdict{exit.Permission, "look at the instance profile of this instance (EMR: JobFlowRole) and at its role: aws ec2 describe-iam-instance-profile-associations; IMDS says why it gives no credentials"}, profileTimeout
	case service == imdsService && HasStatus(err, http.StatusNotFound), isEmptyRoleList(err):
		return verdict{exit.Permission, "give the instance an instance profile (EMR: JobFlowRole) with the policy from the README, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"}, profileTimeout
	case isOddCredentials(err):
		return verdict{exit.Identity, oddIMDSRemedy}, forGood
	case service == imdsService:
		return verdict{silent(err), IMDSRemedy(err)}, late
	case service == "sts":
		if remedy := pathRemedy(err, service); remedy != "" {
			return verdict{exit.Unreachable, remedy}, forGood
		}
		if IsNetwork(err) {
			return verdict{exit.Unreachable, "the settings of this node ask for credentials of sts (role_arn in ~/.aws/config, AWS_ROLE_ARN): unset them, so that the instance profile is used, or " + unreachableRemedy(err, cfg.Region, service)}, late
		}
		if mayPass(statusOf(err)) {
			return verdict{exit.Deadline, "AWS kept failing; run again"}, late
		}
		return verdict{exit.Permission, "allow sts to give them: the instance profile's role must be allowed sts:AssumeRole (or its like), and the trust policy of the other role must name it; " +
			"or take role_arn and source_profile out of ~/.aws/config and unset AWS_ROLE_ARN, so that the instance profile is used"}, forGood
	case from(aws.CredentialSourceEnvVarsSTSWebIDToken, aws.CredentialSourceProfileSTSWebIDToken, aws.CredentialSourceSTSAssumeRoleWebID):
		return verdict{exit.Permission, "unset AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN (web_identity_token_file in ~/.aws/config), so that the instance profile is used, or name a file that this node has"}, forGood
	case errors.As(err, &program) && program.CLI && program.Missing():
		return verdict{exit.Permission, "install the AWS CLI, version 2.9 or later, which gets credentials of this kind; or set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; " +
			"or take the setting away, so that an instance uses its profile"}, forGood
	case errors.As(err, &program) && program.CLI:
		return verdict{exit.Permission, "repair what the AWS CLI says, until aws sts get-caller-identity works with the same settings and as the same user (aws sso login, aws login); " +
			"or take the setting away, so that an instance uses its profile"}, forGood
	case errors.As(err, &program):
		return verdict{exit.Permission, "take credential_process out of ~/.aws/config, so that the instance profile is used, or have it name a program that works for root"}, forGood
	case from(aws.CredentialSourceProcess) && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)):
		return verdict{exit.Deadline, "the program that gives the credentials has not ended: run it by hand, with the same settings and as the same user (aws configure export-credentials, or that of credential_process)"}, forGood
	case from(aws.CredentialSourceHTTP):
		return verdict{exit.Permission, "unset AWS_CONTAINER_CREDENTIALS_FULL_URI and AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, so that the instance profile is used, or look at what answers there"}, profileTimeout
	}
	return verdict{exit.Permission, "look at the credential settings in the AWS_* environment variables, ~/.aws/config and ~/.aws/credentials; without any, the instance profile is used"}, forGood
}

// trustRemedy returns what to do about a role that EC2 cannot assume.
func trustRemedy(region string) string {
	service := "ec2.amazonaws.com"
	if Partition(region) == "aws-cn" {
		service += ".cn"
	}
	return `let EC2 assume the role of the instance profile (EMR: JobFlowRole): its trust policy needs {"Effect": "Allow", "Principal": {"Service": "` + service +
		`"}, "Action": "sts:AssumeRole"} (aws iam update-assume-role-policy)`
}
