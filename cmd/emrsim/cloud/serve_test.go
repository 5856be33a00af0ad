package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// TestRefused checks the refusal of unsigned calls, of wrong credentials, and of calls that the
// model does not implement.
func TestRefused(t *testing.T) {
	w := newWorld(t, Options{})
	server := httptest.NewServer(w.Handler())
	defer server.Close()
	good := w.Credentials(w.cores[0].InstanceID)
	wrongSecret, wrongToken, unknown := good, good, good
	wrongSecret.SecretAccessKey = "wrong"
	wrongToken.SessionToken = "wrong"
	unknown.AccessKeyID = "ASIAUNKNOWNUNKNOWN00"
	for _, test := range []struct {
		name     string
		creds    aws.Credentials
		region   string
		ssm, ec2 string
	}{
		{"good", good, "us-east-1", "", ""},
		{"wrong secret", wrongSecret, "us-east-1", "InvalidSignatureException", "SignatureDoesNotMatch"},
		{"wrong token", wrongToken, "us-east-1", "UnrecognizedClientException", "AuthFailure"},
		{"unknown key", unknown, "us-east-1", "UnrecognizedClientException", "AuthFailure"},
		{"other region", good, "eu-west-1", "InvalidSignatureException", "SignatureDoesNotMatch"},
	} {
		c := newClients(aws.Config{Region: test.region, BaseEndpoint: &server.URL, Credentials: static(test.creds), Retryer: func() aws.Retryer { return aws.NopRetryer{} }})
		_, err := c.ssm.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{})
		if code(err) != test.ssm {
			t.Errorf("%s: SSM says %v, want %q", test.name, err, test.ssm)
		}
		_, err = c.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
		if code(err) != test.ec2 {
			t.Errorf("%s: EC2 says %v, want %q", test.name, err, test.ec2)
		}
	}
	for _, test := range []struct {
		name, target, body string
		status             int
		want               string
	}{
		{"unsigned SSM", "AmazonSSM.GetParameter", `{"Name":"/x"}`, 400, "MissingAuthenticationTokenException"},
		{"unsigned EC2", "", "Action=DescribeVpcs&Version=2016-11-15", 403, "MissingAuthenticationToken"},
		{"unknown action", "AmazonSSM.Fly", `{}`, 501, "ModelNotImplemented"},
		{"unknown EC2 action", "", "Action=Fly&Version=2016-11-15", 501, "ModelNotImplemented"},
		{"unknown service", "DynamoDB_20120810.GetItem", `{}`, 501, "ModelNotImplemented"},
		{"unknown query service", "", "Action=ListUsers&Version=2010-05-08", 501, "ModelNotImplemented"},
	} {
		req := httptest.NewRequest("POST", "/", strings.NewReader(test.body))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if test.target != "" {
			req.Header.Set("Content-Type", contentJSON)
			req.Header.Set("X-Amz-Target", test.target)
		}
		rec := httptest.NewRecorder()
		w.Handler().ServeHTTP(rec, req)
		if rec.Code != test.status || !strings.Contains(rec.Body.String(), test.want) {
			t.Errorf("%s: %d %s, want %d %s", test.name, rec.Code, rec.Body, test.status, test.want)
		}
	}
	if calls := w.Calls(); len(calls) != 16 {
		t.Errorf("%d calls recorded, want all 16", len(calls))
	}
	_, err := w.on("").ssm.GetInventory(t.Context(), &ssm.GetInventoryInput{})
	if code(err) != "ModelNotImplemented" || !strings.Contains(message(err), "ssm:GetInventory") {
		t.Errorf("unknown action: %v", err)
	}
	in := putInput("/x", "v")
	in.Policies = aws.String("[]")
	if _, err := w.on("").ssm.PutParameter(t.Context(), in); code(err) != "ModelNotImplemented" || !strings.Contains(message(err), "Policies") {
		t.Errorf("unknown parameter: %v", err)
	}
	_, err = w.on("").ec2.AssignPrivateIpAddresses(t.Context(), &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: aws.String(w.master.ENI), SecondaryPrivateIpAddressCount: aws.Int32(1)})
	if code(err) != "ModelNotImplemented" || !strings.Contains(message(err), "SecondaryPrivateIpAddressCount") {
		t.Errorf("unknown parameter: %v", err)
	}
	if len(w.Parameters()) != 0 {
		t.Error("a refused call had an effect")
	}
}

