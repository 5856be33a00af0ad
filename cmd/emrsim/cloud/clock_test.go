package cloud

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// TestClockSkew checks that answers carry the time of the services' clock, and that a service
// refuses a signature that is more than five minutes off, in its own words.
func TestClockSkew(t *testing.T) {
	for _, test := range []struct {
		skew     time.Duration
		ssm, ec2 string
		message  string
	}{
		{0, "", "", ""},
		{4 * time.Minute, "", "", ""},
		{-4 * time.Minute, "", "", ""},
		{6 * time.Minute, "InvalidSignatureException", "RequestExpired", "Signature expired: "},
		{-6 * time.Minute, "InvalidSignatureException", "RequestExpired", "Signature not yet current: "},
	} {
		bothWays(t, Options{ClockSkew: test.skew}, func(t *testing.T, w *world, c clients) {
			_, err := c.ssm.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{})
			if code(err) != test.ssm || !strings.HasPrefix(message(err), test.message) {
				t.Errorf("skew %v: SSM says %v", test.skew, err)
			}
			if test.ssm == "" {
				name := aws.String("/clock")
				if _, err := c.ssm.PutParameter(t.Context(), &ssm.PutParameterInput{Name: name, Value: name, Type: types.ParameterTypeString}); err != nil {
					t.Fatal(err)
				}
				out, err := c.ssm.GetParameter(t.Context(), &ssm.GetParameterInput{Name: name})
				if err != nil {
					t.Fatal(err)
				}
				if off := time.Since(*out.Parameter.LastModifiedDate) + test.skew; off.Abs() > 10*time.Second {
					t.Errorf("skew %v: LastModifiedDate is %v off", test.skew, off)
				}
			}
			_, err = c.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
			if code(err) != test.ec2 {
				t.Errorf("skew %v: EC2 says %v", test.skew, err)
			}
		})
	}
}

// TestKnock checks that an endpoint answers a bare GET or HEAD with an HTTP error and its time,
// which shows that the endpoint is reachable.
func TestKnock(t *testing.T) {
	w := newWorld(t, Options{ClockSkew: time.Hour})
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		req, err := http.NewRequestWithContext(t.Context(), method, "https://ssm.us-east-1.amazonaws.com/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := w.Transport(w.master.InstanceID).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		at, err := http.ParseTime(resp.Header.Get("Date"))
		if d := time.Until(at); resp.StatusCode != http.StatusNotFound || err != nil || d < 59*time.Minute || d > 61*time.Minute {
			t.Errorf("%s: status %s, Date %v from now, %v", method, resp.Status, d, err)
		}
	}
	if calls := w.Calls(); len(calls) != 2 || calls[0].Key() != "endpoint:Knock" || calls[0].Caller != w.master.InstanceID {
		t.Errorf("recorded %v, want two knocks of the master", calls)
	}
}
