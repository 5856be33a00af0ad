package ec2

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// Roles asks IAM what a role may do. It calls IAM's query API itself, which adds 0.02 MB to the
// program. The SDK's client of IAM would add 0.29 MB, for two calls.
type Roles struct {
	cfg aws.Config
	env host.Environment
}

// NewRoles returns Roles with these credentials. It calls nothing.
func NewRoles(cfg aws.Config, env host.Environment) Roles { return Roles{cfg, env} }

// Simulation is a question about what a role may do.
type Simulation struct {
	Actions  []string
	Resource string // an ARN, or *
	// Keys are the condition keys of the request. A simulation knows no others.
	Keys map[string][]string
}

// Decision is IAM's answer about one action.
type Decision struct {
	Action   string
	Allowed  bool
	Explicit bool     // a Deny statement denies it
	Boundary bool     // the role's permissions boundary does not allow it
	Above    bool     // the organization's policies do not allow it
	Missing  []string // condition keys that the policies ask for, and the simulation did not have
}

// ARN returns the ARN of a role.
func (r Roles) ARN(ctx context.Context, name string) (string, error) {
	var out struct {
		ARN string `xml:"GetRoleResult>Role>Arn"`
	}
	err := r.call(ctx, "GetRole", url.Values{"RoleName": {name}}, &out)
	if err == nil && !strings.HasPrefix(out.ARN, "arn:") {
		err = fmt.Errorf("IAM gives the role the ARN %s", text.Quote(out.ARN))
	}
	if err != nil {
		return "", fmt.Errorf("asking IAM for the role %s: %w", text.Quote(name), err)
	}
	return out.ARN, nil
}

// IsNoRole reports whether there is no such role.
func IsNoRole(err error) bool { return ErrorCode(err) == "NoSuchEntity" }

// maxPages limits the pages of one answer.
const maxPages = 10

// Simulate returns IAM's decision about each action of the question.
//
// IAM looks at the role's policies, its permissions boundary, and the organization's policies. It
// does not look at the policies of VPC endpoints.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
func (r Roles) Simulate(ctx context.Context, role string, s Simulation) ([]Decision, error) {
	form := url.Values{"PolicySourceArn": {role}, "ResourceArns.member.1": {s.Resource}}
	for i, a := range s.Actions {
		form.Set("ActionNames.member."+strconv.Itoa(i+1), a)
	}
	n := 0
	for name, values := range s.Keys {
		n++
		entry := "ContextEntries.member." + strconv.Itoa(n)
		form.Set(entry+".ContextKeyName", name)
		form.Set(entry+".ContextKeyType", "string")
		if strings.EqualFold(name, "aws:TagKeys") {
			form.Set(entry+".ContextKeyType", "stringList")
		}
		for i, v := range values {
			form.Set(entry+".ContextKeyValues.member."+strconv.Itoa(i+1), v)
		}
	}
	decided := map[string]Decision{}
	for page := 0; ; page++ {
		var out simulationPage
		if err := r.call(ctx, "SimulatePrincipalPolicy", form, &out); err != nil {
			return nil, fmt.Errorf("asking IAM what the role %s may do: %w", text.Quote(role), err)
		}
		for _, e := range out.Results {
			decided[strings.ToLower(e.Action)] = e.decision()
		}
		if !out.Truncated {
			break
		}
		if page == maxPages || out.Marker == "" {
			return nil, fmt.Errorf("asking IAM what the role %s may do: the answer does not end", text.Quote(role))
		}
		form.Set("Marker", out.Marker)
	}
	var list []Decision
	for _, a := range s.Actions {
		d, ok := decided[strings.ToLower(a)]
		if !ok {
			return nil, fmt.Errorf("asking IAM what the role %s may do: the answer does not mention %s", text.Quote(role), a)
		}
		list = append(list, d)
	}
	return list, nil
}

type simulationPage struct {
	Results   []evaluation `xml:"SimulatePrincipalPolicyResult>EvaluationResults>member"`
	Truncated bool         `xml:"SimulatePrincipalPolicyResult>IsTruncated"`
	Marker    string       `xml:"SimulatePrincipalPolicyResult>Marker"`
}

type evaluation struct {
	Action   string   `xml:"EvalActionName"`
	Decision string   `xml:"EvalDecision"`                // allowed, explicitDeny, implicitDeny
	Missing  []string `xml:"MissingContextValues>member"` // of the resource *
	Specific []string `xml:"ResourceSpecificResults>member>MissingContextValues>member"`
	Above    *bool    `xml:"OrganizationsDecisionDetail>AllowedByOrganizations"`
	Boundary *bool    `xml:"PermissionsBoundaryDecisionDetail>AllowedByPermissionsBoundary"`
}