func TestFaults(t *testing.T) {
	for _, test := range []struct {
		action  FaultAction
		applied bool
		lost    bool
		check   func(error) bool
	}{
		{FaultAction{}, true, false, func(err error) bool { return err == nil }},
		{FaultAction{Kind: FaultFail}, false, false, func(err error) bool { return code(err) == "InternalServerError" && statusOf(err) == 500 }},
		{FaultAction{Kind: FaultFail, Code: "ThrottlingException", Message: "Rate exceeded", Status: 400}, false, false, func(err error) bool { return code(err) == "ThrottlingException" }},
		{FaultAction{Kind: FaultReset}, false, false, func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }},
		{FaultAction{Kind: FaultLose}, true, true, func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }},
		{FaultAction{Kind: FaultFailAfter, Status: 503}, true, true, func(err error) bool { return statusOf(err) == 503 }},
		{FaultAction{Kind: FaultHang}, false, false, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		{FaultAction{Kind: FaultHangAfter}, true, true, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		{FaultAction{Kind: FaultBreak}, true, true, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{FaultAction{Delay: 2 * time.Second}, false, false, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
	} {
		run := func(t *testing.T, w *world, c clients) {
			w.ForgetCalls()
			var asked []Call
			w.Fault(func(call Call) FaultAction {
				asked = append(asked, call)
				return test.action
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := c.ssm.PutParameter(ctx, putInput("/x", "v"))
			if !test.check(err) {
				t.Errorf("fault %v: got error %v", test.action.Kind, err)
			}
			w.Fault(nil)
			var calls []Call
			for range 100 { // over HTTP the handler may notice a little later that the caller has gone
				if calls = w.Calls(); len(calls) == 1 && calls[0].Lost == test.lost {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if applied := len(w.Parameters()) == 1; applied != test.applied || len(calls) != 1 || calls[0].Applied != applied || calls[0].Lost != test.lost || calls[0].Fault != test.action.Kind {
				t.Errorf("%v: applied %t, recorded %+v", test.action.Kind, applied, calls)
			}
			if len(asked) != 1 || asked[0].Key() != "ssm:PutParameter" || asked[0].Caller != w.cores[0].InstanceID || asked[0].Params != "Name=/x Overwrite=false" {
				t.Errorf("calls of the fault hook: %+v", asked)
			}
		}
		t.Run(fmt.Sprintf("%v/transport", test.action.Kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Options{})
				run(t, w, w.on(w.cores[0].InstanceID))
			})
		})
		t.Run(fmt.Sprintf("%v/http", test.action.Kind), func(t *testing.T) {
			w := newWorld(t, Options{})
			c := w.overHTTP(t, w.cores[0].InstanceID)
			if _, err := c.ssm.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{}); err != nil { // fetches the credentials before the fault
				t.Fatal(err)
			}
			for _, call := range w.Calls() {
				if call.Service == "imds" && call.Code != "" {
					t.Errorf("fetching credentials: %v", call)
				}
			}
			run(t, w, c)
		})
	}
}

// TestFaultLate checks that the effect of a FaultLate comes after the caller's error, and acts on
// the state of that time.
func TestFaultLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		api := w.on(w.cores[0].InstanceID).ssm
		then := 0
		w.Fault(func(call Call) FaultAction {
			if call.OfKind > 1 {
				return FaultAction{}
			}
			return FaultAction{Kind: FaultLate, Late: 10 * time.Second, Then: func() { then++ }}
		})
		if _, err := api.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: aws.String("/x")}); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the call ends with %v", err)
		}
		time.Sleep(9 * time.Second)
		if calls := w.Calls(); len(calls) != 0 || then != 0 {
			t.Errorf("calls recorded too early: %v", calls)
		}
		w.Fault(nil)
		if _, err := api.PutParameter(t.Context(), putInput("/x", "v")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		calls := w.Calls()
		if last := calls[len(calls)-1]; last.Action != "DeleteParameter" || !last.Applied || !last.Lost || last.Fault != FaultLate || last.Code != "" || then != 1 {
			t.Errorf("recorded afterwards: %v; Then ran %d times", last, then)
		}
		if left := w.Parameters(); len(left) != 0 {
			t.Errorf("parameters after the late deletion: %v", left)
		}
	})
}

