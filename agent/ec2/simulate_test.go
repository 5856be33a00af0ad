package ec2

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
)

// iamAnswers is IAM: it gives one answer after the other, and keeps the requests.
type iamAnswers struct {
	list     []string // a status, a blank, and a body
	requests []*http.Request
	bodies   []string
}

func (a *iamAnswers) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	a.requests, a.bodies = append(a.requests, r), append(a.bodies, string(body))
	if len(a.list) == 0 {
		return nil, &net.OpError{Op: "dial", Err: errors.New("no more answers")}
	}
	status, text, _ := strings.Cut(a.list[0], " ")
	a.list = a.list[1:]
	code, err := strconv.Atoi(status)
	return &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, err
}

func (a *iamAnswers) roles(region string, variables map[string]string) Roles {
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret", SessionToken: "token"}, nil
	})
	return NewRoles(aws.Config{Region: region, HTTPClient: a, Credentials: credentials}, host.Environment{
		LookupEnv: func(name string) (string, bool) { v, ok := variables[name]; return v, ok },
		Rand:      func() float64 { return 0.5 },
	})
}

const (
	aRole     = "200 <GetRoleResponse><GetRoleResult><Role><Arn>arn:aws:iam::123456789012:role/x</Arn></Role></GetRoleResult></GetRoleResponse>"
	throttled = "400 <ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>"
	failing   = "503 <ErrorResponse><Error><Code>ServiceUnavailable</Code><Message>x</Message></Error></ErrorResponse>"
	noEntity  = "404 <ErrorResponse><Error><Code>NoSuchEntity</Code><Message>The role with name x cannot be found.</Message></Error></ErrorResponse>"
	forbidden = "403 <ErrorResponse><Error><Code>AccessDenied</Code><Message>User: arn:aws:iam::123456789012:user/u is not authorized to perform: iam:GetRole on resource: role x</Message></Error></ErrorResponse>"
)

func page(marker string, members ...string) string {
	end := "<IsTruncated>false</IsTruncated>"
	if marker != "" {
		end = "<IsTruncated>true</IsTruncated><Marker>" + marker + "</Marker>"
	}
	return "200 <SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult><EvaluationResults>" + strings.Join(members, "") +
		"</EvaluationResults>" + end + "</SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
}

func decision(action, decision, more string) string {
	return "<member><EvalActionName>" + action + "</EvalActionName><EvalDecision>" + decision + "</EvalDecision>" + more + "</member>"
}

func TestRoleARN(t *testing.T) {
	for _, test := range []struct {
		name    string
		answers []string
		calls   int
		fails   func(error) bool // nil: it does not
	}{
		{"found", []string{aRole}, 1, nil},
		{"throttled, failing, found", []string{throttled, failing, aRole}, 3, nil},
		{"throttled for good", []string{throttled, throttled, throttled}, iamAttempts, IsThrottle},
		{"no such role", []string{noEntity}, 1, IsNoRole},
		{"denied", []string{forbidden}, 1, func(err error) bool { return IsPermission(err) && IAMAction(err) == "iam:GetRole" }},
		{"another server", []string{"200 <html><body>welcome</body></html>"}, 1, func(err error) bool { return ErrorCode(err) == "" }},
		{"a page of a middlebox", []string{"403 <html>blocked</html>"}, 1, func(err error) bool { return ErrorCode(err) == "" && HasStatus(err, 403) }},
		{"no answer", nil, iamAttempts, IsNetwork},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := &iamAnswers{list: test.answers}
			arn, err := a.roles("us-east-1", nil).ARN(t.Context(), "x")
			if len(a.requests) != test.calls || (err == nil) != (test.fails == nil) || err != nil && !test.fails(err) || err == nil && arn != "arn:aws:iam::123456789012:role/x" {
				t.Errorf("%s: %d calls, %q, %v", test.name, len(a.requests), arn, err)
			}
		})
	}
}

