package cluster

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	cloudiam "github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// TestCheckUnderPolicies checks a cluster of groups and one of fleets, under the policy of
// operators and under that of the nodes, which has nothing of EMR.
func TestCheckUnderPolicies(t *testing.T) {
	for file, unseen := range map[string]bool{iam.Operator: false, iam.InstanceProfile: true} {
		for _, fleets := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				var policy *cloudiam.Policy
				a := newAccount(t, cloud.Options{Seed: 3, Authorize: func(r cloud.AccessRequest) error { return cloudiam.Policies{policy}.Authorize(r) }})
				var err error
				if policy, err = cloudiam.ParsePolicy([]byte(iam.Place{Region: "us-east-1", Account: "123456789012", Subnet: a.subnet}.Policy(file))); err != nil {
					t.Fatal(err)
				}
				a.finish(a.launch(cloud.ClusterSpec{Cores: 1, Fleets: fleets}).Nodes...)
				r, text := a.check(exit.OK)
				if (len(r.Unseen) > 0) != unseen {
					t.Errorf("%s, fleets %t:\n%s", file, fleets, text)
				}
				for _, c := range a.cloud.Calls() {
					if c.Code == "AccessDeniedException" != (unseen && strings.HasPrefix(c.Key(), "elasticmapreduce:")) {
						t.Errorf("%s: %s", file, c)
					}
				}
			})
		}
	}
}
