package simulation

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// TestEachDeniedAction denies a call. The error must name the missing action and the statement that
// allows it.
func TestEachDeniedAction(t *testing.T) {
	for _, action := range []string{"ssm:GetParameters", "ssm:PutParameter", "ec2:DescribeInstances", "ec2:AssignPrivateIpAddresses"} {
		t.Run(action, func(t *testing.T) {
			o := cloud.Options{Authorize: func(r cloud.AccessRequest) error {
				if r.Action == action {
					return errors.New("denied by the test")
				}
				return nil
			}}
			inBubble(t, o, func(t *testing.T, c *cluster) {
				n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
				began := time.Now()
				err := n.Apply(t.Context(), Kill{}).Err
				if exitCode(err) != agent.ExitPermission || !strings.Contains(remedy(err), `"Action": "`+action+`"`) {
					t.Errorf("code %d, %v; remedy %s", exitCode(err), err, remedy(err))
				}
				if time.Since(began) > time.Minute {
					t.Errorf("the run took %s", time.Since(began))
				}
				if n.Static().IsValid() {
					t.Errorf("the node uses %s", n.Static())
				}
			})
		})
	}
	t.Run("ec2:CreateTags", func(t *testing.T) { // the run succeeds without the Name tag
		o := cloud.Options{Authorize: func(r cloud.AccessRequest) error {
			if r.Action == "ec2:CreateTags" {
				return errors.New("denied by the test")
			}
			return nil
		}}
		inBubble(t, o, func(t *testing.T, c *cluster) {
			n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
			out := n.Apply(t.Context(), Kill{})
			if out.Err != nil || !strings.Contains(strings.Join(out.Report.Warnings, "\n"), "ec2:CreateTags") {
				t.Errorf("error %v, warnings %q", out.Err, out.Report.Warnings)
			}
		})
	})
}

// TestServicesThatFail lets a service fail in various ways. The run must end with a clear error by
// the deadline and leave nothing in use. When the service works again, the next run must succeed.
func TestServicesThatFail(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fault  cloud.FaultAction
		only   func(cloud.Call) bool
		code   agent.ExitCode
		within time.Duration
		says   string
	}{
		{"SSM throttles for ever", cloud.FaultAction{Kind: cloud.FaultFail, Code: "ThrottlingException", Message: "Rate exceeded", Status: 400},
			service("ssm"), agent.ExitDeadline, agent.DefaultTimeout, "Rate exceeded"},
		{"SSM answers 500", cloud.FaultAction{Kind: cloud.FaultFail}, service("ssm"), agent.ExitDeadline, agent.DefaultTimeout, "HTTP 500"},
		{"writes meet TooManyUpdates", cloud.FaultAction{Kind: cloud.FaultFail, Code: "TooManyUpdates", Status: 400}, call("ssm", "PutParameter"),
			agent.ExitDeadline, agent.DefaultTimeout, "TooManyUpdates"},
		{"the SSM endpoint is a black hole", cloud.FaultAction{Kind: cloud.FaultHang}, service("ssm"), agent.ExitUnreachable, 4 * time.Minute, "ssm endpoint"},
		{"the EC2 endpoint resets connections", cloud.FaultAction{Kind: cloud.FaultReset}, service("ec2"), agent.ExitUnreachable, 3 * time.Minute, "ec2 endpoint"},
		{"answers to assignments are lost", cloud.FaultAction{Kind: cloud.FaultLose}, call("ec2", "AssignPrivateIpAddresses"),
			agent.ExitDeadline, agent.DefaultTimeout, "AssignPrivateIpAddresses"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
				n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
				c.Cloud.Fault(func(call cloud.Call) cloud.FaultAction {
					if tt.only(call) {
						return tt.fault
					}
					return cloud.FaultAction{}
				})
				began := time.Now()
				err := n.Apply(t.Context(), Kill{}).Err
				if exitCode(err) != tt.code || !strings.Contains(err.Error(), tt.says) || remedy(err) == "" {
					t.Errorf("code %d, want %d; remedy %q; %v", exitCode(err), tt.code, remedy(err), err)
				}
				if d := time.Since(began); d > tt.within+time.Second {
					t.Errorf("the run took %s", d)
				}
				// An address may be in use before its record cannot be written.
				if n.Static().IsValid() && len(c.Cloud.Holders(c.subnet, n.Static())) == 0 {
					t.Errorf("the node uses %s", n.Static())
				}
				c.Cloud.Fault(nil)
				c.mustAll([]*Node{n})
				c.CheckTruth(testPrefix, nil)
			})
		})
	}
}

func service(name string) func(cloud.Call) bool {
	return func(c cloud.Call) bool { return c.Service == name && c.Caller != "" }
}

func call(name, action string) func(cloud.Call) bool {
	return func(c cloud.Call) bool { return c.Service == name && c.Action == action && c.Caller != "" }
}

// TestOperatorsRetrySettings checks that the operator's retry settings take precedence.
func TestOperatorsRetrySettings(t *testing.T) {
	t.Setenv("AWS_MAX_ATTEMPTS", "2")
	inBubble(t, cloud.Options{}, func(t *testing.T, c *cluster) {
		n := c.launch(1, 0, agent.Pools{Master: addrs("10.0.1.20")})[0]
		c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
			if x.Service == "ssm" {
				return cloud.FaultAction{Kind: cloud.FaultFail}
			}
			return cloud.FaultAction{}
		})
		if err := n.Apply(t.Context(), Kill{}).Err; err == nil {
			t.Error("the run succeeded")
		}
		if calls := c.Cloud.Counts()["ssm:GetParameters"].Calls; calls != 2 {
			t.Errorf("%d attempts, want 2", calls)
		}
	})
}
