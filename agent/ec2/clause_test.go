package ec2

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

func TestClause(t *testing.T) {
	call := func(service, operation string, err error) error {
		return &smithy.OperationError{ServiceID: service, OperationName: operation, Err: err}
	}
	sent := func(err error) error {
		return &smithyhttp.RequestSendError{Err: fmt.Errorf("Post %q: %w", "http://10.0.0.10/", err)}
	}
	addr := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 10), Port: 80}
	dial := func(err error) error { return sent(&net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: err}) }
	api := &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"}
	messages := golden.Open(t, "clause.txt")
	for name, err := range map[string]error{
		"plain":                                errors.New("plain"),
		"a dial that times out":                fmt.Errorf("reading: %w", call("SSM", "GetParameters", dial(os.ErrDeadlineExceeded))),
		"a refused connection":                 call("EC2", "DescribeInstances", dial(os.NewSyscallError("connect", syscall.ECONNREFUSED))),
		"no answer":                            call("EC2", "DescribeInstances", sent(context.DeadlineExceeded)),
		"stopped":                              call("EC2", "DescribeInstances", sent(context.Canceled)),
		"out of time while it waits to repeat": call("EC2", "DescribeInstances", &aws.RequestCanceledError{Err: context.DeadlineExceeded}),
		"out of time":                          call("EC2", "DescribeInstances", sent(&smithy.CanceledError{Err: context.DeadlineExceeded})),
		"denied":                               call("SSM", "PutParameter", api),
		"an unknown name":                      call("SSM", "PutParameter", dial(&net.DNSError{Err: "no such host", Name: "ssm.x", IsNotFound: true})),
		"a silent name server":                 call("SSM", "PutParameter", dial(&net.DNSError{Err: "i/o timeout", Name: "ssm.x", IsTimeout: true})),
		"credentials of another role":          call("SSM", "PutParameter", call("STS", "AssumeRole", errors.New("EOF"))),
		"IMDS":                                 fmt.Errorf("reading instance-id from IMDS: %w", call("ec2imds", "GetMetadata", sent(context.DeadlineExceeded))),
		"two errors":                           errors.Join(call("SSM", "A", api), call("EC2", "B", api)),
		"an answer that breaks off":            call("SSM", "PutParameter", &brokenAnswerError{"ssm", "PutParameter", errors.New("unexpected EOF")}),
		"a silent endpoint":                    call("SSM", "A", &UnreachableError{Service: "ssm", Err: sent(context.DeadlineExceeded)}),
		"credentials that cannot be refreshed": fmt.Errorf("getting AWS credentials: failed to refresh cached credentials, %w", &smithy.GenericAPIError{Code: "X", Message: "y"}),
	} {
		got := Plain(err)
		if !errors.Is(got, err) {
			t.Errorf("%s: %v is lost in %v", name, err, got)
		}
		messages.Is(t, name, got.Error())
	}
}

// TestRefusals: each of these errors has its own exit code and remedy.
func TestRefusals(t *testing.T) {
	messages := golden.Open(t, "refusals.txt")
	for _, tt := range []struct {
		code, message string
		exit          exit.Code
		never         string
	}{
		{"ParameterLimitExceeded", "", exit.Internal, ""},
		{"OperationNotPermitted", "", exit.Internal, ""},
		{"Blocked", "", exit.Internal, ""},
		{"IncorrectState", "", exit.Internal, ""},
		{"InvalidNetworkInterfaceID.NotFound", "", exit.Identity, ""},
		{"AuthFailure", "AWS was not able to validate the provided access credentials", exit.Permission, "clock"},
		{"AuthFailure", "Signature expired: 20261129T150000Z is now earlier than 20261129T151000Z", exit.Permission, ""},
		{"RequestExpired", "Request has expired.", exit.Permission, ""},
		{"UnrecognizedClientException", "", exit.Permission, "clock"},
	} {
		err := &smithy.OperationError{ServiceID: "EC2", OperationName: "X", Err: &smithy.GenericAPIError{Code: tt.code, Message: tt.message}}
		got := ExplainAt(err, iam.Place{Region: "us-east-1"})
		remedy := strings.Join(exit.Remedies(got), "\n")
		messages.Is(t, strings.TrimSuffix(tt.code+": "+tt.message, ": "), remedy)
		if exit.CodeOf(got) != tt.exit || tt.never != "" && strings.Contains(remedy, tt.never) {
			t.Errorf("%s: code %d, %s", tt.code, exit.CodeOf(got), remedy)
		}
	}
}

