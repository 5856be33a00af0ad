package agent

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	cloudiam "github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

// plainPolicy returns the policy of instances outside EMR for a subnet, without an action if
// without is not empty, and all its actions.
func plainPolicy(t *testing.T, subnet, without string) (p *cloudiam.Policy, actions []string) {
	t.Helper()
	var doc map[string]any
	place := iam.Place{Region: "us-east-1", Account: "123456789012", Subnet: subnet}
	if err := json.Unmarshal([]byte(place.Policy(iam.PlainProfile)), &doc); err != nil {
		t.Fatal(err)
	}
	var kept []any
	for _, s := range doc["Statement"].([]any) {
		statement := s.(map[string]any)
		list, ok := statement["Action"].([]any)
		if !ok {
			list = []any{statement["Action"]}
		}
		for _, a := range list {
			actions = append(actions, a.(string))
		}
		if list = slices.DeleteFunc(slices.Clone(list), func(a any) bool { return a == without }); len(list) > 0 {
			statement["Action"] = list
			kept = append(kept, statement)
		}
	}
	doc["Statement"] = kept
	text, err := json.Marshal(doc)
	if err == nil {
		p, err = cloudiam.ParsePolicy(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p, actions
}

// plainRuns makes everything happen for which an instance outside EMR calls AWS. It returns what
// the runs said that did not end well: errors with their remedies, and warnings.
func plainRuns(t *testing.T, n *testNode) (said []string) {
	t.Helper()
	note := func(rep Report, err error) {
		said = append(said, rep.Warnings...)
		if err != nil {
			said = append(said, err.Error()+": "+strings.Join(exit.Remedies(err), "\n"))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), n.cfg.Timeout)
	defer cancel()
	s := Suppress(ctx, n.cfg, n.env, Failed{Code: ExitNoAddress, Err: context.DeadlineExceeded, Args: []string{"--ips", "10.0.1.20-29"}})
	note(Report{Warnings: s.Problems}, nil)
	note(Apply(t.Context(), n.cfg, n.env))
	// The list changes, and the state file is lost.
	n.cfg.Pools.Any = netiptest.Range("10.0.1.25", 5)
	note(Apply(t.Context(), n.cfg, n.env))
	if err := os.RemoveAll(n.env.Path(n.cfg.StateDir)); err != nil {
		t.Fatal(err)
	}
	note(Apply(t.Context(), n.cfg, n.env))
	note(Release(t.Context(), n.cfg, n.env))
	return said
}

// The policy of instances outside EMR is enough, and each of its actions is needed: without it a
// run says so, and gives a statement that does not name EMR.
func TestPlainPolicyIsNeeded(t *testing.T) {
	_, actions := plainPolicy(t, "*", "")
	for _, without := range append(actions, "") {
		t.Run(without, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				policy, _ := plainPolicy(t, "*", without)
				n := newPlainNodes(t, cloud.Options{Authorize: cloudiam.Policies{policy}.OnInstances}, 1, "web")[0].withSystemd()
				said := strings.Join(plainRuns(t, n), "\n")
				if without == "" {
					if said != "" {
						t.Errorf("with the whole policy: %s", said)
					}
					return
				}
				want := iam.Place{Region: n.cloud.Region(), Account: n.cloud.Account(), Subnet: n.SubnetID, Prefix: DefaultPrefix}.Statement(iam.PlainProfile, without)
				if !strings.Contains(said, want) || strings.Contains(said, "elasticmapreduce") || strings.Contains(said, "JobFlowRole") {
					t.Errorf("without %s: %s\nwant the statement %s", without, said, want)
				}
			})
		})
	}
}

// The policy allows nothing beyond: no other tag, instance, subnet or record.
func TestPlainPolicyIsNarrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var policies cloudiam.Policies
		nodes := newPlainNodes(t, cloud.Options{Authorize: func(r cloud.AccessRequest) error { return policies.OnInstances(r) }}, 2, "web")
		n, other := nodes[0], nodes[1]
		subnet := n.cloud.CreateSubnet(n.VPCID, netip.MustParsePrefix("10.0.2.0/24"))
		elsewhere, err := n.cloud.RunInstance(cloud.InstanceSpec{Subnet: subnet})
		if err != nil {
			t.Fatal(err)
		}
		policy, _ := plainPolicy(t, n.SubnetID, "")
		policies = cloudiam.Policies{policy}
		cfg := n.on().Session().AWS.Config
		api, store := awsec2.NewFromConfig(cfg), ssm.NewFromConfig(cfg)
		tag := func(instance, key string) error {
			_, err := api.CreateTags(t.Context(), &awsec2.CreateTagsInput{Resources: []string{instance}, Tags: []types.Tag{{Key: aws.String(key), Value: aws.String("x")}}})
			return err
		}
		untag := func(instance, key string) error {
			_, err := api.DeleteTags(t.Context(), &awsec2.DeleteTagsInput{Resources: []string{instance}, Tags: []types.Tag{{Key: aws.String(key)}}})
			return err
		}
		put := func(name string) error {
			_, err := store.PutParameter(t.Context(), &ssm.PutParameterInput{Name: &name, Value: aws.String("x"), Type: "String"})
			return err
		}
		assign := func(eni, address string) error {
			_, err := api.AssignPrivateIpAddresses(t.Context(), &awsec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: &eni, PrivateIpAddresses: []string{address}})
			return err
		}
		for name, call := range map[string]struct {
			err    error
			denied bool
		}{
			"the error's tag":              {tag(n.InstanceID, tagError), false},
			"removing it":                  {untag(n.InstanceID, tagError), false},
			"its name":                     {tag(n.InstanceID, "Name"), true},
			"removing its name":            {untag(n.InstanceID, "Name"), true},
			"another instance's tag":       {tag(other.InstanceID, tagError), true},
			"its record":                   {put(DefaultPrefix + "/" + n.SubnetID + "/10.0.1.20"), false},
			"a record of another subnet":   {put(DefaultPrefix + "/" + subnet + "/10.0.2.20"), true},
			"another parameter":            {put("/secret"), true},
			"its interface":                {assign(n.ENI, "10.0.1.20"), false},
			"an interface of other subnet": {assign(elsewhere.ENI, "10.0.2.20"), true},
		} {
			if denied := ec2.IsPermission(call.err); denied != call.denied || !denied && call.err != nil {
				t.Errorf("%s: %v, want denied %t", name, call.err, call.denied)
			}
		}
	})
}
