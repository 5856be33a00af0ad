package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	cloudiam "github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// bystanders is an account with a cluster under a policy, and with other resources that the cluster
// must not touch.
type bystanders struct {
	account              *cloud.Cloud
	subnet               string
	core, master         *cloud.Node // of the cluster
	foreign, other, bare *cloud.Node // a node of another cluster in another subnet; instances outside EMR in the same subnet, with and without the role
	ssm                  *ssm.Client // with the credentials of core
	ec2                  *ec2.Client
	bareEC2              *ec2.Client
}

// newBystanders makes the account. The policies are always for us-east-1, whatever the region.
func newBystanders(t *testing.T, region string, policies func(iam.Place) cloudiam.Policies) *bystanders {
	t.Helper()
	b := &bystanders{}
	b.account = cloud.New(cloud.Options{Region: region, Authorize: func(r cloud.AccessRequest) error {
		return policies(iam.Place{Region: "us-east-1", Account: "123456789012", Subnet: b.subnet, Prefix: testPrefix}).OnInstances(r)
	}})
	vpc := b.account.CreateVPC(netip.MustParsePrefix("10.0.0.0/16"))
	b.subnet = b.account.CreateSubnet(vpc, testSubnet)
	elsewhere := b.account.CreateSubnet(vpc, netip.MustParsePrefix("10.0.2.0/24"))
	launch := func(subnet string) []*cloud.Node {
		cl, err := b.account.LaunchCluster(cloud.ClusterSpec{Subnet: subnet, Cores: 1, NameTag: "x"})
		if err != nil {
			t.Fatal(err)
		}
		return cl.Nodes
	}
	nodes := launch(b.subnet)
	b.master, b.core = nodes[0], nodes[1]
	b.foreign = launch(elsewhere)[0]
	for _, n := range []**cloud.Node{&b.other, &b.bare} {
		var err error
		if *n, err = b.account.RunInstance(cloud.InstanceSpec{Subnet: b.subnet, Name: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	config := func(n *cloud.Node) aws.Config {
		creds := b.account.Credentials(n.InstanceID)
		return aws.Config{Region: region, HTTPClient: &http.Client{Transport: b.account.Transport(n.InstanceID)}, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil })}
	}
	b.ssm, b.ec2, b.bareEC2 = ssm.NewFromConfig(config(b.core)), ec2.NewFromConfig(config(b.core)), ec2.NewFromConfig(config(b.bare))
	return b
}

// errorTag is the key of the tag that --on-error continue sets on an instance.
const errorTag = "emr-static-ip:error"

// isDenied reports whether an error means that AWS refused a call because of a missing permission.
func isDenied(err error) bool {
	api := smithy.APIError(nil)
	return errors.As(err, &api) && (api.ErrorCode() == "AccessDeniedException" || api.ErrorCode() == "UnauthorizedOperation")
}

// attempt is a call that a node might try.
type attempt struct {
	name string
	call func(context.Context, *bystanders) error
}

func (b *bystanders) put(ctx context.Context, name string) error {
	_, err := b.ssm.PutParameter(ctx, &ssm.PutParameterInput{Name: &name, Value: aws.String("x"), Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true)})
	return err
}

func (b *bystanders) assign(ctx context.Context, n *cloud.Node, a string) error {
	_, err := b.ec2.AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: &n.ENI, PrivateIpAddresses: []string{a}})
	return err
}

func tag(ctx context.Context, c *ec2.Client, resource string, keys ...string) error {
	in := &ec2.CreateTagsInput{Resources: []string{resource}}
	for _, k := range keys {
		in.Tags = append(in.Tags, ec2types.Tag{Key: aws.String(k), Value: aws.String("x")})
	}
	_, err := c.CreateTags(ctx, in)
	return err
}

func untag(ctx context.Context, c *ec2.Client, resource string, keys ...string) error {
	in := &ec2.DeleteTagsInput{Resources: []string{resource}}
	for _, k := range keys {
		in.Tags = append(in.Tags, ec2types.Tag{Key: aws.String(k)})
	}
	_, err := c.DeleteTags(ctx, in)
	return err
}

func (b *bystanders) list(ctx context.Context, path string) error {
	_, err := b.ssm.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: &path, Recursive: aws.Bool(true)})
	return err
}

