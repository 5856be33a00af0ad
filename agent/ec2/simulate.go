package ec2

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Roles asks IAM what a role may do.
type Roles struct{ api *Client }

// NewRoles returns Roles with these credentials. It calls nothing.
func NewRoles(cfg aws.Config) Roles { return Roles{NewClient(cfg, iamService)} }

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
	err := r.api.Call(ctx, "GetRole", url.Values{"RoleName": {name}}, &out)
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
	for page := 1; ; page++ {
		var out simulationPage
		if err := r.api.Call(ctx, "SimulatePrincipalPolicy", form, &out); err != nil {
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

// iamService is IAM, which is one service for a whole partition.
var iamService = Service{ID: "IAM", Name: "iam", Protocol: awsQuery{version: "2010-05-08", refusal: "ErrorResponse"}, Global: iamHost}

// iamHost returns the host of IAM, and the region in which its calls are signed.
// https://docs.aws.amazon.com/general/latest/gr/iam-service.html
func iamHost(partition string, fips, dualStack bool) (host, region string, err error) {
	name := "iam"
	if fips && partition != "aws-us-gov" {
		name += "-fips"
	}
	hosts, region := [2]string{}, ""
	switch partition {
	case "aws":
		hosts, region = [2]string{".amazonaws.com", ".global.api.aws"}, "us-east-1"
	case "aws-cn":
		hosts, region = [2]string{".cn-north-1.amazonaws.com.cn", ".global.api.amazonwebservices.com.cn"}, "cn-north-1"
	case "aws-us-gov":
		hosts, region = [2]string{".us-gov.amazonaws.com", ".us-gov.api.aws"}, "us-gov-west-1"
	default:
		return "", "", fmt.Errorf("the endpoint of IAM in the partition %s is not known", partition)
	}
	if dualStack {
		return name + hosts[1], region, nil
	}
	return name + hosts[0], region, nil
}
