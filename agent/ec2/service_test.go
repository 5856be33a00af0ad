package ec2

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	emrtypes "github.com/aws/aws-sdk-go-v2/service/emr/types"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

var emrByHand = Service{ID: "EMR", Name: "elasticmapreduce", Protocol: AWSJSON{Target: "ElasticMapReduce"}, FIPSIn: "aws-us-gov"}

// answers is a service of AWS that gives one answer after the other, and keeps the requests.
type answers struct {
	list     []answer                   // the last one is repeated
	next     func(*http.Request) answer // in place of list
	bare     bool                       // answers have no id in their header
	requests []*http.Request
	bodies   []string
}

type answer struct {
	status  int
	errType string // the header X-Amzn-ErrorType
	body    string
	err     error
	date    time.Time
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	sent, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	a.requests, a.bodies = append(a.requests, r), append(a.bodies, string(sent))
	next := answer{err: &net.OpError{Op: "dial", Err: errors.New("no more answers")}}
	if a.next != nil {
		next = a.next(r)
	} else if len(a.list) > 0 {
		next = a.list[min(len(a.requests), len(a.list))-1]
	}
	if next.err != nil {
		return nil, next.err
	}
	h := http.Header{"Content-Type": {"application/x-amz-json-1.1"}}
	if !a.bare {
		h.Set("X-Amzn-Requestid", "id-1")
	}
	if !next.date.IsZero() {
		h.Set("Date", next.date.UTC().Format(http.TimeFormat))
	}
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

// eachSetting calls test with every region and settings that decide where a service is called.
func eachSetting(t *testing.T, service string, test func(t *testing.T, region string, variables []string)) {
	own := "AWS_ENDPOINT_URL_" + service + "="
	for _, region := range []string{"us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1", "us-isob-east-1", "eusc-de-east-1"} {
		for _, variables := range [][]string{
			nil, {"AWS_USE_FIPS_ENDPOINT=true"}, {"AWS_USE_DUALSTACK_ENDPOINT=true"}, {"AWS_USE_FIPS_ENDPOINT=true", "AWS_USE_DUALSTACK_ENDPOINT=true"},
			{"AWS_ENDPOINT_URL=http://10.0.1.9:5000"}, {own + "https://own.example.com"}, {"AWS_ENDPOINT_URL=http://10.0.1.9:5000", own + "https://own.example.com/x"},
			{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true", "AWS_ENDPOINT_URL=http://10.0.1.9:5000", own + "https://own.example.com/x"},
		} {
			t.Run(region+" "+strings.Join(variables, " "), func(t *testing.T) {
				test(t, region, append([]string{own, "AWS_USE_FIPS_ENDPOINT=", "AWS_USE_DUALSTACK_ENDPOINT=", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS="}, variables...))
			})
		}
	}
}

// compareRequests compares where a request goes, its header, and for what it is signed.
func compareRequests(t *testing.T, got, want *http.Request) {
	t.Helper()
	if got.URL.String() != want.URL.String() || got.Method != want.Method {
		t.Errorf("%s %s, want %s %s", got.Method, got.URL, want.Method, want.URL)
	}
	for _, name := range []string{"Content-Type", "X-Amz-Target", "Content-Length"} {
		if got.Header.Get(name) != want.Header.Get(name) {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want.Header.Get(name))
		}
	}
	scope := func(r *http.Request) string {
		_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "/")
		credential, _, _ := strings.Cut(rest, ",")
		return credential
	}
	if scope(got) != scope(want) || scope(got) == "" {
		t.Errorf("signed for %q, want %q", scope(got), scope(want))
	}
}

// TestServiceIsTheSDK makes the same call by hand and with the SDK's client of EMR, under the
// settings that decide where it goes, and compares the requests.
func TestServiceIsTheSDK(t *testing.T) {
	list := []answer{{status: 200, body: `{"Instances":[{"Ec2InstanceId":"i-0a1"}],"Marker":"next"}`}}
	eachSetting(t, "EMR", func(t *testing.T, region string, variables []string) {
		theirs, ours := &answers{list: list}, &answers{list: list}
		s, err := Load(t.Context(), variablesFor(t, theirs, variables...), region)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := emr.NewFromConfig(s.Config).ListInstances(t.Context(), &emr.ListInstancesInput{ClusterId: aws.String("j-1"), InstanceStates: []emrtypes.InstanceState{"RUNNING"}}); err != nil {
			t.Fatal(err)
		}
		if s, err = Load(t.Context(), variablesFor(t, ours, variables...), region); err != nil {
			t.Fatal(err)
		}
		var out emrInstances
		if err := NewClient(s.Config, emrByHand).Call(t.Context(), "ListInstances", emrQuestion{"j-1", []string{"RUNNING"}}, &out); err != nil {
			t.Fatal(err)
		}
		if len(out.Instances) != 1 || out.Instances[0].Ec2InstanceId != "i-0a1" || out.Marker != "next" {
			t.Errorf("read %+v", out)
		}
		if calls, _ := s.Tally.Snapshot(); calls["elasticmapreduce:ListInstances"] != 1 {
			t.Errorf("the tally has %v", calls)
		}
		compareRequests(t, ours.requests[0], theirs.requests[0])
		var x, y map[string]any
		if json.Unmarshal([]byte(theirs.bodies[0]), &x) != nil || json.Unmarshal([]byte(ours.bodies[0]), &y) != nil || len(x) != len(y) || x["ClusterId"] != y["ClusterId"] {
			t.Errorf("body %s, want %s", ours.bodies[0], theirs.bodies[0])
		}
	})
}

// TestAWSJSONErrors reads errors in every form, and repeats the call where that helps.
func TestAWSJSONErrors(t *testing.T) {
	good := answer{status: 200, body: `{"Instances":[]}`}
	for _, test := range []struct {
		name  string
		list  []answer
		code  string // of AWS
		tries int
		exit  exit.Code
	}{
		{"the code in the header", []answer{{status: 400, errType: "InvalidRequestException", body: `{"Message":"Cluster id 'j-1' is not valid."}`}}, "InvalidRequestException", 1, exit.Internal},
		{"the code with an address behind it", []answer{{status: 400, errType: "AccessDeniedException:http://internal.amazon.com/x", body: `{"message":"no"}`}}, "AccessDeniedException", 1, exit.Permission},
		{"the code in the body, with a namespace", []answer{{status: 400, errType: "", body: `{"__type":"com.amazon.coral.service#UnrecognizedClientException","message":"no"}`}}, "UnrecognizedClientException", 1, exit.Permission},
		{"throttled, then an answer", []answer{{status: 400, errType: "ThrottlingException", body: `{"message":"Rate exceeded"}`}, {status: 400, errType: "ThrottlingException", body: `{"message":"Rate exceeded"}`}, good}, "", 3, exit.OK},
		{"a failure of the server, then an answer", []answer{{status: 500, errType: "InternalServerException", body: `{}`}, good}, "", 2, exit.OK},
		{"a lost connection, then an answer", []answer{{err: io.ErrUnexpectedEOF}, good}, "", 2, exit.OK},
		{"an answer that breaks off, then a whole one", []answer{{status: 200, errType: "", body: `{"Instances":[{"Ec2Inst`}, good}, "", 2, exit.OK},
		{"an empty answer, then one", []answer{{status: 200, errType: "", body: ``}, good}, "", 2, exit.OK},
		{"a page of a firewall", []answer{{status: 403, errType: "", body: `<html>blocked</html>`}}, "", 1, exit.Unreachable},
		{"no code at all", []answer{{status: 400, errType: "", body: `{}`}}, noMessage, 1, exit.Internal},
	} {
		t.Run(test.name, func(t *testing.T) {
			transport := &answers{list: test.list}
			s, err := session(t, transport)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				var out emrInstances
				err := NewClient(s.Config, emrByHand).Call(t.Context(), "ListInstances", emrQuestion{ClusterId: "j-1"}, &out)
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
func TestServiceEnds(t *testing.T) {
	s, err := session(t, &answers{list: []answer{{status: 400, errType: "ThrottlingException", body: `{"message":"Rate exceeded"}`}}})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 60e9)
		defer cancel()
		var out emrInstances
		if err := NewClient(s.Config, emrByHand).Call(ctx, "ListInstances", emrQuestion{}, &out); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// A client signs with AWS's time as soon as it knows it, and keeps what it learned.
func TestServiceCorrectsTheClock(t *testing.T) {
	for _, test := range []struct {
		variable string
		tries    int
		works    bool
	}{{"AWS_DISABLE_CLOCK_SKEW_CORRECTION=", 3, true}, {"AWS_DISABLE_CLOCK_SKEW_CORRECTION=true", 1, false}} {
		ahead := time.Hour
		transport := &answers{}
		transport.next = func(r *http.Request) answer {
			date := time.Now().Add(ahead)
			signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
			if err != nil || signed.Sub(date).Abs() > ClockLimit {
				return answer{status: 403, date: date, body: `<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>Signature expired</Message></Error></ErrorResponse>`}
			}
			return answer{status: 200, date: date, body: aRole}
		}
		s, err := session(t, transport, test.variable)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			roles := NewRoles(s.Config)
			for range 2 {
				if _, err := roles.ARN(t.Context(), "x"); (err == nil) != test.works {
					t.Errorf("%s: %v", test.variable, err)
				}
				if !test.works {
					break
				}
			}
			if len(transport.requests) != test.tries {
				t.Errorf("%s: %d tries, want %d", test.variable, len(transport.requests), test.tries)
			}
		})
	}
}
