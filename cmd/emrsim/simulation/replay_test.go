package simulation

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// traceOf returns everything that happened in a world, call by call. Calls without effect that were
// cancelled at the same instant by the end of their process are in the order in which they began.
func traceOf(w *World) string {
	var b strings.Builder
	calls := w.Cloud.Calls()
	slices.SortStableFunc(calls, func(x, y cloud.Call) int {
		return cmp.Or(x.Time.Compare(y.Time), cmp.Compare(x.Caller, y.Caller), cmp.Compare(x.Nth, y.Nth))
	})
	for _, c := range calls {
		fmt.Fprintln(&b, c.Time.UnixNano(), c.Caller, c.Service, c.Action, c.Params, c.Status, c.Code, c.Applied, c.Lost)
	}
	return b.String()
}

// TestCallsAtOneTime checks that a process with concurrent calls always makes the same calls in the
// same order and gets the same answers, even if it is killed meanwhile.
func TestCallsAtOneTime(t *testing.T) {
	latencies := map[string]func(*rand.Rand, cloud.Call) time.Duration{
		"none":   nil,
		"even":   promptly,
		"random": func(r *rand.Rand, _ cloud.Call) time.Duration { return time.Duration(r.IntN(50)) * time.Millisecond },
	}
	for name, latency := range latencies {
		for _, kill := range []Kill{{}, {Point: 5}, {Point: 7}, {Point: 20, Fail: true}} {
			t.Run(fmt.Sprintf("latency %s, %+v", name, kill), func(t *testing.T) {
				first := ""
				for range 20 {
					got := callsAtOneTime(t, latency, kill)
					if first == "" {
						first = got
					} else if got != first {
						t.Fatalf("two different traces; first difference: %s", firstDifference(first, got))
					}
				}
				if strings.Count(first, "\n") < 10 {
					t.Errorf("too few calls:\n%s", first)
				}
			})
		}
	}
}

// callsAtOneTime makes four concurrent calls in one process, five times, and returns the trace.
func callsAtOneTime(t *testing.T, latency func(*rand.Rand, cloud.Call) time.Duration, kill Kill) (trace string) {
	o := cloud.Options{Latency: latency, StaleSSM: cloud.Staleness{Probability: 0.5, MaxAge: time.Second}, Quotas: cloud.WithSSMBurst(cloud.DefaultQuotas(), 0)}
	inBubble(t, o, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, smallPools)[0]
		c.Cloud.Watch(nil) // no agent makes these calls
		c.Cloud.Fault(cloud.RandomFaults(cloud.FaultRates{Fail: 0.1, Reset: 0.1, Lose: 0.1, Slow: 0.1, MaxSlow: time.Second}, nil))
		var answers strings.Builder
		out := n.run(t.Context(), kill, func(ctx context.Context, _ agent.Config, env agent.Environment) (agent.Report, error) {
			creds := c.Cloud.Credentials(n.InstanceID)
			cfg := aws.Config{Region: "us-east-1", HTTPClient: &http.Client{Transport: env.HTTP}, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
				Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil })}
			store, compute := ssm.NewFromConfig(cfg), ec2.NewFromConfig(cfg)
			name := c.parameter(smallPools.Master[0])
			for range 5 {
				errs := make([]error, 4)
				var all sync.WaitGroup
				for i, call := range []func() error{
					func() error {
						_, err := compute.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{n.InstanceID}})
						return err
					},
					func() error {
						_, err := store.GetParameters(ctx, &ssm.GetParametersInput{Names: []string{name}})
						return err
					},
					func() error {
						_, err := store.PutParameter(ctx, &ssm.PutParameterInput{Name: &name, Value: aws.String("x"), Type: "String", Overwrite: aws.Bool(true)})
						return err
					},
					func() error {
						_, err := compute.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{n.InstanceID}, Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String("x")}}})
						return err
					},
				} {
					all.Go(func() { errs[i] = call() })
				}
				all.Wait()
				for i, err := range errs {
					fmt.Fprintln(&answers, time.Now().UnixNano(), i, err == nil)
				}
			}
			return agent.Report{}, nil
		})
		trace = traceOf(c.World) + answers.String() + fmt.Sprintln(out.Points, out.Killed)
	})
	return trace
}
