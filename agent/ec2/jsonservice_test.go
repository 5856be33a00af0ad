package ec2

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	emrtypes "github.com/aws/aws-sdk-go-v2/service/emr/types"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

var emrByHand = JSONService{ID: "EMR", Name: "elasticmapreduce", Target: "ElasticMapReduce", FIPSIn: "aws-us-gov"}

// jsonAnswers gives one answer after the other, and keeps the requests.
type jsonAnswers struct {
	list     []jsonAnswer
	requests []*http.Request
	bodies   []string
}

type jsonAnswer struct {
	status  int
	errType string // the header X-Amzn-ErrorType
	body    string
	err     error
}

func (a *jsonAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	a.requests, a.bodies = append(a.requests, r), append(a.bodies, string(body))
	next := a.list[min(len(a.requests), len(a.list))-1]
	if next.err != nil {
		return nil, next.err
	}
	h := http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amzn-Requestid": {"id-1"}}
	if next.errType != "" {
		h.Set("X-Amzn-ErrorType", next.errType)
	}
	return &http.Response{StatusCode: next.status, Header: h, Body: io.NopCloser(strings.NewReader(next.body)), Request: r, ContentLength: int64(len(next.body))}, nil
}

type emrQuestion struct {
	ClusterId      string
	InstanceStates []string
}

type emrInstances struct {
	Instances []struct{ Ec2InstanceId string }
	Marker    string
}

// TestJSONServiceIsTheSDK makes the same call by hand and with the SDK's client of EMR, under the
// settings that decide where it goes, and compares the requests.
func TestJSONServiceIsTheSDK(t *testing.T) {
	const body = `{"Instances":[{"Ec2InstanceId":"i-0a1"}],"Marker":"next"}`
	for _, region := range []string{"us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1", "us-isob-east-1", "eusc-de-east-1"} {
		for _, variables := range [][]string{
			nil, {"AWS_USE_FIPS_ENDPOINT=true"}, {"AWS_USE_DUALSTACK_ENDPOINT=true"}, {"AWS_ENDPOINT_URL=http://10.0.1.9:5000"},
			{"AWS_ENDPOINT_URL_EMR=https://emr.example.com"}, {"AWS_ENDPOINT_URL=http://10.0.1.9:5000", "AWS_ENDPOINT_URL_EMR=https://emr.example.com/x"},
		} {
			t.Run(region+" "+strings.Join(variables, " "), func(t *testing.T) {
				theirs, ours := &jsonAnswers{list: []jsonAnswer{{status: 200, body: body}}}, &jsonAnswers{list: []jsonAnswer{{status: 200, body: body}}}
				var requests []*http.Request
				for _, transport := range []*jsonAnswers{theirs, ours} {
					s, err := Load(t.Context(), variablesFor(t, transport, append([]string{"AWS_ENDPOINT_URL_EMR=", "AWS_USE_FIPS_ENDPOINT=", "AWS_USE_DUALSTACK_ENDPOINT="}, variables...)...), region)
					if err != nil {
						t.Fatal(err)
					}
					if transport == theirs {
						_, err = emr.NewFromConfig(s.Config).ListInstances(t.Context(), &emr.ListInstancesInput{ClusterId: aws.String("j-1"), InstanceStates: []emrtypes.InstanceState{"RUNNING"}})
						if err != nil {
							t.Skipf("the SDK has no endpoint for this: %v", err)
						}
					} else {
						var out emrInstances
						if err := s.JSON(emrByHand).Call(t.Context(), "ListInstances", emrQuestion{"j-1", []string{"RUNNING"}}, &out); err != nil {
							t.Fatal(err)
						}
						if len(out.Instances) != 1 || out.Instances[0].Ec2InstanceId != "i-0a1" || out.Marker != "next" {
							t.Errorf("read %+v", out)
						}
						if calls, _ := s.Tally.Snapshot(); calls["elasticmapreduce:ListInstances"] != 1 {
							t.Errorf("the tally has %v", calls)
						}
					}
					requests = append(requests, transport.requests[0])
				}
				a, b := requests[0], requests[1]
				if a.URL.String() != b.URL.String() || a.Method != b.Method {
					t.Errorf("%s %s, want %s %s", b.Method, b.URL, a.Method, a.URL)
				}
				for _, name := range []string{"Content-Type", "X-Amz-Target", "Content-Length"} {
					if a.Header.Get(name) != b.Header.Get(name) {
						t.Errorf("%s: %q, want %q", name, b.Header.Get(name), a.Header.Get(name))
					}
				}
				scope := func(r *http.Request) string {
					_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "/")
					credential, _, _ := strings.Cut(rest, ",")
					return credential
				}
				if scope(a) != scope(b) || scope(a) == "" {
					t.Errorf("signed for %q, want %q", scope(b), scope(a))
				}
				var x, y map[string]any
				if json.Unmarshal([]byte(theirs.bodies[0]), &x) != nil || json.Unmarshal([]byte(ours.bodies[0]), &y) != nil || len(x) != len(y) || x["ClusterId"] != y["ClusterId"] {
					t.Errorf("body %s, want %s", ours.bodies[0], theirs.bodies[0])
				}
			})
		}
	}
}