// TestThen checks that Then runs between the effect and the response, where a test may crash the
// caller.
func TestThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{Latency: func(r *rand.Rand, _ Call) time.Duration { return time.Second }})
		ctx, crash := context.WithCancel(t.Context())
		w.Fault(func(Call) FaultAction { return FaultAction{Then: crash} })
		_, err := w.on("").ssm.PutParameter(ctx, putInput("/x", "v"))
		if !errors.Is(err, context.Canceled) || len(w.Parameters()) != 1 || !w.Calls()[0].Lost {
			t.Errorf("error %v, parameters %+v, calls %+v", err, w.Parameters(), w.Calls())
		}
	})
}

func TestRandomFaults(t *testing.T) {
	hook := RandomFaults(FaultRates{Fail: 0.1, Reset: 0.1, Lose: 0.1, Break: 0.1, Slow: 0.5, MaxSlow: time.Second}, func(c Call) bool { return c.Service == "ssm" })
	n := map[FaultKind]int{}
	for seed := range uint64(1000) {
		a := hook(Call{Service: "ssm", Seed: mixNumber(seed, 1)})
		n[a.Kind]++
		if b := hook(Call{Service: "ssm", Seed: mixNumber(seed, 1)}); b.Kind != a.Kind || b.Delay != a.Delay {
			t.Fatal("the same call got another fault")
		}
	}
	for _, k := range []FaultKind{FaultFail, FaultReset, FaultLose, FaultBreak} {
		if n[k] < 60 || n[k] > 140 {
			t.Errorf("fault %v: %d of 1000 calls, want about 100", k, n[k])
		}
	}
	if a := hook(Call{Service: "ec2", Seed: 1}); a.Kind != FaultNone || a.Delay != 0 {
		t.Error("a call for which only returns false got a fault")
	}
}

func TestAuthorize(t *testing.T) {
	var asked []AccessRequest
	w := newWorld(t, Options{Authorize: func(a AccessRequest) error {
		asked = append(asked, a)
		if a.Caller.InstanceID != "" {
			return errors.New("no")
		}
		return nil
	}})
	id := w.cores[0].InstanceID
	c, ctx := w.on(id), t.Context()
	user := "User: arn:aws:sts::123456789012:assumed-role/EMR_EC2_DefaultRole/" + id + " is not authorized to perform: "
	_, err := c.ssm.PutParameter(ctx, putInput("/x", "v"))
	want := user + "ssm:PutParameter on resource: arn:aws:ssm:us-east-1:123456789012:parameter/x because no identity-based policy allows the ssm:PutParameter action"
	if code(err) != "AccessDeniedException" || statusOf(err) != 400 || message(err) != want {
		t.Errorf("SSM: %v", err)
	}
	_, err = c.ec2.AssignPrivateIpAddresses(ctx, assignInput(w.master.ENI, false, "10.0.1.21"))
	want = "You are not authorized to perform this operation. " + user + "ec2:AssignPrivateIpAddresses on resource: arn:aws:ec2:us-east-1:123456789012:network-interface/" + w.master.ENI
	if code(err) != "UnauthorizedOperation" || statusOf(err) != 403 || !strings.HasPrefix(message(err), want) {
		t.Errorf("EC2: %v", err)
	}
	_, err = c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{DryRun: aws.Bool(true)})
	if code(err) != "UnauthorizedOperation" || asked[2].Resources[0] != "*" {
		t.Errorf("EC2 describe: %v, %+v", err, asked[2])
	}
	if _, err := w.on("").ssm.PutParameter(ctx, putInput("/x", "v")); err != nil {
		t.Errorf("operator: %v", err)
	}
}