func TestIAMEndpoints(t *testing.T) {
	for _, test := range []struct{ region, variable, value, url, signed string }{
		{"eu-central-1", "", "", "https://iam.amazonaws.com/", "/us-east-1/iam/"},
		{"cn-northwest-1", "", "", "https://iam.cn-north-1.amazonaws.com.cn/", "/cn-north-1/iam/"},
		{"us-gov-east-1", "", "", "https://iam.us-gov.amazonaws.com/", "/us-gov-west-1/iam/"},
		{"us-east-1", "AWS_ENDPOINT_URL", "http://localhost:5000", "http://localhost:5000", "/us-east-1/iam/"},
		{"us-east-1", "AWS_ENDPOINT_URL_IAM", "http://localhost:5001/", "http://localhost:5001/", "/us-east-1/iam/"},
	} {
		a := &iamAnswers{list: []string{aRole}}
		if _, err := a.roles(test.region, map[string]string{test.variable: test.value}).ARN(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		r := a.requests[0]
		if r.URL.String() != test.url || !strings.Contains(r.Header.Get("Authorization"), test.signed) || r.Header.Get("X-Amz-Security-Token") != "token" {
			t.Errorf("%s: %s, %s", test.region, r.URL, r.Header)
		}
	}
	a := &iamAnswers{list: []string{aRole}}
	if _, err := a.roles("us-iso-east-1", nil).ARN(t.Context(), "x"); err == nil || len(a.requests) > 0 {
		t.Errorf("a partition whose endpoint is not known: %v", err)
	}
}

func TestSimulate(t *testing.T) {
	question := Simulation{Actions: []string{"ssm:PutParameter", "ssm:GetParameters"}, Resource: "*", Keys: map[string][]string{"aws:TagKeys": {"a", "b"}}}
	a := &iamAnswers{list: []string{
		page("next", decision("ssm:PutParameter", "explicitDeny", "<PermissionsBoundaryDecisionDetail><AllowedByPermissionsBoundary>false</AllowedByPermissionsBoundary></PermissionsBoundaryDecisionDetail>")),
		page("", decision("ssm:getparameters", "implicitDeny", "<OrganizationsDecisionDetail><AllowedByOrganizations>false</AllowedByOrganizations></OrganizationsDecisionDetail>"+
			"<ResourceSpecificResults><member><MissingContextValues><member>aws:SourceVpc</member></MissingContextValues></member></ResourceSpecificResults>")),
	}}
	got, err := a.roles("us-east-1", nil).Simulate(t.Context(), "arn:aws:iam::123456789012:role/x", question)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || !got[0].Explicit || !got[0].Boundary || got[0].Allowed || got[1].Explicit || !got[1].Above || !slices.Equal(got[1].Missing, []string{"aws:SourceVpc"}) {
		t.Errorf("%+v", got)
	}
	for i, part := range []string{"ContextKeyType=stringList", "Marker=next"} {
		if !strings.Contains(a.bodies[i], part) {
			t.Errorf("request %d has no %s: %s", i, part, a.bodies[i])
		}
	}
	for name, list := range map[string][]string{
		"an action is missing":    {page("", decision("ssm:PutParameter", "allowed", ""))},
		"the answer does not end": slices.Repeat([]string{page("again", decision("ssm:PutParameter", "allowed", ""))}, maxPages+1),
		"a marker is missing":     {strings.Replace(page("x"), "<Marker>x</Marker>", "", 1)},
	} {
		if got, err := (&iamAnswers{list: list}).roles("us-east-1", nil).Simulate(t.Context(), "arn:aws:iam::123456789012:role/x", question); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Whatever IAM answers, there is an error or one decision for each action.
func FuzzSimulation(f *testing.F) {
	for _, seed := range []string{aRole, throttled, noEntity, page(""), page("x", decision("ssm:GetParameters", "allowed", "")), page("", decision("ssm:GetParameters", "allowed", "")), "200 <a/>", "200 "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		if len(answer) < 4 || answer[:4] != "200 " && answer[:4] != "400 " {
			answer = "200 " + answer
		}
		synctest.Test(t, func(t *testing.T) {
			a := &iamAnswers{list: slices.Repeat([]string{answer}, maxPages*iamAttempts)}
			got, err := a.roles("us-east-1", nil).Simulate(t.Context(), "arn:aws:iam::123456789012:role/x", Simulation{Actions: []string{"ssm:GetParameters"}, Resource: "*"})
			if err == nil && len(got) != 1 {
				t.Errorf("%+v", got)
			}
		})
	})
}