// TestJSONServiceErrors reads errors in every form, and repeats the call where that helps.
func TestJSONServiceErrors(t *testing.T) {
	good := jsonAnswer{status: 200, body: `{"Instances":[]}`}
	for _, test := range []struct {
		name  string
		list  []jsonAnswer
		code  string // of AWS
		tries int
		exit  exit.Code
	}{
		{"the code in the header", []jsonAnswer{{400, "InvalidRequestException", `{"Message":"Cluster id 'j-1' is not valid."}`, nil}}, "InvalidRequestException", 1, exit.Internal},
		{"the code with an address behind it", []jsonAnswer{{400, "AccessDeniedException:http://internal.amazon.com/x", `{"message":"no"}`, nil}}, "AccessDeniedException", 1, exit.Permission},
		{"the code in the body, with a namespace", []jsonAnswer{{400, "", `{"__type":"com.amazon.coral.service#UnrecognizedClientException","message":"no"}`, nil}}, "UnrecognizedClientException", 1, exit.Permission},
		{"throttled, then an answer", []jsonAnswer{{400, "ThrottlingException", `{"message":"Rate exceeded"}`, nil}, {400, "ThrottlingException", `{"message":"Rate exceeded"}`, nil}, good}, "", 3, exit.OK},
		{"a failure of the server, then an answer", []jsonAnswer{{500, "InternalServerException", `{}`, nil}, good}, "", 2, exit.OK},
		{"a lost connection, then an answer", []jsonAnswer{{err: io.ErrUnexpectedEOF}, good}, "", 2, exit.OK},
		{"an answer that breaks off, then a whole one", []jsonAnswer{{200, "", `{"Instances":[{"Ec2Inst`, nil}, good}, "", 2, exit.OK},
		{"an empty answer, then one", []jsonAnswer{{200, "", ``, nil}, good}, "", 2, exit.OK},
		{"a page of a firewall", []jsonAnswer{{403, "", `<html>blocked</html>`, nil}}, "", 1, exit.Unreachable},
		{"no code at all", []jsonAnswer{{400, "", `{}`, nil}}, noMessage, 1, exit.Internal},
	} {
		t.Run(test.name, func(t *testing.T) {
			transport := &jsonAnswers{list: test.list}
			s, err := session(t, transport)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				var out emrInstances
				err := s.JSON(emrByHand).Call(t.Context(), "ListInstances", emrQuestion{ClusterId: "j-1"}, &out)
				if got := exit.CodeOf(s.Explain(t.Context(), err, iam.Place{Region: "us-east-1"})); got != test.exit || ErrorCode(err) != test.code || len(transport.requests) != test.tries {
					t.Errorf("exit code %d, want %d; code %q, want %q; %d tries, want %d: %v", got, test.exit, ErrorCode(err), test.code, len(transport.requests), test.tries, err)
				}
				if err != nil && IAMAction(err) != "elasticmapreduce:ListInstances" {
					t.Errorf("the action is %q", IAMAction(err))
				}
			})
		})
	}
}

// A call ends with its context.
func TestJSONServiceEnds(t *testing.T) {
	s, err := session(t, &jsonAnswers{list: []jsonAnswer{{400, "ThrottlingException", `{"message":"Rate exceeded"}`, nil}}})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 60e9)
		defer cancel()
		var out emrInstances
		if err := s.JSON(emrByHand).Call(ctx, "ListInstances", emrQuestion{}, &out); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}
