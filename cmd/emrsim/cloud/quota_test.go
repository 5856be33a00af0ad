package cloud

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// TestQuotas measures bursts and rates in virtual time.
func TestQuotas(t *testing.T) {
	for _, test := range []struct {
		name        string
		call        func(context.Context, clients, *world) error
		burst, rate float64
		code        string
		status      int
	}{
		{"PutParameter", func(ctx context.Context, c clients, w *world) error {
			in := putInput("/x", "v")
			in.Overwrite = aws.Bool(true)
			_, err := c.ssm.PutParameter(ctx, in)
			return err
		}, 3, 3, "ThrottlingException", 400},
		{"GetParametersByPath", func(ctx context.Context, c clients, w *world) error {
			_, err := c.ssm.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: aws.String("/x")})
			return err
		}, 40, 40, "ThrottlingException", 400},
		{"DescribeParameters", func(ctx context.Context, c clients, w *world) error {
			_, err := c.ssm.DescribeParameters(ctx, &ssm.DescribeParametersInput{})
			return err
		}, 3, 3, "ThrottlingException", 400},
		{"AssignPrivateIpAddresses", func(ctx context.Context, c clients, w *world) error {
			_, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(w.master.ENI, false, "10.0.1.21"))
			return err
		}, 100, 5, "RequestLimitExceeded", 503},
		{"DescribeInstances by id", func(ctx context.Context, c clients, w *world) error {
			_, err := c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{w.master.InstanceID}})
			return err
		}, 100, 20, "RequestLimitExceeded", 503},
		{"DescribeInstances, all", func(ctx context.Context, c clients, w *world) error {
			_, err := c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{})
			return err
		}, 50, 10, "RequestLimitExceeded", 503},
		{"CreateTags", func(ctx context.Context, c clients, w *world) error {
			_, err := c.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{w.master.InstanceID}, Tags: []ec2types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
			return err
		}, 100, 10, "RequestLimitExceeded", 503},
		{"DescribeCluster", func(ctx context.Context, c clients, w *world) error {
			_, err := c.emr.DescribeCluster(ctx, &emr.DescribeClusterInput{ClusterId: &w.cluster.ID})
			return err
		}, 10, 1, "ThrottlingException", 400},
		{"ListInstances", func(ctx context.Context, c clients, w *world) error {
			_, err := c.emr.ListInstances(ctx, &emr.ListInstancesInput{ClusterId: &w.cluster.ID})
			return err
		}, 10, 0.5, "ThrottlingException", 400},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Options{Quotas: DefaultQuotas()})
			c := w.on(w.cores[0].InstanceID)
			passed := func(d time.Duration) float64 {
				n := 0.0
				for end := time.Now().Add(d); !time.Now().After(end); time.Sleep(20 * time.Millisecond) {
					err := test.call(t.Context(), c, w)
					switch {
					case err == nil:
						n++
					case code(err) != test.code || statusOf(err) != test.status:
						t.Fatalf("%s: %v, want %d %s", test.name, err, test.status, test.code)
					}
				}
				return n
			}
			n := 0.0
			for range 200 {
				if err := test.call(t.Context(), c, w); err == nil {
					n++
				}
			}
			if n != test.burst {
				t.Errorf("%s: a burst of %v, want %v", test.name, n, test.burst)
			}
			if n := passed(10 * time.Second); n < 10*test.rate-1 || n > 10*test.rate+1 {
				t.Errorf("%s: %v calls in 10 s, want %v", test.name, n, 10*test.rate)
			}
		})
	}
}

func TestDrainAndExhaust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{Quotas: DefaultQuotas()})
		c := w.on("")
		passed := func() int {
			n := 0
			for range 1000 {
				if _, err := c.ssm.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"/x"}}); err == nil {
					n++
				}
				time.Sleep(10 * time.Millisecond)
			}
			return n
		}
		w.Exhaust(BucketSSMReads)
		if n := passed(); n < 398 || n > 401 {
			t.Errorf("%d reads in 10 s without others, want 400", n)
		}
		w.Drain(BucketSSMReads, 30)
		if n := passed(); n < 98 || n > 101 {
			t.Errorf("%d reads in 10 s while others make 30 a second, want 100", n)
		}
		if got := w.Counts()["ssm:GetParameters"]; got.Calls != 2000 || got.Throttled < 1495 || got.Failed != 0 {
			t.Errorf("counts: %+v", got)
		}
	})
}
