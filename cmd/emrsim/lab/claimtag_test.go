package lab

import (
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
)

// tagsDemanded is an organization's rule: nobody writes a parameter without the tag team.
const tagsDemanded = `{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "ssm:PutParameter", "Resource": "*",
	"Condition": {"Null": {"aws:RequestTag/team": "true"}}}]}`

// TestClaimTag runs the program in an account whose policies demand tags on parameters.
func TestClaimTag(t *testing.T) {
	for _, test := range []struct {
		name     string
		policies []string
		args     []string
		code     int
		says     string
	}{
		{"tags", []string{tagsDemanded, iam.Place{}.Policy(iam.ClaimTags)}, []string{"--claim-tag=team=data", "--claim-tag", "cost centre=a=b"}, 0, "changed="},
		{"no tags", []string{tagsDemanded, iam.Place{}.Policy(iam.ClaimTags)}, nil, 4, "a policy denies ssm:PutParameter: look for its Deny statement"},
		{"no permission", []string{tagsDemanded}, []string{"--claim-tag=team=data"}, 4, "allow ssm:AddTagsToResource in the role of the instance profile"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := launch(t, func(s *ClusterSpec) {
				s.Cores = 0
				s.Policies = append(s.Policies, test.policies...)
			})
			n := c.Nodes()[0]
			got := start(t, c, n, Command{Args: append(test.args, "10.0.1.10")})
			if got.ExitCode != test.code || !strings.Contains(got.Stdout+got.Stderr, test.says) {
				t.Fatalf("exit code %d, want %d and %q\n%s%s", got.ExitCode, test.code, test.says, got.Stdout, got.Stderr)
			}
			if test.code != 0 {
				if assigned := c.Secondary(n); len(assigned) > 0 || len(c.Cloud.Parameters()) > 0 {
					t.Errorf("left behind: assigned %v, parameters %v", assigned, c.Cloud.Parameters())
				}
				return
			}
			parameters := c.Cloud.Parameters()
			if len(parameters) != 1 || parameters[0].Tags["team"] != "data" || parameters[0].Tags["cost centre"] != "a=b" {
				t.Errorf("parameters %+v", parameters)
			}
			// A run without arguments repeats the tags.
			if state := start(t, c, n, Command{Args: nil}); state.ExitCode != 0 || !strings.Contains(state.Stdout+state.Stderr, "changed=0") {
				t.Errorf("again: exit code %d\n%s%s", state.ExitCode, state.Stdout, state.Stderr)
			}
		})
	}
}