// rightful returns calls that the policy must allow.
func rightful() []attempt {
	return []attempt{
		{"its record", func(ctx context.Context, b *bystanders) error {
			return b.put(ctx, testPrefix+"/"+b.subnet+"/10.0.1.20")
		}},
		{"its ledger, with a slash at the end", func(ctx context.Context, b *bystanders) error { return b.list(ctx, testPrefix+"/"+b.subnet+"/") }},
		{"its ledger, without", func(ctx context.Context, b *bystanders) error { return b.list(ctx, testPrefix+"/"+b.subnet) }},
		{"its interface", func(ctx context.Context, b *bystanders) error { return b.assign(ctx, b.core, "10.0.1.20") }},
		{"its name", func(ctx context.Context, b *bystanders) error { return tag(ctx, b.ec2, b.core.InstanceID, "Name") }},
		{"its error", func(ctx context.Context, b *bystanders) error {
			return errors.Join(tag(ctx, b.ec2, b.core.InstanceID, errorTag), untag(ctx, b.ec2, b.core.InstanceID, errorTag))
		}},
		{"who is there", func(ctx context.Context, b *bystanders) error {
			_, err := b.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{})
			return err
		}},
	}
}

// wrongful returns calls that no node needs.
func wrongful() []attempt {
	return []attempt{
		{"a record of another subnet", func(ctx context.Context, b *bystanders) error { return b.put(ctx, testPrefix+"/subnet-0123/10.0.2.20") }},
		{"a record under another prefix", func(ctx context.Context, b *bystanders) error { return b.put(ctx, "/other/"+b.subnet+"/10.0.1.20") }},
		{"somebody's parameter", func(ctx context.Context, b *bystanders) error { return b.put(ctx, "/passwords/db") }},
		{"reading somebody's parameter", func(ctx context.Context, b *bystanders) error {
			_, err := b.ssm.GetParameters(ctx, &ssm.GetParametersInput{Names: []string{testPrefix + "/" + b.subnet + "/10.0.1.20", "/passwords/db"}})
			return err
		}},
		{"deleting somebody's parameter", func(ctx context.Context, b *bystanders) error {
			_, err := b.ssm.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String("/passwords/db")})
			return err
		}},
		{"the ledgers of all subnets", func(ctx context.Context, b *bystanders) error { return b.list(ctx, testPrefix+"/") }},
		{"all parameters", func(ctx context.Context, b *bystanders) error { return b.list(ctx, "/") }},
		{"the names of all parameters", func(ctx context.Context, b *bystanders) error {
			_, err := b.ssm.DescribeParameters(ctx, &ssm.DescribeParametersInput{})
			return err
		}},
		{"an interface of another subnet", func(ctx context.Context, b *bystanders) error { return b.assign(ctx, b.foreign, "10.0.2.20") }},
		{"taking an address off one", func(ctx context.Context, b *bystanders) error {
			_, err := b.ec2.UnassignPrivateIpAddresses(ctx, &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: &b.foreign.ENI, PrivateIpAddresses: []string{"10.0.2.20"}})
			return err
		}},
		{"another node's name", func(ctx context.Context, b *bystanders) error { return tag(ctx, b.ec2, b.master.InstanceID, "Name") }},
		{"another cluster's node's name", func(ctx context.Context, b *bystanders) error { return tag(ctx, b.ec2, b.foreign.InstanceID, "Name") }},
		{"the name of an instance that is not EMR's", func(ctx context.Context, b *bystanders) error { return tag(ctx, b.ec2, b.other.InstanceID, "Name") }},
		{"naming itself, on an instance that is not EMR's", func(ctx context.Context, b *bystanders) error { return tag(ctx, b.bareEC2, b.bare.InstanceID, "Name") }},
		{"another tag of its own", func(ctx context.Context, b *bystanders) error {
			return tag(ctx, b.ec2, b.core.InstanceID, "CostCenter")
		}},
		{"another tag beside the name", func(ctx context.Context, b *bystanders) error {
			return tag(ctx, b.ec2, b.core.InstanceID, "Name", "CostCenter")
		}},
		{"itself and another node at once", func(ctx context.Context, b *bystanders) error {
			_, err := b.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{b.core.InstanceID, b.master.InstanceID},
				Tags: []ec2types.Tag{{Key: aws.String("Name"), Value: aws.String("x")}}})
			return err
		}},
		{"its interface's name", func(ctx context.Context, b *bystanders) error { return tag(ctx, b.ec2, b.core.ENI, "Name") }},
		{"removing its name", func(ctx context.Context, b *bystanders) error { return untag(ctx, b.ec2, b.core.InstanceID, "Name") }},
		{"another node's error", func(ctx context.Context, b *bystanders) error {
			return untag(ctx, b.ec2, b.master.InstanceID, errorTag)
		}},
		{"its own, on an instance that is not EMR's", func(ctx context.Context, b *bystanders) error {
			return untag(ctx, b.bareEC2, b.bare.InstanceID, errorTag)
		}},
		{"removing all its tags", func(ctx context.Context, b *bystanders) error { return untag(ctx, b.ec2, b.core.InstanceID) }},
		{"the subnets", func(ctx context.Context, b *bystanders) error {
			_, err := b.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
			return err
		}},
	}
}

