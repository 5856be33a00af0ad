package ec2

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

const aRole = "<GetRoleResponse><GetRoleResult><Role><Arn>arn:aws:iam::123456789012:role/x</Arn></Role></GetRoleResult></GetRoleResponse>"

// iamError is an answer of IAM with an error.
func iamError(status int, code, message string) answer {
	return answer{status: status, body: "<ErrorResponse><Error><Code>" + code + "</Code><Message>" + message + "</Message></Error></ErrorResponse>"}
}

func page(marker string, members ...string) string {
	end := "<IsTruncated>false</IsTruncated>"
	if marker != "" {
		end = "<IsTruncated>true</IsTruncated><Marker>" + marker + "</Marker>"
	}
	return "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult><EvaluationResults>" + strings.Join(members, "") +
		"</EvaluationResults>" + end + "</SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
}

func decision(action, decision, more string) string {
	return "<member><EvalActionName>" + action + "</EvalActionName><EvalDecision>" + decision + "</EvalDecision>" + more + "</member>"
}

func TestRoleARN(t *testing.T) {
	found := answer{status: 200, body: aRole}
	throttled, failing := iamError(400, "Throttling", "Rate exceeded"), iamError(503, "ServiceUnavailable", "x")
	for _, test := range []struct {
		name    string
		answers []answer
		calls   int
		fails   func(error) bool // nil: it does not
	}{
		{"found", []answer{found}, 1, nil},
		{"throttled, failing, found", []answer{throttled, failing, found}, 3, nil},
		{"throttled for good", []answer{throttled}, 3, IsThrottle},
		{"no such role", []answer{iamError(404, "NoSuchEntity", "The role with name x cannot be found.")}, 1, IsNoRole},
		{"denied", []answer{iamError(403, "AccessDenied", "User: arn:aws:iam::123456789012:user/u is not authorized to perform: iam:GetRole on resource: role x")}, 1,
			func(err error) bool { return IsPermission(err) && IAMAction(err) == "iam:GetRole" }},
		{"another server", []answer{{status: 200, body: "<html><body>welcome</body></html>"}}, 1, func(err error) bool { return ErrorCode(err) == "" }},
		{"another action's answer", []answer{{status: 200, body: page("")}}, 1, func(err error) bool { return ErrorCode(err) == "" }},
		{"EC2's error", []answer{{status: 404, body: ec2Error("NoSuchEntity", "x")}}, 1, func(err error) bool { return ErrorCode(err) == "" }},
		{"a page of a middlebox", []answer{{status: 403, body: "<html>blocked</html>"}}, 1, func(err error) bool { return ErrorCode(err) == "" && HasStatus(err, 403) }},
		{"no answer", nil, 3, IsNetwork},
	} {
		a := &answers{list: test.answers}
		s, err := session(t, a, "AWS_MAX_ATTEMPTS=3")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			arn, err := NewRoles(s.Config).ARN(t.Context(), "x")
			if len(a.requests) != test.calls || (err == nil) != (test.fails == nil) || err != nil && !test.fails(err) || err == nil && arn != "arn:aws:iam::123456789012:role/x" {
				t.Errorf("%s: %d calls, %q, %v", test.name, len(a.requests), arn, err)
			}
			if calls, _ := s.Tally.Snapshot(); calls["iam:GetRole"] != test.calls {
				t.Errorf("%s: the tally has %v", test.name, calls)
			}
		})
	}
}

