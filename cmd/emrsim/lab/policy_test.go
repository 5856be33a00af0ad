package lab

import (
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// TestMissingPermission checks that a run without permission for an action ends with exit code 4,
// and names the action and the missing statement.
func TestMissingPermission(t *testing.T) {
	t.Parallel()
	texts := golden.Open(t, "missing-permission.txt")
	for _, tt := range []struct{ action, resource string }{
		{"ssm:PutParameter", `"arn:aws:ssm:us-east-1:123456789012:parameter/emr-static-ip/SUBNET_ID/*"`},
		{"ec2:AssignPrivateIpAddresses", `"arn:aws:ec2:us-east-1:123456789012:network-interface/*"`},
		{"ec2:DescribeInstances", `"*"`},
	} {
		t.Run(tt.action, func(t *testing.T) {
			c := launch(t, func(s *ClusterSpec) {
				s.Cores = 0
				whole := iam.Place{}.Policy(iam.InstanceProfile)
				// Another action replaces it, because a statement must not be empty.
				if s.Policies[0] = strings.Replace(whole, `"`+tt.action+`"`, `"ssm:DescribeParameters"`, 1); s.Policies[0] == whole {
					t.Fatal("the policy does not have the action")
				}
			})
			n := c.Nodes()[0]
			before := snapshot(t, n)
			got := start(t, c, n, Command{Args: []string{"10.0.1.10"}})
			statement := `{"Effect": "Allow", "Action": "` + tt.action + `", "Resource": ` + strings.ReplaceAll(tt.resource, "SUBNET_ID", c.SubnetID)
			if got.ExitCode != 4 || !strings.Contains(got.Stderr, statement) {
				t.Errorf("exit code %d, want 4 and %s:\n%s", got.ExitCode, statement, got.Stderr)
			}
			texts.Is(t, tt.action, c.told(got))
			if after := snapshot(t, n); after != before {
				t.Errorf("the kernel was changed:\n%s\nafter\n%s", before, after)
			}
			if assigned := c.Secondary(n); len(assigned) > 0 {
				t.Errorf("assigned: %v", assigned)
			}
		})
	}
}