// A refusal with a code that is not known is not answered with the advice to run again. AWS's own
// failures and half an answer are.
func TestUnknownRefusal(t *testing.T) {
	for status, unknown := range map[int]bool{400: true, 403: true, 422: true, 429: false, 500: false} {
		err := &smithy.OperationError{ServiceID: "SSM", OperationName: "PutParameter", Err: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: &smithy.GenericAPIError{Code: "CodeOfTomorrow", Message: "no"}}}
		if remedy := strings.Join(exit.Remedies(ExplainAt(err, iam.Place{})), ""); strings.Contains(remedy, "look CodeOfTomorrow up") != unknown {
			t.Errorf("HTTP %d: %s", status, remedy)
		}
	}
}

// An endpoint of the operator's own is named as such, with the settings that lead to it.
func TestUnreachableOwnEndpoint(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	messages := golden.Open(t, "own-endpoint.txt")
	unknown := &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}}
	for address, own := range map[string]bool{
		"http://10.0.0.10:4566/": true, "https://api.corp.test/": true,
		"https://ssm.us-east-1.amazonaws.com/": false, "https://vpce-1.ssm.us-east-1.vpce.amazonaws.com/": false, "https://ssm.us-east-1.api.aws/": false,
	} {
		for _, cause := range []error{refused, unknown} {
			err := &smithy.OperationError{ServiceID: "SSM", OperationName: "GetParameters", Err: &smithyhttp.RequestSendError{Err: &url.Error{Op: "Post", URL: address, Err: cause}}}
			remedy := strings.Join(exit.Remedies(ExplainAt(err, iam.Place{Region: "us-east-1"})), "")
			if strings.Contains(remedy, "AWS_ENDPOINT_URL_SSM") != own {
				t.Errorf("%s, %v: %s", address, cause, remedy)
			}
			messages.Is(t, fmt.Sprintf("%s, %v", address, cause), remedy)
		}
	}
}

// A clock that agrees with AWS's by now is not called wrong by a second.
func TestClockThatAgrees(t *testing.T) {
	now := time.Now()
	messages := golden.Open(t, "clock-that-agrees.txt")
	for _, ago := range []time.Duration{0, time.Hour} {
		header := http.Header{"Date": {now.Add(-ago).UTC().Format(http.TimeFormat)}}
		err := &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: 400, Header: header}}, Err: &smithy.GenericAPIError{Code: "RequestExpired"}}
		got := ClockError(err, now.Truncate(time.Second))
		if got == nil {
			t.Fatalf("%s: no error", ago)
		}
		messages.Is(t, ago.String(), got.Error())
	}
}

// A document that is not the service's is another server's, and is not asked for again.
func TestDocumentOfAnother(t *testing.T) {
	messages := golden.Open(t, "document-of-another.txt")
	for _, body := range []string{`{"Parameters":"<html>"}`, `{"Parameters":[{"Name":5}]}`} {
		calls := 0
		a := httpAnswer{status: 200, body: body, calls: &calls}
		_, err := ssmcoord.NewLedger(a.config(), "/emr-static-ip", "subnet-0a1").Read(t.Context(), []netip.Addr{netip.MustParseAddr("10.0.1.21")})
		err = ExplainAt(err, iam.Place{Region: "us-east-1", Prefix: "/x"})
		if exit.CodeOf(err) != exit.Unreachable {
			t.Errorf("%s: %v", body, err)
		}
		messages.Is(t, body, strings.Join(exit.Remedies(err), "\n"))
	}
}

// The policy of a VPC endpoint is another kind of policy, and another partition has other ARNs.
func TestEndpointPolicyRemedy(t *testing.T) {
	err := &smithy.OperationError{ServiceID: "SSM", OperationName: "PutParameter", Err: &smithy.GenericAPIError{Code: "AccessDeniedException",
		Message: "User: x is not authorized to perform: ssm:PutParameter because no VPC endpoint policy allows the ssm:PutParameter action"}}
	got := strings.Join(exit.Remedies(ExplainAt(err, iam.Place{Region: "us-gov-west-1", Subnet: "subnet-1"})), "\n")
	golden.Is(t, "endpoint-policy.txt", got+"\n")
}