// TestShippedPolicyIsNoWider checks that a node with the shipped policy can do what it must, and
// cannot change anything that belongs to others.
func TestShippedPolicyIsNoWider(t *testing.T) {
	all := func(at iam.Place) cloudiam.Policies { return cloudiam.Policies{shipped(t, at, "")} }
	b := newBystanders(t, "us-east-1", all)
	for _, a := range rightful() {
		if err := a.call(t.Context(), b); err != nil {
			t.Errorf("%s is denied: %v", a.name, err)
		}
	}
	for _, a := range wrongful() {
		if err := a.call(t.Context(), b); !isDenied(err) {
			t.Errorf("%s is not denied: %v", a.name, err)
		}
	}
	away := newBystanders(t, "eu-west-1", all)
	for _, a := range slices.Concat(rightful(), wrongful()) {
		if err := a.call(t.Context(), away); !isDenied(err) {
			t.Errorf("in another region, %s is not denied: %v", a.name, err)
		}
	}
}

// TestEachLimitOfThePolicyCounts removes each condition and each resource from the policy. Then
// some wrongful call must be allowed.
func TestEachLimitOfThePolicyCounts(t *testing.T) {
	for _, m := range wider(t) {
		t.Run(m.name, func(t *testing.T) {
			var let []string
			for _, region := range []string{"us-east-1", "eu-west-1"} {
				b := newBystanders(t, region, func(at iam.Place) cloudiam.Policies {
					p, err := cloudiam.ParsePolicy([]byte(at.Fill(m.document)))
					if err != nil {
						t.Fatal(err)
					}
					return cloudiam.Policies{p}
				})
				calls := wrongful()
				if region != "us-east-1" {
					calls = slices.Concat(calls, rightful())
				}
				for _, a := range calls {
					if !isDenied(a.call(t.Context(), b)) {
						let = append(let, region+": "+a.name)
					}
				}
			}
			if len(let) == 0 {
				t.Error("nothing more is allowed than before")
			}
			t.Logf("without the limit the policy allows %q", let)
		})
	}
}

// mutation is the policy without one of its limits.
type mutation struct{ name, document string }

// wider returns variants of the policy of the instance profile: one without each condition, and one
// with "*" for each resource.
func wider(t *testing.T) (list []mutation) {
	t.Helper()
	type object = map[string]any
	read := func() (doc object, statements []object) {
		if err := json.Unmarshal([]byte(iam.Place{}.Policy(iam.InstanceProfile)), &doc); err != nil {
			t.Fatal(err)
		}
		for _, s := range doc["Statement"].([]any) {
			statements = append(statements, s.(object))
		}
		return doc, statements
	}
	add := func(name string, doc object) {
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, mutation{name, string(text)})
	}
	_, statements := read()
	for n, s := range statements {
		sid := s["Sid"].(string)
		conditions, _ := s["Condition"].(object)
		for _, operator := range slices.Sorted(maps.Keys(conditions)) {
			for _, key := range slices.Sorted(maps.Keys(conditions[operator].(object))) {
				doc, again := read()
				c := again[n]["Condition"].(object)
				if delete(c[operator].(object), key); len(c[operator].(object)) == 0 {
					delete(c, operator)
				}
				if len(c) == 0 {
					delete(again[n], "Condition")
				}
				add(fmt.Sprintf("%s without %s of %s", sid, operator, key), doc)
			}
		}
		if s["Resource"] != "*" && conditions["ArnLike"] == nil && conditions["ArnEquals"] == nil { // the interface's subnet, or the instance itself, is narrower than the resource
			doc, again := read()
			again[n]["Resource"] = "*"
			add(sid+" on all resources", doc)
		}
	}
	return list
}