// The endpoints are those of the SDK's client of IAM, which is not linked, not even here.
func TestIAMEndpoints(t *testing.T) {
	const fips, dual = "AWS_USE_FIPS_ENDPOINT=true", "AWS_USE_DUALSTACK_ENDPOINT=true"
	for _, test := range []struct {
		region      string
		variables   []string
		url, signed string
	}{
		{"eu-central-1", nil, "https://iam.amazonaws.com/", "/us-east-1/iam/"},
		{"eu-central-1", []string{fips}, "https://iam-fips.amazonaws.com/", "/us-east-1/iam/"},
		{"eu-central-1", []string{dual}, "https://iam.global.api.aws/", "/us-east-1/iam/"},
		{"eu-central-1", []string{fips, dual}, "https://iam-fips.global.api.aws/", "/us-east-1/iam/"},
		{"cn-northwest-1", nil, "https://iam.cn-north-1.amazonaws.com.cn/", "/cn-north-1/iam/"},
		{"cn-northwest-1", []string{dual}, "https://iam.global.api.amazonwebservices.com.cn/", "/cn-north-1/iam/"},
		{"us-gov-east-1", nil, "https://iam.us-gov.amazonaws.com/", "/us-gov-west-1/iam/"},
		{"us-gov-east-1", []string{fips}, "https://iam.us-gov.amazonaws.com/", "/us-gov-west-1/iam/"},
		{"us-gov-east-1", []string{fips, dual}, "https://iam.us-gov.api.aws/", "/us-gov-west-1/iam/"},
		{"us-east-1", []string{"AWS_ENDPOINT_URL=http://localhost:5000"}, "http://localhost:5000/", "/us-east-1/iam/"},
		{"us-east-1", []string{"AWS_ENDPOINT_URL=http://localhost:5000", "AWS_ENDPOINT_URL_IAM=http://localhost:5001/"}, "http://localhost:5001/", "/us-east-1/iam/"},
	} {
		t.Run(test.region+" "+strings.Join(test.variables, " "), func(t *testing.T) {
			a := &answers{list: []answer{{status: 200, body: aRole}}}
			s, err := Load(t.Context(), variablesFor(t, a, append([]string{"AWS_SESSION_TOKEN=token"}, test.variables...)...), test.region)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := NewRoles(s.Config).ARN(t.Context(), "x"); err != nil {
				t.Fatal(err)
			}
			r := a.requests[0]
			if r.URL.String() != test.url || !strings.Contains(r.Header.Get("Authorization"), test.signed) || r.Header.Get("X-Amz-Security-Token") != "token" {
				t.Errorf("%s, %s", r.URL, r.Header)
			}
		})
	}
	s, err := Load(t.Context(), variablesFor(t, &answers{}), "us-iso-east-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewRoles(s.Config).ARN(t.Context(), "x"); err == nil {
		t.Error("a call in a partition whose endpoint is not known")
	}
}

// rolesAt returns Roles that are asked of a, each call once.
func rolesAt(a *answers) Roles {
	cfg := httpAnswer{}.config()
	cfg.HTTPClient = &http.Client{Transport: a}
	return NewRoles(cfg)
}

func TestSimulate(t *testing.T) {
	question := Simulation{Actions: []string{"ssm:PutParameter", "ssm:GetParameters"}, Resource: "*", Keys: map[string][]string{"aws:TagKeys": {"a", "b"}}}
	a := &answers{list: []answer{
		{status: 200, body: page("next", decision("ssm:PutParameter", "explicitDeny", "<PermissionsBoundaryDecisionDetail><AllowedByPermissionsBoundary>false</AllowedByPermissionsBoundary></PermissionsBoundaryDecisionDetail>"))},
		{status: 200, body: page("", decision("ssm:getparameters", "implicitDeny", "<OrganizationsDecisionDetail><AllowedByOrganizations>false</AllowedByOrganizations></OrganizationsDecisionDetail>"+
			"<ResourceSpecificResults><member><MissingContextValues><member>aws:SourceVpc</member></MissingContextValues></member></ResourceSpecificResults>"))},
	}}
	got, err := rolesAt(a).Simulate(t.Context(), "arn:aws:iam::123456789012:role/x", question)
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
	for name, body := range map[string]string{
		"an action is missing":    page("", decision("ssm:PutParameter", "allowed", "")),
		"the answer does not end": page("again", decision("ssm:PutParameter", "allowed", "")),
		"a marker is missing":     strings.Replace(page("x"), "<Marker>x</Marker>", "", 1),
	} {
		if got, err := rolesAt(&answers{list: []answer{{status: 200, body: body}}}).Simulate(t.Context(), "arn:aws:iam::123456789012:role/x", question); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Whatever IAM answers, there is an error or one decision for each action.
func FuzzSimulation(f *testing.F) {
	for _, body := range []string{aRole, page(""), page("x", decision("ssm:GetParameters", "allowed", "")), page("", decision("ssm:GetParameters", "allowed", "")), "<a/>", ""} {
		f.Add(200, body)
	}
	f.Add(400, iamError(400, "Throttling", "Rate exceeded").body)
	f.Add(404, iamError(404, "NoSuchEntity", "x").body)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			status = 200
		}
		a := &answers{list: []answer{{status: status, body: body}}}
		got, err := rolesAt(a).Simulate(t.Context(), "arn:aws:iam::123456789012:role/x", Simulation{Actions: []string{"ssm:GetParameters"}, Resource: "*"})
		if err == nil && len(got) != 1 {
			t.Errorf("%+v", got)
		}
	})
}