func (e evaluation) decision() Decision {
	no := func(b *bool) bool { return b != nil && !*b }
	d := Decision{Action: e.Action, Allowed: e.Decision == "allowed", Explicit: e.Decision == "explicitDeny", Boundary: no(e.Boundary), Above: no(e.Above)}
	for _, name := range append(e.Missing, e.Specific...) {
		d.Missing = append(d.Missing, text.Clean(name, text.MaxQuoted))
	}
	return d
}

// iamVersion is the version of IAM's API. iamAttempts is how often a call is tried that IAM
// throttles or fails.
const (
	iamVersion  = "2010-05-08"
	iamAttempts = 3
)

// call makes one call of IAM's query API.
func (r Roles) call(ctx context.Context, action string, form url.Values, into any) error {
	form.Set("Action", action)
	form.Set("Version", iamVersion)
	for attempt := 1; ; attempt++ {
		err := r.try(ctx, action, []byte(form.Encode()), into)
		passes := err != nil && (IsThrottle(err) || statusOf(err) == 0 || statusOf(err) >= http.StatusInternalServerError)
		if !passes || attempt == iamAttempts || ctx.Err() != nil {
			return err
		}
		if err := pause.Sleep(ctx, pause.Jitter(r.env.Random(), retryBase<<attempt)); err != nil {
			return err
		}
	}
}

func (r Roles) try(ctx context.Context, action string, body []byte, into any) error {
	failed := func(err error) error {
		return &smithy.OperationError{ServiceID: "IAM", OperationName: action, Err: err}
	}
	at, region, err := r.endpoint()
	if err != nil {
		return failed(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(body))
	if err != nil {
		return failed(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	creds, err := r.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return failed(err)
	}
	hash := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, creds, req, hex.EncodeToString(hash[:]), "iam", region, time.Now()); err != nil {
		return failed(err)
	}
	client := r.cfg.HTTPClient
	if client == nil {
		client = HTTPClient(r.env, attemptTimeout)
	}
	out, err := client.Do(req)
	if err != nil {
		return failed(&smithyhttp.RequestSendError{Err: err})
	}
	defer out.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(out.Body, maxAnswer+1))
	if err != nil {
		return failed(&smithyhttp.RequestSendError{Err: err})
	}
	if len(answer) > maxAnswer {
		return failed(errors.New("the answer is too long"))
	}
	if out.StatusCode == http.StatusOK {
		err = xml.Unmarshal(answer, into)
	} else {
		err = refusalOf(answer)
	}
	if err != nil {
		return failed(&smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: out}, Err: err})
	}
	return nil
}

// refusalOf returns the error in an answer of IAM.
func refusalOf(answer []byte) error {
	var e struct {
		Code    string `xml:"Error>Code"`
		Message string `xml:"Error>Message"`
	}
	if err := xml.Unmarshal(answer, &e); err != nil || e.Code == "" {
		return errors.New("the answer is not IAM's: " + text.Quote(string(answer)))
	}
	return &smithy.GenericAPIError{Code: text.Clean(e.Code, text.MaxQuoted), Message: text.Clean(e.Message, text.MaxLine)}
}

// endpoint returns where IAM is called, and the region in which the call is signed. IAM is one
// service for a whole partition: https://docs.aws.amazon.com/general/latest/gr/iam-service.html
func (r Roles) endpoint() (at, region string, err error) {
	host, region := "iam.amazonaws.com", "us-east-1"
	switch partition := Partition(r.cfg.Region); partition {
	case "aws":
	case "aws-cn":
		host, region = "iam.cn-north-1.amazonaws.com.cn", "cn-north-1"
	case "aws-us-gov":
		host, region = "iam.us-gov.amazonaws.com", "us-gov-west-1"
	default:
		return "", "", fmt.Errorf("the endpoint of IAM in the partition %s is not known", partition)
	}
	if own := cmp.Or(r.env.Getenv("AWS_ENDPOINT_URL_IAM"), r.env.Getenv("AWS_ENDPOINT_URL"), aws.ToString(r.cfg.BaseEndpoint)); own != "" {
		return own, region, nil
	}
	return "https://" + host + "/", region, nil
}
