package ec2

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
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
	for want, err := range map[string]error{
		"plain": errors.New("plain"),
		"reading: ssm:GetParameters: no answer from 10.0.0.10:80 in 5s":      fmt.Errorf("reading: %w", call("SSM", "GetParameters", dial(os.ErrDeadlineExceeded))),
		"ec2:DescribeInstances: 10.0.0.10:80: connection refused":            call("EC2", "DescribeInstances", dial(os.NewSyscallError("connect", syscall.ECONNREFUSED))),
		"ec2:DescribeInstances: no answer in 20s":                            call("EC2", "DescribeInstances", sent(context.DeadlineExceeded)),
		"ec2:DescribeInstances: it was stopped before there was an answer":   call("EC2", "DescribeInstances", sent(context.Canceled)),
		"ssm:PutParameter: AccessDeniedException: no":                        call("SSM", "PutParameter", api),
		"ssm:PutParameter: the name ssm.x is not found (no such host)":       call("SSM", "PutParameter", dial(&net.DNSError{Err: "no such host", Name: "ssm.x", IsNotFound: true})),
		"ssm:PutParameter: no name server answers for ssm.x (i/o timeout)":   call("SSM", "PutParameter", dial(&net.DNSError{Err: "i/o timeout", Name: "ssm.x", IsTimeout: true})),
		"ssm:PutParameter: getting AWS credentials: sts:AssumeRole: EOF":     call("SSM", "PutParameter", call("STS", "AssumeRole", errors.New("EOF"))),
		"reading instance-id from IMDS: no answer in 3s":                     fmt.Errorf("reading instance-id from IMDS: %w", call("ec2imds", "GetMetadata", sent(context.DeadlineExceeded))),
		"ssm:A: AccessDeniedException: no\nec2:B: AccessDeniedException: no": errors.Join(call("SSM", "A", api), call("EC2", "B", api)),
		"ssm:PutParameter: the answer breaks off (unexpected EOF)":           call("SSM", "PutParameter", &brokenAnswerError{"ssm", "PutParameter", errors.New("unexpected EOF")}),
		"ssm:A: the ssm endpoint does not answer: no answer in 20s":          call("SSM", "A", &UnreachableError{Service: "ssm", Err: sent(context.DeadlineExceeded)}),
		"getting AWS credentials: api error X: y":                            fmt.Errorf("getting AWS credentials: failed to refresh cached credentials, %w", &smithy.GenericAPIError{Code: "X", Message: "y"}),
	} {
		if got := Plain(err); got.Error() != want || !errors.Is(got, err) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// TestRefusals: each of these errors has its own exit code and remedy.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		code, message string
		exit          exit.Code
		says, never   string
	}{
		{"ParameterLimitExceeded", "", exit.Internal, "10,000", "same command"},
		{"OperationNotPermitted", "", exit.Internal, "RequesterManaged", ""},
		{"Blocked", "", exit.Internal, "AWS Support", ""},
		{"IncorrectState", "", exit.Internal, "in-use and running", ""},
		{"InvalidNetworkInterfaceID.NotFound", "", exit.Identity, "another region", ""},
		{"AuthFailure", "AWS was not able to validate the provided access credentials", exit.Permission, "AWS_ACCESS_KEY_ID", "clock"},
		{"AuthFailure", "Signature expired: 20261129T150000Z is now earlier than 20261129T151000Z", exit.Permission, "chronyc", ""},
		{"RequestExpired", "Request has expired.", exit.Permission, "chronyc", ""},
		{"UnrecognizedClientException", "", exit.Permission, "instance profile", "clock"},
	} {
		err := &smithy.OperationError{ServiceID: "EC2", OperationName: "X", Err: &smithy.GenericAPIError{Code: tt.code, Message: tt.message}}
		got := ExplainAt(err, iam.Place{Region: "us-east-1"})
		remedy := strings.Join(exit.Remedies(got), "\n")
		if exit.CodeOf(got) != tt.exit || !strings.Contains(remedy, tt.says) || tt.never != "" && strings.Contains(remedy, tt.never) {
			t.Errorf("%s: code %d, %s", tt.code, exit.CodeOf(got), remedy)
		}
	}
}

// The policy of a VPC endpoint is another kind of policy, and another partition has other ARNs.
func TestEndpointPolicyRemedy(t *testing.T) {
	err := &smithy.OperationError{ServiceID: "SSM", OperationName: "PutParameter", Err: &smithy.GenericAPIError{Code: "AccessDeniedException",
		Message: "User: x is not authorized to perform: ssm:PutParameter because no VPC endpoint policy allows the ssm:PutParameter action"}}
	got := strings.Join(exit.Remedies(ExplainAt(err, iam.Place{Region: "us-gov-west-1", Subnet: "subnet-1"})), "\n")
	for _, want := range []string{"in the VPC endpoint policy: ", `"Principal": "*"`, "arn:aws-us-gov:ssm:us-gov-west-1:"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s lacks %s", got, want)
		}
	}
}
