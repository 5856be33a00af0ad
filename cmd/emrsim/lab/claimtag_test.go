package lab

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// tagsDemanded is an organization's rule: nobody writes a parameter without the tag team.
const tagsDemanded = `{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "ssm:PutParameter", "Resource": "*",
	"Condition": {"Null": {"aws:RequestTag/team": "true"}}}]}`

// tagFailures are what can be wrong with tags of the records: permissions, the policies of an
// organization, the arguments, and what AWS makes of a tag.
func tagFailures() []failure {
	tagged := func(tag string) []string { return append([]string{"--claim-tag", tag}, list...) }
	nothing := func(t *testing.T, s *site, got Result) {
		nothingLeft(t, s, got)
		s.Cloud.Fault(nil)
		goesOn(t, s, got)
	}
	refuses := func(code, message string) func(*testing.T, *site) {
		return func(_ *testing.T, s *site) {
			s.faults(func(c cloud.Call) bool { return c.Action == "PutParameter" }, cloud.FaultAction{Kind: cloud.FaultFail, Code: code, Message: message, Status: 400})
		}
	}
	const policy = "The tag policy does not allow the specified value for the following tag key: 'team'."
	return []failure{
		{name: "denied ssm AddTagsToResource", code: 4, args: tagged("team=data"), changed: true, after: nothing,
			prepare: func(_ *testing.T, s *site) { s.deny("ssm:AddTagsToResource") }},
		{name: "tags demanded by the organization", code: 4, changed: true, after: nothingLeft,
			cluster: func(s *ClusterSpec) { s.Policies = append(s.Policies, tagsDemanded) }},
		{name: "tag without a value", code: 2, args: tagged("team")},
		{name: "tag that AWS reserves", code: 2, args: tagged("aws:team=data")},
		{name: "tag of a wrong character", code: 2, args: tagged("team=a;b")},
		{name: "tag that a tag policy refuses", code: 2, args: tagged("team=data"), changed: true, prepare: refuses("TagPolicyException", policy), after: nothing},
		{name: "tag that AWS does not understand", code: 2, args: tagged("team=data"), changed: true, prepare: refuses("ValidationException", "Tag keys are not valid"), after: nothing},
		{name: "record with too many tags", code: 2, args: tagged("team=data"), changed: true,
			cluster: func(s *ClusterSpec) { s.Policies = append(s.Policies, iam.Place{}.Policy(iam.ClaimTags)) },
			prepare: func(t *testing.T, s *site) {
				gone := s.stranger(t, "")
				s.Cloud.TerminateNow(gone.InstanceID)
				s.put(t, "10.0.1.11", ssmcoord.Record{Instance: gone.InstanceID, ENI: gone.ENI, Time: time.Now()}.Render())
				var tags []types.Tag
				for i := range 50 {
					tags = append(tags, types.Tag{Key: aws.String(fmt.Sprintf("other-%d", i)), Value: aws.String("")})
				}
				_, err := ssm.NewFromConfig(s.operator()).AddTagsToResource(t.Context(), &ssm.AddTagsToResourceInput{
					ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: aws.String("/emr-static-ip/" + s.SubnetID + "/10.0.1.11"), Tags: tags})
				if err != nil {
					t.Fatal(err)
				}
			}},
	}
}

// TestClaimTag runs the program in an account whose policies demand tags on parameters.
func TestClaimTag(t *testing.T) {
	t.Parallel()
	texts := golden.Open(t, "claim-tag.txt")
	for _, test := range []struct {
		name     string
		policies []string
		args     []string
		code     int
	}{
		{"tags", []string{tagsDemanded, iam.Place{}.Policy(iam.ClaimTags)}, []string{"--claim-tag=team=data", "--claim-tag", "cost centre=a=b"}, 0},
		{"no tags", []string{tagsDemanded, iam.Place{}.Policy(iam.ClaimTags)}, nil, 4},
		{"no permission", []string{tagsDemanded}, []string{"--claim-tag=team=data"}, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := launch(t, func(s *ClusterSpec) {
				s.Cores = 0
				s.Policies = append(s.Policies, test.policies...)
			})
			n := c.Nodes()[0]
			got := start(t, c, n, Command{Args: append(test.args, "10.0.1.10")})
			texts.Is(t, test.name, c.told(got))
			if got.ExitCode != test.code {
				t.Fatalf("exit code %d, want %d\n%s%s", got.ExitCode, test.code, got.Stdout, got.Stderr)
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
