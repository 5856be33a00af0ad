package ec2

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2/settings"
)

// stsService is STS. The SDK's client of it would add 0.4 MB to the program, and a fifteenth to the
// time of its start.
var stsService = Service{ID: "STS", Name: "sts", Protocol: awsQuery{version: "2011-06-15", refusal: "ErrorResponse"}, FIPSIn: "aws-us-gov"}

// maxToken limits the token of a web identity, in bytes. STS takes 20,000 characters.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
const maxToken = 20_000

// AssumeRole returns what gets the credentials of a role from STS, with cfg and r.Base.
func AssumeRole(cfg aws.Config, r settings.Role) aws.CredentialsProvider {
	cfg.Credentials = r.Base
	if b, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		cfg.HTTPClient = direct(b.GetTransport(), b.GetTimeout())
	}
	return assumed{NewClient(cfg, stsService), r}
}

// assumed gets the credentials of a role.
type assumed struct {
	api  *Client
	role settings.Role
}

type roleCredentials struct {
	AccessKeyID     string `xml:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      time.Time
}

type roleAnswer struct {
	Signed roleCredentials `xml:"AssumeRoleResult>Credentials"`
	Token  roleCredentials `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
}

func (a *roleAnswer) credentials() roleCredentials {
	if a.Signed.AccessKeyID != "" {
		return a.Signed
	}
	return a.Token
}

func (a *roleAnswer) missing() string {
	switch c := a.credentials(); {
	case c.AccessKeyID == "":
		return "AccessKeyId"
	case c.SecretAccessKey == "":
		return "SecretAccessKey"
	case c.SessionToken == "":
		return "SessionToken"
	case c.Expiration.IsZero():
		return "Expiration"
	}
	return ""
}

// Retrieve makes one call to STS.
func (a assumed) Retrieve(ctx context.Context) (aws.Credentials, error) {
	form := url.Values{"RoleArn": {a.role.ARN}, "RoleSessionName": {a.role.Session}, "DurationSeconds": {strconv.Itoa(a.role.Seconds)}}
	if a.role.ExternalID != "" {
		form.Set("ExternalId", a.role.ExternalID)
	}
	action := "AssumeRole"
	if a.role.TokenFile != "" {
		token, err := settings.ReadFile(a.role.TokenFile, maxToken)
		if err != nil {
			return aws.Credentials{}, fmt.Errorf("reading the token of the web identity: %w", err)
		}
		action = "AssumeRoleWithWebIdentity"
		form.Set("WebIdentityToken", strings.TrimSpace(string(token)))
	}
	var out roleAnswer
	if err := a.api.Call(ctx, action, form, &out); err != nil {
		return aws.Credentials{}, err
	}
	c := out.credentials()
	ahead := time.Duration(a.api.ahead.Load()) // the SDK's cache looks at the node's clock
	return aws.Credentials{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken,
		CanExpire: true, Expires: c.Expiration.Add(-ahead), Source: a.role.ARN,
	}, nil
}

// ProviderSources returns where the credentials come from.
func (a assumed) ProviderSources() []aws.CredentialSource {
	return []aws.CredentialSource{a.role.Source}
}
